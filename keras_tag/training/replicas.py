"""Sums over the replicas of a `tf.distribute` strategy, as if there were one device."""

from typing import Any

import keras
import tensorflow as tf


def num_replicas() -> int:
    """Return the number of replicas that run this step; 1 without a strategy."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def keras_share(dtype: str) -> tf.Tensor:
    """Return Keras's factor on a replica's mean losses, which is about 1 / `num_replicas()`.

    Args:
        dtype: That of the loss.

    Returns:
        A float64 scalar. Keras rounds it to float32 also for a float64 loss, so that a third is
        off by 3e-8. To take the factor out again, divide by this value.
    """
    return tf.cast(keras.ops.cast(1.0 / num_replicas(), dtype), tf.float64)


def exact_share(loss: tf.Tensor) -> tf.Tensor:
    """Correct Keras's factor in a joint loss of means to exactly 1 / `num_replicas()`.

    Args:
        loss: The joint loss of one replica, from Keras.

    Returns:
        The same loss in every dtype but float64, in which Keras's factor is rounded to float32.
    """
    if num_replicas() == 1 or loss.dtype != tf.float64:
        return loss
    return loss / (keras_share("float64") * num_replicas())


def all_reduce_sum(values: Any) -> Any:
    """Return the sum over the replicas, the same on each; on one device, the values.

    Args:
        values: A tensor or a list of tensors, in replica context.

    Returns:
        The same structure.
    """
    if num_replicas() == 1:
        return values
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)


def split_batch(data: Any, strategy: tf.distribute.Strategy) -> Any:
    """Share out a batch that every worker holds whole, as evenly as possible, to all replicas.

    Args:
        data: A nest of tensors with the examples in axis 0; None where there is nothing.
        strategy: The strategy. With more replicas than examples, some replicas have none.

    Returns:
        The same nest of distributed values.
    """
    replicas = strategy.num_replicas_in_sync

    def split(leaf: Any) -> Any:
        size = int(leaf.shape[0])
        ends = [size * replica // replicas for replica in range(replicas + 1)]
        return strategy.experimental_distribute_values_from_function(
            lambda context: leaf[
                ends[context.replica_id_in_sync_group] : ends[context.replica_id_in_sync_group + 1]
            ]
        )

    return keras.tree.map_structure(lambda leaf: None if leaf is None else split(leaf), data)
