"""`ModelCopier`: copies of a functional model that keep what training would not make anew."""

import warnings
from copy import deepcopy
from typing import Any, Literal

import keras

from keras_tag.copying.layer_settings import LayerSettings
from keras_tag.copying.layer_walk import flattened
from keras_tag.copying.saved_state import SavedState, on_host
from keras_tag.copying.training_effects import shared_weights, updated_weights
from keras_tag.training.kept_attributes import lost_arguments, lost_attributes
from keras_tag.training.of_keras import is_of_keras

Start = Literal["fresh", "trunk", "all", "initial"]


class ModelCopier:
    """A host copy of a functional model, from which new models are made.

    It holds no part of the model: what the model does afterwards changes nothing, and the copier
    can be pickled if the classes of the model's layers can.

    Args:
        model: A functional model with a dict of outputs.
        start: What the weights start with that training makes; see `build_from`.

    Raises:
        ValueError: A layer can't be made again from its configuration.

    Attributes:
        values: The value of each weight, in the model's order.
        keep: For each weight, whether a new model has its value of `values`. The others have
            initial values of their own: those that are trainable or that a training step updates,
            as far as `start` says so.
        unsaved: The layers whose settings Keras's own files of the model would lose.
    """

    def __init__(self, model: keras.Model, start: Start) -> None:
        layers = flattened(model)
        _check_layers(layers)
        self._custom_objects = _custom_objects(layers)
        self._config = model.get_config()
        self._settings = LayerSettings.of(model)
        self._names = [layer.name for layer in layers]
        self._states = [SavedState.of(layer) for layer in layers]
        self._paths = [weight.path for weight in model.weights]
        self.values = [on_host(weight) for weight in model.weights]
        self.keep = [True] * len(self.values)
        self.unsaved: list[str] = []
        copy = self.copy()
        trainable = {id(weight) for weight in copy.trainable_weights}
        if start in ("fresh", "trunk"):
            updated = updated_weights(copy)
            shared = shared_weights(copy) if start == "trunk" else [False] * len(updated)
            self.keep = [
                in_trunk or not (id(weight) in trainable or moves)
                for weight, moves, in_trunk in zip(copy.weights, updated, shared, strict=True)
            ]
        _warn_of_lost_attributes(layers, flattened(copy))

    def copy(self) -> keras.Model:
        """Make a new model.

        Returns:
            The model.
        """
        copy = self._prepared()
        made = {i: on_host(w) for i, w in enumerate(copy.weights) if not self.keep[i]}
        for state, layer in zip(self._states, flattened(copy), strict=True):
            state.load(layer)
        for index, weight in enumerate(copy.weights):
            weight.assign(made.get(index, self.values[index]))
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
        other = self._settings.difference(copy)
        if not other:
            lost = zip(self._names, self._settings.lost(copy), strict=True)
            self.unsaved = [name for name, is_lost in lost if is_lost]
            self._settings.apply(copy)
            if [tuple(weight.shape) for weight in copy.weights] != [v.shape for v in self.values]:
                other = f"{[weight.path for weight in copy.weights]} in the place of {self._paths}."
        if other:
            raise ValueError(
                "Expected layers that have the same layers and weights when they are made again "
                f"from their configurations. Received {other} Write a function "
                "`build_model(tasks)` that returns a new model with these outputs."
            )
        return copy


def _check_layers(layers: list[Any]) -> None:
    """Refuse functions that Keras won't make again, and scales that training overwrites."""
    for layer in layers:
        if str(getattr(layer, "quantization_mode", None)) == "float8":
            raise ValueError(
                "Expected layers in floats, int8 or int4. Received: a layer quantised to float8, "
                f"{layer.name!r}, whose scales are of one training. Cut the networks out of the "
                "model as it was before `quantize('float8')`, and quantise them."
            )
        function = layer.function if isinstance(layer, keras.layers.Lambda) else None
        if function is not None and getattr(function, "__name__", "<lambda>") == "<lambda>":
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
        if not is_of_keras(type(layer)):
            custom[keras.saving.get_registered_name(type(layer))] = type(layer)
            custom.setdefault(type(layer).__name__, type(layer))
        if isinstance(layer, keras.layers.Lambda):
            custom.setdefault(layer.function.__name__, layer.function)
    return custom


def _warn_of_lost_attributes(layers: list[Any], copies: list[Any]) -> None:
    """Name what custom layers hold outside of weights, configuration and saved state."""
    lost = []
    for layer, copy in zip(layers, copies, strict=True):
        if is_of_keras(type(layer)):
            continue
        names = lost_attributes(layer, copy, private=True)
        if not is_of_keras(type(layer).__init__):
            arguments = lost_arguments(layer, copy)
            names += [name for name in arguments if not {name, f"_{name}"} & {*names}]
        lost += [f"{layer.name}.{name}" for name in names]
    if lost:
        warnings.warn(
            "The networks will not have what these attributes and arguments of `__init__` hold: "
            f"{lost}. It is neither in the layers' weights nor in `get_config`, nor saved by "
            "`save_own_variables` or `save_assets`. Add it to one of them.",
            stacklevel=4,
        )
