"""`ModelCopier`: copies of a functional model that keep what training would not make anew."""

import tempfile
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.grouped_model.layer_walk import flattened, overrides
from keras_tag.grouped_model.training_effects import updated_by_training

_OF_KERAS = ("keras.", "keras_hub.", "keras_rs.", "keras_tag.")


@dataclass(frozen=True)
class LayerState:
    """What a layer's configuration does not say.

    Args:
        kind: The name of the layer's class.
        name: The layer's name.
        trainable: Its own `trainable` flag.
        quantization: Its quantisation mode, such as "int8", or None.
        lora: Rank and alpha of its LoRA, or None.
        store: What `save_own_variables` saves, for layers with a version of their own.
        assets: File name -> content, what `save_assets` saves.
    """

    kind: str
    name: str
    trainable: bool
    quantization: str | None
    lora: tuple[int, float] | None
    store: Mapping[str, np.ndarray]
    assets: Mapping[str, bytes]

    @classmethod
    def of(cls, layer: Any) -> "LayerState":
        """Read the state of a layer.

        Args:
            layer: The layer.

        Returns:
            Its state, on the host.
        """
        store: dict[str, Any] = {}
        assets: dict[str, bytes] = {}
        lora = _lora(layer)
        # The methods of layers that can have LoRA merge it into the kernel: it would be lost.
        if overrides(layer, "load_own_variables") and not hasattr(layer, "lora_enabled"):
            layer.save_own_variables(store)
        if overrides(layer, "save_assets"):
            with tempfile.TemporaryDirectory() as folder:
                layer.save_assets(folder)
                assets = {file.name: file.read_bytes() for file in Path(folder).iterdir()}
        return cls(
            type(layer).__name__,
            layer.name,
            bool(layer.trainable),
            _quantization(layer),
            lora,
            {key: on_host(value) for key, value in store.items()},
            assets,
        )

    def prepare(self, layer: Any) -> None:
        """Give a new layer the same variables: quantisation and LoRA.

        Args:
            layer: The layer of the copy.
        """
        if self.quantization != _quantization(layer):
            layer.quantize(self.quantization)
        if self.lora is not None:
            rank, alpha = self.lora
            if _lora(layer) is None:
                layer.enable_lora(rank)
            # No part of the configuration of Keras's layers.
            layer.lora_alpha = alpha

    def load(self, layer: Any) -> None:
        """Load what the layer itself saves.

        Args:
            layer: The layer of the copy.
        """
        # In the order in which Keras loads them.
        if overrides(layer, "load_own_variables") and not hasattr(layer, "lora_enabled"):
            layer.load_own_variables(dict(self.store))
        if self.assets:
            with tempfile.TemporaryDirectory() as folder:
                for name, content in self.assets.items():
                    (Path(folder) / name).write_bytes(content)
                layer.load_assets(folder)


class ModelCopier:
    """A host copy of a functional model, from which new models are made.

    It holds no part of the model: what the model does afterwards changes nothing, and the copier
    can be pickled if the classes of the model's layers can.

    Args:
        model: A functional model.

    Raises:
        ValueError: A layer can't be made again from its configuration.

    Attributes:
        values: Path and value of each weight, in the model's order.
        fresh: For each weight, whether training would make it anew: it is trainable, or a training
            step updates it.
    """

    def __init__(self, model: keras.Model) -> None:
        layers = flattened(model)
        _check_layers(layers)
        self._custom_objects = _custom_objects(layers)
        self._config = model.get_config()
        self._states = [LayerState.of(layer) for layer in layers]
        self._flags = [bool(weight.trainable) for weight in model.weights]
        self.values = [(weight.path, on_host(weight)) for weight in model.weights]
        copy = self.copy([True] * len(self.values))
        trainable = {id(weight) for weight in copy.trainable_weights}
        updated = {id(weight) for weight in updated_by_training(copy)}
        self.fresh = [id(weight) in trainable | updated for weight in copy.weights]
        _warn_of_lost_attributes(layers, flattened(copy))

    def copy(self, keep: list[bool]) -> keras.Model:
        """Make a new model.

        Args:
            keep: For each weight, whether it has its value of `values`. The others have the
                initial values of a new model.

        Returns:
            The model.
        """
        copy = self._prepared()
        self._load(copy, keep)
        return copy

    def _prepared(self) -> keras.Model:
        """Return a model with the same layers, flags and variables, and initial values."""
        try:
            copy = keras.Model.from_config(
                # Keras takes nested configurations apart while it reads them.
                deepcopy(self._config),
                custom_objects=self._custom_objects,
            )
        except Exception as error:
            raise ValueError(
                "Expected a model whose layers can be made again from their configurations, so "
                f"that networks can be cut out of it. Keras answered: {error} Give the layer a "
                "`get_config` (https://keras.io/guides/serialization_and_saving), or write a "
                "function `build_model(tasks)` that returns a new model with these outputs."
            ) from error
        layers = flattened(copy)
        if [type(layer).__name__ for layer in layers] != [state.kind for state in self._states]:
            raise ValueError(
                "Expected layers that contain the same layers when they are made again from their "
                "configurations. Received others: "
                f"{_first_difference([s.kind for s in self._states], layers)} Write a function "
                "`build_model(tasks)` that returns a new model with these outputs."
            )
        for state, layer in zip(self._states, layers, strict=True):
            state.prepare(layer)
        for state, layer in zip(self._states, layers, strict=True):
            # Containers come first: a flag set on one is set on all that it contains.
            layer.trainable = state.trainable
        shapes = [tuple(weight.shape) for weight in copy.weights]
        if shapes != [value.shape for _, value in self.values]:
            raise ValueError(
                "Expected a model whose weights have the same shapes when it is made again from "
                f"its configuration. Received {[path for path, _ in self.values]}; made again: "
                f"{[weight.path for weight in copy.weights]}. Write a function "
                "`build_model(tasks)` that returns a new model with these outputs."
            )
        for weight, flag in zip(copy.weights, self._flags, strict=True):
            if weight.trainable != flag:
                # LoRA freezes single weights of a trainable layer.
                weight.trainable = flag
        return copy

    def _load(self, copy: keras.Model, keep: list[bool]) -> None:
        """Load all state into a new model, less the weights that are not to be kept."""
        made = [None if kept else on_host(w) for w, kept in zip(copy.weights, keep, strict=True)]
        for state, layer in zip(self._states, flattened(copy), strict=True):
            state.load(layer)
        for weight, (_, value), own in zip(copy.weights, self.values, made, strict=True):
            weight.assign(value if own is None else own)


def on_host(value: Any) -> np.ndarray:
    """Return a copy of a weight, a tensor or an array that nothing changes later."""
    copied: np.ndarray = keras.ops.convert_to_tensor(value).numpy()
    return copied


def _lora(layer: Any) -> tuple[int, float] | None:
    if not getattr(layer, "lora_enabled", False):
        return None
    return int(layer.lora_rank), float(layer.lora_alpha)


def _quantization(layer: Any) -> str | None:
    mode = getattr(layer, "quantization_mode", None)
    return None if mode is None else str(mode)


def _check_layers(layers: list[Any]) -> None:
    """Refuse functions that Keras won't make again."""
    for layer in layers:
        if isinstance(layer, keras.layers.Lambda) and (
            getattr(layer.function, "__name__", "<lambda>") == "<lambda>"
        ):
            raise ValueError(
                f"Expected layers that can be made again. Received: Lambda layer {layer.name!r}, "
                "whose Python function is not part of its configuration. Use keras.ops or a layer "
                "class in its place, give it a function decorated with "
                "`@keras.saving.register_keras_serializable()`, or write a function "
                "`build_model(tasks)` that returns a new model with these outputs."
            )


def _custom_objects(layers: list[Any]) -> dict[str, Any]:
    """Return the classes and functions that the configurations name and Keras may not know."""
    custom: dict[str, Any] = {}
    for layer in layers:
        if not type(layer).__module__.startswith(_OF_KERAS):
            custom[keras.saving.get_registered_name(type(layer))] = type(layer)
            custom.setdefault(type(layer).__name__, type(layer))
        if isinstance(layer, keras.layers.Lambda):
            custom.setdefault(layer.function.__name__, layer.function)
    return custom


def _first_difference(expected: list[str], layers: list[Any]) -> str:
    for kind, layer in zip(expected, layers, strict=False):
        if kind != type(layer).__name__:
            return f"{type(layer).__name__} {layer.name!r} in the place of a {kind}."
    return f"{len(layers)} in the place of {len(expected)}."


def _warn_of_lost_attributes(layers: list[Any], copies: list[Any]) -> None:
    """Name what custom layers hold outside of weights, configuration and saved state."""
    lost = [
        f"{layer.name}.{name}"
        for layer, copy in zip(layers, copies, strict=True)
        if not type(layer).__module__.startswith(_OF_KERAS)
        for name, value in vars(layer).items()
        if not name.startswith("_") and not _same(value, getattr(copy, name, None))
    ]
    if lost:
        warnings.warn(
            f"The networks will not have what these attributes hold: {lost}. It is neither in the "
            "layers' weights nor in `get_config`, nor saved by `save_own_variables` or "
            "`save_assets`. Add it to one of them.",
            stacklevel=4,
        )


def _same(value: Any, other: Any) -> bool:
    """Return whether an attribute came through; what can't be compared has."""
    if isinstance(value, keras.Variable) or not isinstance(
        value, (np.ndarray, tf.Tensor, tf.Variable, bool, int, float, str)
    ):
        return True
    if other is None:
        return False
    return np.array_equal(np.asarray(value), np.asarray(other))
