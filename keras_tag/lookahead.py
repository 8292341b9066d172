"""The probe: from one batch to one matrix of inter-task affinities.

A `ProbePoint` is what a look-ahead may know: the losses before, each task's gradient on the shared
variables, and the losses at any other values of the shared variables, all on one batch, in
training mode, under the same random draws. It can't change anything: the values it is given are
used inside a `keras.StatelessScope`, and gone after it.

Reference:
    Fifty et al., NeurIPS 2021, arXiv:2109.04617, section 3.1, equations 1 and 2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf


@dataclass(frozen=True, eq=False)
class ProbePoint:
    """One batch at one point of training.

    Args:
        values: The shared variables' values, one tensor each.
        used: `[num_tasks, num_shared]` bool, which task's loss depends on which of them.
        losses: `[num_tasks]`, the losses before.
        gradient: Task index -> the gradient of its loss, one tensor per shared variable (zeros
            where it does not depend on one).
        losses_at: Values of the shared variables -> `[num_tasks]` losses on the same batch.
    """

    values: Sequence[tf.Tensor]
    used: np.ndarray
    losses: tf.Tensor
    gradient: Callable[[int], list[tf.Tensor]]
    losses_at: Callable[[Sequence[tf.Tensor]], tf.Tensor]


def affinity_row(before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """Equation 2, `1 - after / before`, for one source task.

    Args:
        before: `[num_tasks]`, the losses before.
        after: `[num_tasks]`, the look-ahead losses.

    Returns:
        `[num_tasks]`. Not finite where `before` is 0.
    """
    # The difference of two close floats is exact, so this keeps digits that 1 - ratio rounds off.
    return (before - after) / before


def gradient_lookahead(point: ProbePoint, rate: Any) -> tf.Tensor:
    """Affinity after a plain gradient step of every task in turn.

    `theta_i = theta - rate * grad L_i(theta)` on the shared variables (equation 1), then
    `Z[i, j] = 1 - L_j(theta_i) / L_j(theta)` (equation 2).

    Args:
        point: The batch and the weights.
        rate: The step size, a scalar.

    Returns:
        `[num_tasks, num_tasks]`, rows = source, columns = target, in the losses' dtype.
    """
    rows: list[tf.Tensor] = []
    for source in range(len(point.used)):
        # One task after the other: a graph may run independent branches side by side, and n
        # gradients and n forward passes at once would be n times the memory.
        with tf.control_dependencies(rows[-1:]):
            gradient = point.gradient(source)
            moved = [
                value - tf.cast(rate, value.dtype) * g if used else value
                for value, g, used in zip(point.values, gradient, point.used[source], strict=True)
            ]
            rows.append(affinity_row(point.losses, point.losses_at(moved)))
    return tf.stack(rows)
