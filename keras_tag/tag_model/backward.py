"""Backward passes of the task losses: the part that all tasks have in common is traced once.

n tasks on one trunk have n backward passes, which differ in the heads only. Traced one by one they
are most of the time that a graph takes to be made. So the graph is cut at the last tensor through
which the losses depend on the trunk. From a loss back to that tensor every task has operations of
its own; from there on all tasks call one function.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

Gradients = Sequence[tf.Tensor | None]


class Backward:
    """Gradients of the task losses on the trainable variables, of one recorded forward pass.

    Args:
        losses: The tasks' losses, recorded on the tape.
        sources: The values of the trainable variables that the forward pass read.
        tape: A persistent tape that is not recording any more.
    """

    def __init__(
        self, losses: Sequence[tf.Tensor], sources: Sequence[Any], tape: tf.GradientTape
    ) -> None:
        self._losses = list(losses)
        self._sources = list(sources)
        self._tape = tape
        self._cut = last_common_tensor(losses) if _can_be_cut(sources) else None
        # Indices of variables -> the function from the gradient at the cut to theirs.
        self._trunks: dict[tuple[int, ...], Callable[[tf.Tensor], Gradients]] = {}
        # Whether the cut depends on a variable.
        self._before = np.zeros(len(self._sources), bool)
        if self._cut is not None:
            self._trace_trunk(range(len(self._sources)))

    def connections(self) -> np.ndarray:
        """Find which losses depend on which variables, through the recorded operations.

        Returns:
            `[num_tasks, num_trainable]`, bool.
        """
        used: list[Any] = []
        for loss in self._losses:
            if self._cut is None:
                used.append(_connected(self._tape.gradient(loss, self._sources)))
                continue
            at_cut, own = self._heads(loss, None, self._after(range(len(self._sources))))
            row = self._before & (at_cut is not None)
            row[~self._before] = _connected(own)
            used.append(row)
        return np.array(used, dtype=bool).reshape(len(self._losses), len(self._sources))

    def gradient(
        self, target: Any, output_gradients: Any, wanted: Sequence[int]
    ) -> list[tf.Tensor]:
        """Return the gradient of a loss, or of a weighted sum of losses.

        Args:
            target: One of the losses, or all of them.
            output_gradients: The factor on it, or on each.
            wanted: Indices of the variables.

        Returns:
            One tensor per wanted variable, zeros where the target does not depend on it.
        """
        sources = [self._sources[k] for k in wanted]
        if self._cut is None:
            found = self._tape.gradient(target, sources, output_gradients=output_gradients)
        else:
            at_cut, own = self._heads(target, output_gradients, self._after(wanted))
            before = [k for k in wanted if self._before[k]]
            through: Gradients = [None] * len(before)
            if at_cut is not None and before:
                through = self._through_trunk(before)(tf.convert_to_tensor(at_cut))
            remaining = {True: iter(through), False: iter(own)}
            found = [next(remaining[bool(self._before[k])]) for k in wanted]
        return [
            tf.zeros_like(source) if g is None else tf.convert_to_tensor(g)
            for g, source in zip(found, sources, strict=True)
        ]

    def _after(self, wanted: Sequence[int]) -> list[Any]:
        return [self._sources[k] for k in wanted if not self._before[k]]

    def _heads(self, target: Any, output_gradients: Any, after: list[Any]) -> tuple[Any, Gradients]:
        """Return the gradients at the cut, and on variables that are read after it."""
        # A tape would go on through the trunk, which it can't be told to leave.
        at_cut, *own = tf.gradients(
            target, [self._cut, *after], grad_ys=output_gradients, stop_gradients=[self._cut]
        )
        return at_cut, own

    def _through_trunk(self, wanted: Sequence[int]) -> Callable[[tf.Tensor], Gradients]:
        if tuple(wanted) not in self._trunks:
            self._trace_trunk(wanted)
        return self._trunks[tuple(wanted)]

    def _trace_trunk(self, wanted: Sequence[int]) -> None:
        """Make the function from the gradient at the cut to those of variables before it."""
        sources = [self._sources[k] for k in wanted]
        connected: list[int] = []

        def trunk(at_cut: tf.Tensor) -> Gradients:
            gradients = self._tape.gradient(self._cut, sources, output_gradients=at_cut)
            connected[:] = [k for k, g in zip(wanted, gradients, strict=True) if g is not None]
            return [tf.convert_to_tensor(g) for g in gradients if g is not None]

        assert self._cut is not None
        # Inlined, it would be optimised once for every task.
        traced = tf.function(
            trunk, autograph=False, experimental_attributes={"_noinline": True}
        ).get_concrete_function(tf.TensorSpec(self._cut.shape, self._cut.dtype))
        self._before[connected] = True
        self._trunks[tuple(connected)] = traced


def _connected(gradients: Sequence[Any]) -> list[bool]:
    return [g is not None for g in gradients]


def _can_be_cut(sources: Sequence[Any]) -> bool:
    """Return whether the forward pass was traced, on one device, from variables themselves.

    Eagerly nothing is traced. Under a strategy a layer may reduce over the replicas in its backward
    pass, which TensorFlow can't do in a nested function.
    """
    if tf.executing_eagerly() or tf.distribute.has_strategy():
        return False
    return all(isinstance(source, tf.Variable) for source in sources)


def last_common_tensor(losses: Sequence[tf.Tensor]) -> tf.Tensor | None:
    """Find the last tensor through which alone the losses depend on what was computed before it.

    Args:
        losses: Scalars in one graph.

    Returns:
        A floating tensor. None if there is none, if a variable is read both before and after it,
        or if Python runs in the graph.
    """
    needed = _ancestors(losses)
    last_use: dict[Any, int] = {}
    reads: dict[Any, list[int]] = {}
    operations = [op for op in losses[0].graph.get_operations() if op in needed]
    if any(op.type == "EagerPyFunc" for op in operations):
        # `tf.py_function`, whose backward pass can run once only, and would run for nothing.
        return None
    for position, op in enumerate(operations):
        for tensor in op.inputs:
            uses = reads.setdefault(tensor.ref(), []) if tensor.dtype == tf.resource else None
            if uses is None:
                last_use[tensor.ref()] = position
            else:
                uses.append(position)
    for loss in losses:
        last_use[loss.ref()] = len(operations)
    # Operations stand in the order in which they were made, so what is computed before a position
    # reaches what comes after through the tensors alone that are alive there.
    depends: set[Any] = set()
    alive: set[Any] = set()
    cuts = []
    for position, op in enumerate(operations):
        alive = {tensor for tensor in alive if last_use[tensor] > position}
        if any(t.dtype == tf.resource or t.op in depends for t in op.inputs):
            depends.add(op)
            alive |= {
                tensor.ref()
                for tensor in op.outputs
                if _carries_gradient(tensor.dtype) and last_use.get(tensor.ref(), -1) > position
            }
        if len(alive) == 1 and op.type != "ReadVariableOp":
            only = next(iter(alive)).deref()
            if only.dtype.is_floating:
                cuts.append((position, only))
    if not cuts:
        return None
    position, cut = cuts[-1]
    on_both_sides = any(uses[0] <= position < uses[-1] for uses in reads.values())
    return None if on_both_sides else cut


def _carries_gradient(dtype: tf.DType) -> bool:
    """Return whether a gradient can flow through such tensors; a list of tensors is a variant."""
    return bool(dtype.is_floating or dtype.is_complex or dtype == tf.variant)


def _ancestors(tensors: Sequence[tf.Tensor]) -> set[Any]:
    """Return the operations that tensors are computed by."""
    found: set[Any] = set()
    waiting = [tensor.op for tensor in tensors]
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting += [tensor.op for tensor in op.inputs]
    return found
