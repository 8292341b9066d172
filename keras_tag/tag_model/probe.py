"""One batch at one point of training, as a look-ahead uses it; the model is not changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.tag_model.backward import Backward, can_nest, chosen, traced_once
from keras_tag.tag_model.lookahead import ProbePoint, Task, Values
from keras_tag.tag_model.sharing import Sharing
from keras_tag.training.dropped_updates import DroppedUpdates
from keras_tag.training.replicas import all_reduce_sum
from keras_tag.training.task_losses import Labels, TaskLosses

State = list[tuple[Any, tf.Tensor]]


def state_of(model: keras.Model) -> State:
    """Return the state that a forward pass in training mode changes: statistics and seeds.

    Args:
        model: Any built Keras model.

    Returns:
        Pairs for the `state_mapping` of a `DroppedUpdates`. From it every forward pass
        draws the same dropout masks and starts from the same statistics.
    """
    return [(v, tf.identity(v.value)) for v in model.non_trainable_variables]


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch with its labels sorted by task, and its share in the global batch.

    Args:
        x: The inputs.
        labels: From `TaskLosses.labels`.
        shares: From `TaskLosses.shares`.
        labelled: `[num_tasks]` bool, from `TaskLosses.have_labels`.
    """

    x: Any
    labels: Labels
    shares: Sequence[Any]
    labelled: tf.Tensor

    @classmethod
    def of(cls, x: Any, labels: Labels, losses: TaskLosses) -> "Batch":
        """Make one of a batch that is about to be probed, in replica context."""
        return cls(x, labels, losses.shares(labels), losses.have_labels(labels))


@dataclass(frozen=True, eq=False)
class OneProbe:
    """What a probe outside of training found.

    Args:
        affinity: `[num_tasks, num_tasks]` float64, rows = source; NaN where it was not measured.
        losses: `[num_tasks]` float64, the losses before.
        rate: Of the gradient steps; None where there are none.
    """

    affinity: np.ndarray
    losses: np.ndarray
    rate: float | None


class JointGradient:
    """The joint gradient as the weighted sum of the task gradients that a probe computes.

    Args:
        trainable: The model's trainable variables.
        weights: One loss weight per task, a number or a scalar tensor.
    """

    def __init__(self, trainable: Sequence[Any], weights: Sequence[Any]) -> None:
        self._weights = weights
        self.sum: list[tf.Tensor] = [tf.zeros_like(v.value) for v in trainable]

    def add(self, task: int, gradients: Sequence[tf.Tensor]) -> None:
        """Add one task's gradient, one tensor per trainable variable."""
        self.sum = [
            total + tf.cast(self._weights[task], g.dtype) * g
            for total, g in zip(self.sum, gradients, strict=True)
        ]


def with_gradient(
    loss: tf.Tensor, gradient: Sequence[tf.Tensor], trainable: Sequence[Any], extra: Sequence[Any]
) -> tf.Tensor:
    """Return a tensor with the loss's value, a given gradient, and the gradient of `extra`.

    `L + sum <G, v - v>`, the second v free and all else constant, is L with the gradient G.

    Args:
        loss: The joint loss.
        gradient: One tensor per trainable variable.
        trainable: The trainable variables.
        extra: Losses from `add_loss` and regularisers, which belong to no task.

    Returns:
        A scalar in the loss's dtype.
    """
    free = [tf.reduce_sum(tf.cast(value, loss.dtype)) for value in extra]
    free += [
        tf.cast(tf.reduce_sum(tf.stop_gradient(g) * v.value), loss.dtype)
        for g, v in zip(gradient, trainable, strict=True)
    ]
    total = tf.add_n(free)
    return tf.stop_gradient(loss) + (total - tf.stop_gradient(total))


class Probe:
    """Makes a `ProbePoint` of a batch whose forward pass was recorded.

    Args:
        forward: Inputs -> outputs, in training mode.
        losses: The model's task losses.
        trainable: The model's trainable variables.
        state: From `state_of`, before the batch's forward pass.
        scale: The factor on a loss before its backward pass (mixed precision); gradients are
            divided by it again.
        weights: One loss weight per task.
    """

    def __init__(
        self,
        forward: Callable[[Any], Any],
        losses: TaskLosses,
        trainable: Sequence[Any],
        state: State,
        scale: tf.Tensor,
        weights: Sequence[float | tf.Tensor],
    ) -> None:
        self._forward = forward
        self._losses = losses
        self._trainable = trainable
        self._state = state
        self._scale = scale
        self._weights = weights

    def point(
        self,
        batch: Batch,
        y_pred: Any,
        tape: tf.GradientTape,
        scope: DroppedUpdates,
        find_sharing: Callable[[Backward], Sharing],
        query: tuple[Any, Any, Any] | None = None,
        joint: JointGradient | None = None,
    ) -> ProbePoint:
        """Return the `ProbePoint` of a batch.

        Args:
            batch: The batch the gradients are of.
            y_pred: Its outputs, computed under `tape`.
            tape: A persistent tape that is not recording any more.
            scope: That of the forward pass, which has what it assigned.
            find_sharing: The backward passes -> which variables are shared.
            query: `(x, y, sample_weight)` of another batch on which losses before and after are
                measured; None: the same batch.
            joint: Where to add up the gradients on all trainable variables, if anywhere.

        Returns:
            The point. Everything in it is of the global batch, under any strategy.
        """

        def source(variable: Any) -> tf.Tensor:
            # A layer may rewrite a weight in its forward pass (SpectralNormalization does): the
            # step starts from, and is the gradient at, what it wrote.
            written = scope.get_current_value(variable)
            return variable.value if written is None else written

        # In the scope, because a loss may keep variables, and read those of the model.
        with tape, scope:
            before = self._losses(batch.labels, y_pred)
        factors = self._factors(batch, before)
        read = [source(v) for v in self._trainable]
        backward = Backward(before, factors, read, tape)
        sharing = find_sharing(backward)
        shared = sharing.variables
        values = [tf.stop_gradient(source(v)) for v in shared]
        moved = {id(v) for v in shared}
        # Constants for every tape that is open: a look-ahead pass is recorded by none of them.
        kept = [(v, tf.stop_gradient(source(v))) for v in self._trainable if id(v) not in moved]

        def pass_at(at: Values, on: Batch) -> tuple[list[tf.Tensor], DroppedUpdates]:
            mapping = [*zip(shared, at, strict=True), *kept, *self._state]
            with DroppedUpdates(mapping, self._trainable) as inside:
                return self._losses(on.labels, self._forward(on.x)), inside

        def losses_at(at: Values, on: Batch) -> list[tf.Tensor]:
            return pass_at(at, on)[0]

        indices = [k for k, v in enumerate(self._trainable) if joint is not None or id(v) in moved]

        def gradient(task: Task) -> list[tf.Tensor]:
            gradients = self._global(backward.gradient(task, indices))
            if joint is None:
                return gradients
            assert isinstance(task, int)  # Every task, in turn.
            joint.add(task, gradients)
            return [g for g, v in zip(gradients, self._trainable, strict=True) if id(v) in moved]

        def gradient_at(task: Task, at: Values) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
            found: tuple[list[tf.Tensor], list[tf.Tensor]]
            found = backward.of_task(task, lambda of: gradient_of(of, at))
            return found

        def gradient_of(task: Task, at: Values) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
            at = [tf.stop_gradient(value) for value in at]
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(at)
                losses, inside = pass_at(at, batch)
            read = [inside.get_current_value(variable) for variable in shared]
            zero = tf.UnconnectedGradients.ZERO
            target, factor = chosen(losses, self._factors(batch, losses), task)
            gradients = self._global(inner.gradient(target, read, factor, zero))
            return [tf.stop_gradient(value) for value in read], gradients

        on_shared = [k for k, v in enumerate(self._trainable) if id(v) in moved]

        if query is None:
            measured_on, losses_before = batch, before
        else:
            x, y, sample_weight = query
            with DroppedUpdates(self._state):
                outputs = self._forward(x)
            labels = self._losses.labels(y, outputs, sample_weight)
            measured_on = Batch.of(x, labels, self._losses)
            losses_before = losses_at(values, measured_on)

        def look_ahead(at: Values) -> tf.Tensor:
            return _shared_out(losses_at(at, measured_on), measured_on.shares)

        # n look-ahead passes differ in the weights only: one by one, many tasks take minutes.
        ahead = traced_once(look_ahead) if can_nest() else look_ahead

        return ProbePoint(
            values=values,
            used=sharing.used_shared,
            losses=_summed(_shared_out(losses_before, measured_on.shares)),
            gradient=gradient,
            gradient_at=gradient_at,
            losses_at=lambda at: _summed(ahead([tf.stop_gradient(value) for value in at])),
            joint_gradient=lambda: self._global(backward.joint(self._weights, on_shared)),
            weights=self._weights,
            measurable=batch.labelled[:, None] & measured_on.labelled[None, :],
        )

    def _factors(self, batch: Batch, losses: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return the factor on each task's loss before its backward pass."""
        return [
            tf.cast(self._scale, loss.dtype) * tf.cast(share, loss.dtype)
            for loss, share in zip(losses, batch.shares, strict=True)
        ]

    def _global(self, gradients: Sequence[Any]) -> list[tf.Tensor]:
        """Return dense, unscaled gradients of the global batch."""
        dense = [tf.convert_to_tensor(g) for g in gradients]
        summed = all_reduce_sum(dense)
        return [g / tf.cast(self._scale, g.dtype) for g in summed]


def _shared_out(losses: Sequence[tf.Tensor], shares: Sequence[Any]) -> tf.Tensor:
    """Return `[num_tasks]`, this replica's parts of the losses of the global batch."""
    stacked = tf.stack(losses)
    return stacked * tf.stack([tf.cast(share, stacked.dtype) for share in shares])


def _summed(parts: tf.Tensor) -> tf.Tensor:
    """Return `[num_tasks]`, the losses of the global batch."""
    return tf.stop_gradient(all_reduce_sum(parts))
