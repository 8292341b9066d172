"""The arguments that a model was compiled with, and what they mean where labels are missing."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_tag.training.task_losses import Labels


class CompiledModel(keras.Model):
    """A `keras.Model` that keeps what `compile` was given, as it was given.

    Keras keeps it serialised: a variable among the loss weights is then a number, and a loss that
    can't be saved raises.
    """

    # A function, so that Keras tracks no variable or metric in the arguments as the model's.
    _compiled_with: Callable[[], dict[str, Any]] = dict

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile with the arguments of `keras.Model.compile`."""
        call = inspect.signature(keras.Model.compile).bind(self, *args, **kwargs)
        given = {name: value for name, value in call.arguments.items() if name != "self"}
        given = self.keras_arguments(given)
        super().compile(**given)
        self._compiled_with = lambda: given

    def keras_arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments for Keras's `compile`, of those given to this model's."""
        return given

    def get_compile_config(self) -> dict[str, Any] | None:
        """Return what `compile` was given, and whether the optimizer has made its slots."""
        config = super().get_compile_config()
        return config and {**config, "slots": bool(self.optimizer and self.optimizer.built)}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as a saved model was compiled; Keras leaves that to who overrides `compile`.

        Slots are made only where the file has some: Keras warns of others, and a model that only
        serves needs none.
        """
        given = keras.saving.deserialize_keras_object(config)
        # Not in files written before it was kept.
        slots = given.pop("slots", True)
        self.compile(**given)
        if slots and self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)


def compile_arguments(model: keras.Model) -> dict[str, Any]:
    """Return the arguments that Keras's `compile` was given; absent ones are left out.

    Args:
        model: A model of this package, compiled.
    """
    given: dict[str, Any] = getattr(model, "_compiled_with", dict)()
    return given


def compile_config(model: keras.Model) -> dict[str, Any]:
    """Return what any Keras model's `compile` was given, serialised."""
    with warnings.catch_warnings():
        # A lambda among the losses warns that it can't be saved.
        warnings.simplefilter("ignore")
        return dict(model.get_compile_config())


def targets_of_metrics(model: keras.Model, labels: Labels) -> dict[str, Any]:
    """Return the targets of a batch, after assertions that none is missing if `metrics` see them.

    Args:
        model: A compiled model of this package.
        labels: The batch's.
    """
    y = {task: own.y for task, own in labels.items()}
    if not compile_arguments(model).get("metrics"):
        return y
    assertions = [
        tf.debugging.assert_equal(
            tf.reduce_min(own.labelled),
            tf.ones((), own.labelled.dtype),
            message=(
                f"Task {task!r} has missing labels, and `metrics` ignore sample weights and would "
                "count them. Give metrics to `compile(weighted_metrics=...)`, which sees labelled "
                "examples only."
            ),
        )
        for task, own in labels.items()
        if own.labelled is not None
    ]
    if not assertions:
        return y
    with tf.control_dependencies(assertions):
        return {task: tf.identity(leaf) for task, leaf in y.items()}
