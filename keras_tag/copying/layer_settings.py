"""`LayerSettings`: the settings of a model's layers that their configurations may not have."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import keras

from keras_tag.copying.layer_walk import flattened


@dataclass(frozen=True)
class LayerSetting:
    """The settings of one layer.

    Args:
        kind: The name of its class.
        trainable: Its own `trainable` flag.
        quantization: Its quantisation mode, such as "int8", or None.
        lora_rank: The rank of its LoRA, or None.
        lora_alpha: The alpha of its LoRA, or None.
    """

    kind: str
    trainable: bool
    quantization: str | None
    lora_rank: int | None
    lora_alpha: float | None

    @classmethod
    def of(cls, layer: Any) -> "LayerSetting":
        """Read the settings of a layer."""
        mode = getattr(layer, "quantization_mode", None)
        lora = bool(getattr(layer, "lora_enabled", False))
        return cls(
            type(layer).__name__,
            bool(layer.trainable),
            None if mode is None else str(mode),
            int(layer.lora_rank) if lora else None,
            float(layer.lora_alpha) if lora else None,
        )

    def apply(self, layer: Any) -> None:
        """Quantise the layer and give it LoRA, where this is not done yet."""
        present = LayerSetting.of(layer)
        if self.quantization != present.quantization:
            layer.quantize(self.quantization)
        if self.lora_rank is not None:
            if present.lora_rank is None:
                layer.enable_lora(self.lora_rank)
            # No part of the configuration of Keras's layers.
            layer.lora_alpha = self.lora_alpha


@dataclass(frozen=True)
class LayerSettings:
    """The settings of the layers of a model at every depth.

    Keras makes the layers within a layer again from the outer layer's configuration, which rarely
    says that one of them was frozen or given LoRA.

    Args:
        layers: One per layer, in the order of `flattened`.
        weights: The `trainable` flag of each of the model's weights. LoRA freezes single weights of
            a trainable layer.
    """

    layers: tuple[LayerSetting, ...]
    weights: tuple[bool, ...]

    @classmethod
    def of(cls, model: keras.Model) -> "LayerSettings":
        """Read the settings of a model's layers."""
        return cls(
            tuple(LayerSetting.of(layer) for layer in flattened(model)),
            tuple(bool(weight.trainable) for weight in model.weights),
        )

    def fits(self, model: keras.Model) -> bool:
        """Return whether a model has layers of the same classes in the same order."""
        return not self.difference(model)

    def difference(self, model: keras.Model) -> str:
        """Return a sentence on the first layer that is of another class; "" if none is."""
        layers = flattened(model)
        for setting, layer in zip(self.layers, layers, strict=False):
            if setting.kind != type(layer).__name__:
                return f"{type(layer).__name__} {layer.name!r} in the place of a {setting.kind}."
        if len(layers) != len(self.layers):
            return f"{len(layers)} layers in the place of {len(self.layers)}."
        return ""

    def lost(self, model: keras.Model) -> list[bool]:
        """Return which layers with weights of a model that `fits` have other settings."""
        return [
            bool(layer.weights) and LayerSetting.of(layer) != setting
            for setting, layer in zip(self.layers, flattened(model), strict=True)
        ]

    def apply(self, model: keras.Model) -> None:
        """Give a model that `fits` these settings."""
        layers = flattened(model)
        for setting, layer in zip(self.layers, layers, strict=True):
            setting.apply(layer)
        for setting, layer in zip(self.layers, layers, strict=True):
            # Containers come first: a flag set on one is set on all that it contains.
            if layer.trainable != setting.trainable:
                layer.trainable = setting.trainable
        if len(model.weights) == len(self.weights):
            for weight, flag in zip(model.weights, self.weights, strict=True):
                if weight.trainable != flag:
                    weight.trainable = flag

    def to_config(self) -> dict[str, Any]:
        """Return the settings as JSON takes them."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "LayerSettings":
        """Return the settings that `to_config` wrote."""
        layers = tuple(LayerSetting(**setting) for setting in config["layers"])
        return cls(layers, tuple(config["weights"]))


def restart_lora(model: keras.Model) -> None:
    """Draw LoRA factors anew where both are zero, at which no gradient would move them.

    Keras writes the product into the kernel when it saves, and loads both factors as zeros. With
    one of them zero the layer computes the same, and it trains again.

    Args:
        model: A model, changed in place.
    """
    for layer in flattened(model):
        if not getattr(layer, "lora_enabled", False):
            continue
        factors = [w for w in layer.weights if "/lora_" in w.path and w.path.endswith("_a")]
        others = [w for w in layer.weights if "/lora_" in w.path and w.path.endswith("_b")]
        for one, other in zip(factors, others, strict=True):
            if not keras.ops.any(one) and not keras.ops.any(other):
                one.assign(keras.initializers.HeUniform()(one.shape, one.dtype))
