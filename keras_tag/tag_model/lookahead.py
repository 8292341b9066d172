"""Look-ahead kinds: from one batch at one point of training to one matrix of affinities.

Every kind is a function of a `ProbePoint`, which holds all that a look-ahead may use: the losses
before, each task's gradient on the shared variables, and the losses at any other values of them,
on one batch, in training mode, under the same random draws. A point changes nothing: other values
of the variables are used inside a `keras.StatelessScope` only.

Reference:
    Fifty et al., NeurIPS 2021, arXiv:2109.04617, section 3.1, equations 1 and 2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import tensorflow as tf

Values = Sequence[tf.Tensor]
"""One tensor per shared variable."""

Task: TypeAlias = int | tf.Tensor
"""A task's index; a tensor where the graph chooses the task."""


def all_are_one(weights: Sequence[float | tf.Tensor]) -> bool:
    """Return whether all loss weights are known to be 1."""
    return all(isinstance(weight, float) and weight == 1 for weight in weights)


@dataclass(frozen=True, eq=False)
class ProbePoint:
    """One batch at one point of training.

    Args:
        values: The shared variables' values.
        used: `[num_tasks, num_shared]` bool, whether a task's loss depends on a shared variable.
        losses: `[num_tasks]`, the losses before.
        gradient: Task index (a number, or a scalar tensor) -> the gradient of its loss at
            `values`, zeros where it does not depend on a variable.
        gradient_at: Task index, values -> the values that a forward pass there reads, which are
            others where a layer rewrites a weight, and the gradient at them.
        joint_gradient: Returns the gradient of the weighted sum of all losses at `values`.
        losses_at: Values -> `[num_tasks]`, the losses there.
        weights: One loss weight per task: numbers, or scalar tensors where they may change.
        measurable: `[num_tasks, num_tasks]` bool, whether the row's task has labels to step by and
            the column's has labels to measure by.
    """

    values: Values
    used: np.ndarray
    losses: tf.Tensor
    gradient: Callable[[Task], list[tf.Tensor]]
    gradient_at: Callable[[Task, Values], tuple[list[tf.Tensor], list[tf.Tensor]]]
    joint_gradient: Callable[[], list[tf.Tensor]]
    losses_at: Callable[[Values], tf.Tensor]
    weights: Sequence[float | tf.Tensor]
    measurable: tf.Tensor

    def only_measurable(self, affinity: tf.Tensor) -> tf.Tensor:
        """Return an affinity with NaN for the pairs of tasks without labels.

        Without labels a gradient is zero, and a step that is not taken says nothing. An optimizer
        with momentum even moves.
        """
        return tf.where(self.measurable, affinity, tf.constant(np.nan, affinity.dtype))

    def only_stepping(self, affinity: tf.Tensor) -> tf.Tensor:
        """Return `only_measurable`, also with NaN in the rows of the tasks of loss weight 0."""
        if not all_are_one(self.weights):
            steps = tf.not_equal(self._weight_column(affinity.dtype), 0)
            affinity = tf.where(steps, affinity, tf.constant(np.nan, affinity.dtype))
        return self.only_measurable(affinity)

    def weigh_rows(self, affinity: tf.Tensor) -> tf.Tensor:
        """Return an affinity, every row times its task's loss weight."""
        if all_are_one(self.weights):
            return affinity
        return self._weight_column(affinity.dtype) * affinity

    def weigh(self, task: Task, gradient: Values) -> list[tf.Tensor]:
        """Return a task's gradient times its loss weight."""
        if all_are_one(self.weights):
            return list(gradient)
        weight = tf.gather(self._weight_column(self.losses.dtype)[:, 0], task)
        return [tf.cast(weight, g.dtype) * g for g in gradient]

    def _weight_column(self, dtype: Any) -> tf.Tensor:
        """Return `[num_tasks, 1]`, the loss weights."""
        return tf.stack([tf.cast(weight, dtype) for weight in self.weights])[:, None]


Used: TypeAlias = np.ndarray | Sequence[tf.Tensor]
"""`[num_shared]` bool, whether an update moves a variable; tensors where the task is a tensor."""


class Stepper(Protocol):
    """The update rule that moves the shared variables along a task's gradient."""

    def begin(self) -> None:
        """Start from the optimizer as it is in training."""

    def step(self, values: Values, gradient: Values, used: Used) -> list[tf.Tensor]:
        """Return the values after one update along `gradient`; variables not `used` stay."""


@dataclass(frozen=True)
class GradientStepper:
    """`theta - rate * gradient`: the paper's equation 1."""

    rate: tf.Tensor

    def begin(self) -> None:
        """Do nothing: the step has no state."""

    def step(self, values: Values, gradient: Values, used: Used) -> list[tf.Tensor]:
        """Return the moved values; see `Stepper`."""
        moved = [
            value - tf.cast(self.rate, value.dtype) * g
            for value, g in zip(values, gradient, strict=True)
        ]
        return only_used(used, moved, values)


def only_used(used: Used, moved: Values, values: Values) -> list[tf.Tensor]:
    """Return the moved values of the variables that an update moves, the others as they were."""
    chosen = []
    for moves, new, old in zip(used, moved, values, strict=True):
        if isinstance(moves, tf.Tensor):
            chosen.append(tf.where(moves, new, old))
        else:
            chosen.append(new if moves else old)
    return chosen


def stepped_affinity(
    point: ProbePoint, stepper: Stepper, steps: int = 1, sources: Sequence[Task] | None = None
) -> tf.Tensor:
    """Compute affinity by looking ahead: move by one task's update alone, measure every task.

    `theta_i` = the shared variables after `steps` updates of task i alone, its loss weight
    included (equation 1 for one gradient step); `Z[i, j] = 1 - L_j(theta_i) / L_j(theta)`
    (equation 2).

    Cost: m x `steps` backward passes and m x `steps` forward passes for m sources. Memory: one
    gradient and one set of moved values, whatever m.

    Args:
        point: The batch and the weights.
        stepper: The update rule.
        steps: How many successive updates of the same task.
        sources: The source tasks, without repetition; None: every task.

    Returns:
        `[num_tasks, num_tasks]`, rows = source, columns = target, in the losses' dtype. NaN in the
        rows of the tasks that are not among the sources or have loss weight 0, and where a task
        has no labels.
    """
    num_tasks = len(point.used)
    rows: list[tf.Tensor] = []
    for source in range(num_tasks) if sources is None else sources:
        # One task after the other: a graph may run independent branches side by side, and n
        # gradients and n forward passes at once would be n times the memory.
        with tf.control_dependencies(rows[-1:]):
            stepper.begin()
            used = used_by(point, source)
            gradient = point.weigh(source, point.gradient(source))
            values = stepper.step(point.values, gradient, used)
            for _ in range(steps - 1):
                values, gradient = point.gradient_at(source, values)
                values = stepper.step(values, point.weigh(source, gradient), used)
            # The difference of two close floats is exact: this keeps digits that 1 - ratio loses.
            rows.append((point.losses - point.losses_at(values)) / point.losses)
    if sources is None:
        return point.only_stepping(tf.stack(rows))
    unmeasured = tf.fill([num_tasks, num_tasks], tf.constant(np.nan, point.losses.dtype))
    where = tf.stack([tf.cast(source, tf.int32) for source in sources])
    measured = tf.tensor_scatter_nd_update(unmeasured, where[:, None], tf.stack(rows))
    return point.only_stepping(measured)


def used_by(point: ProbePoint, task: Task) -> Used:
    """Return which shared variables a task's update moves."""
    if not isinstance(task, tf.Tensor):
        return point.used[task]
    return tf.unstack(tf.gather(tf.constant(point.used), task), num=point.used.shape[1])


def first_order_affinity(point: ProbePoint, rate: tf.Tensor) -> tf.Tensor:
    """Compute the first-order term of "gradient".

    `Z[i, j] ~ rate * w_i * <grad L_i, grad L_j> / L_j`, with the loss weight w_i.

    Cost: n backward passes, no look-ahead forward pass. Memory: n gradients of the shared
    variables, because every pair is multiplied. It approximates plain gradient steps only.

    Args:
        point: The batch and the weights.
        rate: The step size, a scalar.

    Returns:
        `[num_tasks, num_tasks]`, rows = source, columns = target; NaN in the rows of the tasks of
        loss weight 0, and where a task has no labels.
    """
    products = _inner_products(point)
    affinity = tf.cast(rate, products.dtype) * products / point.losses[None, :]
    return point.only_stepping(point.weigh_rows(affinity))


def cosine_affinity(point: ProbePoint) -> tf.Tensor:
    """Compute the cosine similarity of the task gradients on the shared variables, TAG's rival.

    `Z[i, j] = <g_i, g_j> / (|g_i| |g_j|)`: symmetric, 1 on the diagonal, and independent of the
    size of steps, losses and loss weights. The cost is that of "first_order".

    Args:
        point: The batch and the weights.

    Returns:
        `[num_tasks, num_tasks]`.

    Reference:
        The baseline CS of Fifty et al., section 5.1.
    """
    products = _inner_products(point)
    norms = tf.sqrt(tf.linalg.diag_part(products))
    return point.only_measurable(products / norms[:, None] / norms[None, :])


def _inner_products(point: ProbePoint) -> tf.Tensor:
    """Return `[num_tasks, num_tasks]`, <g_i, g_j> over all shared variables, as the losses."""
    total: Any = None
    gradients = [point.gradient(task) for task in range(len(point.used))]
    for column in zip(*gradients, strict=True):
        # One variable after the other: stacking makes a second copy of its n gradients.
        with tf.control_dependencies([] if total is None else [total]):
            flat = tf.stack([tf.reshape(tf.cast(g, point.losses.dtype), [-1]) for g in column])
            product = tf.matmul(flat, flat, transpose_b=True)
            total = product if total is None else total + product
    return total
