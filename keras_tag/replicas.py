"""Sums over the replicas of a `tf.distribute` strategy, as if there were one device."""

from typing import Any

import tensorflow as tf


def num_replicas() -> int:
    """How many replicas run this step; 1 without a strategy."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def all_reduce_sum(values: Any) -> Any:
    """The sum over the replicas, the same on each; the values themselves on one device.

    Args:
        values: A tensor or a list of tensors, in replica context.

    Returns:
        The same structure.
    """
    if num_replicas() == 1:
        return values
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)
