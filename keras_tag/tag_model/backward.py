"""Backward passes of the task losses: what tasks have in common is traced once.

n tasks on one trunk have n backward passes, which differ in the heads only. Traced one by one they
are most of the time that a graph takes to be made. So the graph is cut at the last tensor through
which the losses depend on the trunk, and from there on all tasks call one function.

From the losses back to the cut one pass of all losses together is traced, in which every loss has a
factor of its own. A gradient depends on the factors of those losses alone that reach its variable:
so it tells which task uses which variable. At the cut it is a sum over the tasks, as long as every
task has a head of its own, and its terms are the gradients of the single losses. A custom gradient
need not read the gradient that comes in. What it returns depends on no factor, and then each loss
has a pass of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np
import tensorflow as tf

from keras_tag.tag_model.lookahead import Task, all_are_one
from keras_tag.training.nested_operations import ancestors

Gradients = Sequence[tf.Tensor | None]
T = TypeVar("T")

# The operations by which a backward pass puts the gradients of several losses into one tensor.
_JOINS = ("AddN", "ConcatV2", "Pack")


class computed_once(Generic[T]):
    """A property that is computed when it is first read.

    It is `functools.cached_property` without the lock that Python 3.11 holds meanwhile, for all
    objects of the class. A replica waits for the others within a backward pass that reduces over
    the replicas, and they would wait for the lock. Python 3.12 has none.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: Any) -> "computed_once[T]": ...

    @overload
    def __get__(self, instance: object, owner: Any) -> T: ...

    def __get__(self, instance: object | None, owner: Any) -> "T | computed_once[T]":
        if instance is None:
            return self
        # What an object has in its own dictionary is found before this property.
        found = instance.__dict__[self._compute.__name__] = self._compute(instance)
        return found


def can_nest() -> bool:
    """Return whether a graph is made in which functions can be called that are traced once.

    Eagerly nothing is traced. Under a strategy a layer may reduce over the replicas, which
    TensorFlow can't do in a nested function.
    """
    return not (tf.executing_eagerly() or tf.distribute.has_strategy())


def traced_once(function: Callable[..., Any]) -> Any:
    """Return a function of TensorFlow that stays one, in whatever graph it is called.

    Inlined at every call it would be optimised, and held in memory, once for every task.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def chosen(
    losses: Sequence[tf.Tensor], factors: Sequence[tf.Tensor], task: Task
) -> tuple[Any, Any]:
    """Return what a task's backward pass begins with: the losses, and a factor on each."""
    if not isinstance(task, tf.Tensor):
        return losses[task], factors[task]
    # All losses, all but one with factor 0: one graph for every task.
    return list(losses), [tf.where(task == k, factor, 0) for k, factor in enumerate(factors)]


class Backward:
    """Gradients of the task losses on the trainable variables, of one recorded forward pass.

    Args:
        losses: The tasks' losses, recorded on the tape.
        factors: The factor on each loss before its backward pass.
        sources: The values of the trainable variables that the forward pass read.
        tape: A persistent tape that is not recording any more.
    """

    def __init__(
        self,
        losses: Sequence[tf.Tensor],
        factors: Sequence[tf.Tensor],
        sources: Sequence[Any],
        tape: tf.GradientTape,
    ) -> None:
        self._losses, self._sources, self._tape = list(losses), list(sources), tape
        self._factors = [tf.identity(factor) for factor in factors]
        can_be_cut = can_nest() and all(isinstance(source, tf.Variable) for source in sources)
        self._cut = last_common_tensor(losses) if can_be_cut else None
        # Indices of variables -> the function from the gradient at the cut to theirs.
        self._trunks: dict[tuple[int, ...], Callable[[tf.Tensor], Gradients]] = {}
        # Whether the cut depends on a variable.
        self._before = np.zeros(len(self._sources), bool)
        if self._cut is not None:
            self._trace_trunk(range(len(self._sources)))

    @computed_once
    def connections(self) -> np.ndarray:
        """`[num_tasks, num_trainable]` bool, which losses depend on which variables."""
        if tf.executing_eagerly() or not self._shows_losses:
            found = [self._tape.gradient(loss, self._sources) for loss in self._losses]
            return np.array([[g is not None for g in gradients] for gradients in found])
        at_cut, own = self._together
        used = np.empty((len(self._losses), len(self._sources)), bool)
        used[:, self._before] = self._reaching([at_cut])
        used[:, ~self._before] = self._reaching(own)
        return used

    def joint(self, weights: Sequence[Any], wanted: Sequence[int]) -> list[tf.Tensor]:
        """Return the gradient of the weighted sum of all losses.

        Args:
            weights: One loss weight per task.
            wanted: Indices of the variables.

        Returns:
            One tensor per wanted variable, zeros where no loss depends on it.
        """
        if all_are_one(weights):
            at_cut, own = self._together
            after = dict(zip(np.flatnonzero(~self._before).tolist(), own, strict=True))
            return self._whole(at_cut, [after[k] for k in self._after(wanted)], wanted)
        factors = [
            tf.cast(weight, factor.dtype) * factor
            for weight, factor in zip(weights, self._factors, strict=True)
        ]
        return self._whole(*self._heads(self._losses, factors, wanted), wanted)

    def gradient(self, task: Task, wanted: Sequence[int]) -> list[tf.Tensor]:
        """Return the gradient of a task's loss.

        Args:
            task: Its index.
            wanted: Indices of the variables.

        Returns:
            One tensor per wanted variable, zeros where the loss does not depend on it.
        """
        return self.of_task(task, lambda of: self._gradient(of, wanted))

    def of_task(self, task: Task, compute: Callable[[Task], Any]) -> Any:
        """Return what is computed for a task: for all of them, if the graph is to choose.

        With a factor of 0 on the other losses a graph computes it once, unless a gradient reads no
        factor.

        Args:
            task: Its index.
            compute: Task -> a structure of tensors.
        """
        if not isinstance(task, tf.Tensor):
            return compute(task)
        if tf.executing_eagerly():
            return compute(int(task))
        if self._shows_losses:
            return compute(task)
        each = [compute(k) for k in range(len(self._losses))]
        return tf.nest.map_structure(lambda *of: tf.gather(tf.stack(of), task), *each)

    def _gradient(self, task: Task, wanted: Sequence[int]) -> list[tf.Tensor]:
        if self._terms is not None and not self._after(wanted):
            at_cut = tf.gather(self._terms, task)
            return self._whole(at_cut, [], wanted)
        heads = self._heads(*chosen(self._losses, self._factors, task), wanted)
        return self._whole(*heads, wanted)

    @computed_once
    def _together(self) -> tuple[Any, Gradients]:
        """Return the gradients of all losses at the cut, and on all variables after it."""
        return self._heads(self._losses, self._factors, range(len(self._sources)))

    @computed_once
    def _shows_losses(self) -> bool:
        """Whether each gradient in `_together` depends on the factor of every loss that it has.

        An eager pass has no graph that could tell, so this is not asked there.
        """
        at_cut, own = self._together
        behind = self._factors_behind
        found = [_dense(g).op for g in [at_cut, *own] if g is not None]
        if not all(op in behind for op in found):
            return False
        for op in behind:
            if op.type in _JOINS and _carries_gradient(op.outputs[0].dtype):
                terms = [t for t in op.inputs if t.dtype == op.outputs[0].dtype]
                if not all(term.op in behind for term in terms):
                    return False
        return True

    @computed_once
    def _terms(self) -> tf.Tensor | None:
        """`[num_tasks, ...]`, each task's gradient at the cut; None where they are not apart.

        They are kept until all tasks have used theirs, so the cut has to be small: features of
        examples, not of pixels or words.
        """
        if self._cut is None or self._cut.shape.rank != 2 or not self._shows_losses:
            return None
        at_cut, _ = self._together
        terms = [*_terms_of(at_cut)]
        reaching = self._reaching(terms)
        if (reaching.sum(axis=0) != 1).any():
            return None
        zero = tf.zeros_like(self._cut)
        own = [[t for t, mine in zip(terms, row, strict=True) if mine] for row in reaching]
        return tf.stack([tf.add_n(of) if of else zero for of in own])

    def _after(self, wanted: Sequence[int]) -> list[int]:
        return [k for k in wanted if not self._before[k]]

    def _heads(self, target: Any, factors: Any, wanted: Sequence[int]) -> tuple[Any, Gradients]:
        """Return the gradient at the cut, and those on the variables that are read after it."""
        after = [self._sources[k] for k in self._after(wanted)]
        if self._cut is None:
            return None, self._tape.gradient(target, after, output_gradients=factors)
        # A tape would go on through the trunk, which it can't be told to leave.
        at_cut, *own = tf.gradients(
            target, [self._cut, *after], grad_ys=factors, stop_gradients=[self._cut]
        )
        return at_cut, own

    def _whole(self, at_cut: Any, own: Gradients, wanted: Sequence[int]) -> list[tf.Tensor]:
        """Return the gradients on the wanted variables, before the cut and after it."""
        before = tuple(k for k in wanted if self._before[k])
        through: Gradients = [None] * len(before)
        if at_cut is not None and before:
            if before not in self._trunks:
                self._trace_trunk(before)
            through = self._trunks[before](tf.convert_to_tensor(at_cut))
        remaining = {True: iter(through), False: iter(own)}
        found = [next(remaining[bool(self._before[k])]) for k in wanted]
        return [
            tf.zeros_like(self._sources[k]) if g is None else tf.convert_to_tensor(g)
            for g, k in zip(found, wanted, strict=True)
        ]

    def _trace_trunk(self, wanted: Sequence[int]) -> None:
        """Make the function from the gradient at the cut to those of variables before it."""
        sources = [self._sources[k] for k in wanted]
        connected: list[int] = []

        def trunk(at_cut: tf.Tensor) -> Gradients:
            gradients = self._tape.gradient(self._cut, sources, output_gradients=at_cut)
            connected[:] = [k for k, g in zip(wanted, gradients, strict=True) if g is not None]
            return [tf.convert_to_tensor(g) for g in gradients if g is not None]

        assert self._cut is not None
        at_cut = tf.TensorSpec(self._cut.shape, self._cut.dtype)
        traced = traced_once(trunk).get_concrete_function(at_cut)
        self._before[connected] = True
        self._trunks[tuple(connected)] = traced

    def _reaching(self, gradients: Sequence[Any]) -> np.ndarray:
        """Return `[num_tasks, num_gradients]` bool, which losses a gradient in `_together` has."""
        found = np.zeros((len(self._losses), len(gradients)), bool)
        for column, gradient in enumerate(gradients):
            tasks = 0 if gradient is None else self._factors_behind[_dense(gradient).op]
            found[:, column] = [tasks >> k & 1 for k in range(len(self._losses))]
        return found

    @computed_once
    def _factors_behind(self) -> dict[Any, int]:
        """Return the operations that depend on factors -> one bit for each of these."""
        behind = {factor.op: 1 << k for k, factor in enumerate(self._factors)}
        # Operations stand in the order in which they were made.
        for op in self._factors[0].graph.get_operations():
            for tensor in op.inputs:
                if tensor.op in behind:
                    behind[op] = behind.get(op, 0) | behind[tensor.op]
        return behind


def _dense(gradient: Any) -> tf.Tensor:
    """Return a gradient, or its values where it is one of some rows."""
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def _terms_of(gradient: Any) -> Iterator[Any]:
    """Yield the tensors that a gradient is the sum of."""
    if isinstance(gradient, tf.Tensor) and gradient.op.type == "AddN":
        for term in gradient.op.inputs:
            yield from _terms_of(term)
    else:
        yield gradient


def last_common_tensor(losses: Sequence[tf.Tensor]) -> tf.Tensor | None:
    """Find the last tensor through which alone the losses depend on what was computed before it.

    Args:
        losses: Scalars in one graph.

    Returns:
        A floating tensor. None if there is none, if a variable is read both before and after it,
        or if Python runs in the graph.
    """
    needed = ancestors(losses)
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
