"""The variables that Keras's training step makes while it is traced, made before."""

from typing import Any

import keras
import tensorflow as tf


class _LossesAndMetrics(keras.Operation):
    """What a training step does after the forward pass, without its gradients."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._step = model

    def call(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        """Compute losses and metrics as Keras's training step does."""
        model = self._step
        loss = model.compute_loss(x, y, y_pred, sample_weight, training=True)
        return loss, model.compute_metrics(x, y, y_pred, sample_weight)


def make_early(model: Any, iterator: Any) -> None:
    """Make the optimizer's slots and the trackers of losses and metrics, before the first step.

    Keras makes them in its first trace of a step, which TensorFlow then throws away and repeats.
    The graph of the second trace stays the same; what is saved is the first. Under a strategy Keras
    makes them early itself. Where it can't be done, nothing is: it is no error.

    Args:
        model: A compiled `TAGModel`.
        iterator: Where Keras takes the batches from.
    """
    strategy = model.distribute_strategy
    inputs = getattr(model.model, "inputs", None)
    data = isinstance(iterator, tf.data.Iterator)
    if not data or not inputs or model.run_eagerly or strategy.num_replicas_in_sync > 1:
        return
    leaves = tf.nest.flatten(iterator.element_spec)
    if not all(isinstance(leaf, (tf.TensorSpec, tf.OptionalSpec)) for leaf in leaves):
        return

    def symbolic(spec: Any) -> Any:
        if isinstance(spec, tf.OptionalSpec):
            return None
        return keras.KerasTensor(spec.shape, spec.dtype.name)

    try:
        batch = keras.tree.map_structure(symbolic, iterator.element_spec)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        y_pred = model.model.compute_output_spec(inputs)
        _LossesAndMetrics(model).compute_output_spec(x, y, y_pred, sample_weight)
    except Exception:
        # Keras's own step raises it again, from where the user expects it.
        return
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
