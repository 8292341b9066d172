"""The compiled optimizer's real step, taken on copies.

The step could be applied to the model itself and reverted, as long as nothing raises in between: a
compiled function does not roll assignments back. So the step is applied to shadow copies of the
weights and of every slot, which are loaded anew for every task. The model's own variables are
read and never written.
"""

import inspect
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.tag_model.lookahead import Used, Values, only_used
from keras_tag.training.kept_attributes import unsaid_arguments
from keras_tag.training.replicas import num_replicas

_SETTINGS = (bool, int, float, str, np.ndarray, np.generic, tf.Tensor)


class ShadowOptimizer:
    """A `Stepper` that steps as the compiled optimizer would, for one task alone.

    Momentum, adaptive rates, schedules, clipping, weight decay and constraints act as they do in
    the optimizer; a clipping by global norm sees the shared variables' gradient of one task.
    Memory: one copy of the trainable variables and of the optimizer's variables.

    Args:
        optimizer: The compiled optimizer, built on `variables`, or on more.
        variables: All trainable variables of the model, in its order.
    """

    def __init__(self, optimizer: Any, variables: Sequence[Any]) -> None:
        # A look-ahead gets the unscaled gradient, so the inner optimizer is the step.
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        self._variables = [_like(variable) for variable in variables]
        self._optimizer = _copied(optimizer, zip(self._variables, variables, strict=True))
        self._optimizer.build(self._variables)
        self._slots = _paired(self._optimizer.variables, optimizer.variables)
        self._moved: list[Any] = []

    @property
    def variables(self) -> list[Any]:
        """All variables of its own, the copies of weights and slots."""
        return [*self._variables, *self._optimizer.variables]

    def of(self, shared: Sequence[Any], variables: Sequence[Any]) -> "ShadowOptimizer":
        """Set which of the trainable variables a step moves.

        Args:
            shared: The shared variables.
            variables: All trainable variables, as in `__init__`.

        Returns:
            This object.
        """
        index = {id(v): shadow for v, shadow in zip(variables, self._variables, strict=True)}
        self._moved = [index[id(v)] for v in shared]
        return self

    def begin(self) -> None:
        """Load the slots from the optimizer's."""
        shadows, originals = zip(*self._slots, strict=True)
        _assign(shadows, [original.value for original in originals])

    def step(self, values: Values, gradient: Values, used: Used) -> list[tf.Tensor]:
        """Return the moved values; see `Stepper`. Slots go on from the call before."""
        # Where tensors say which variables move, all are moved, and `only_used` picks those.
        moving = [isinstance(moves, tf.Tensor) or bool(moves) for moves in used]
        if not any(moving):
            return list(values)
        # Not the weights themselves: a layer may have rewritten one in its forward pass.
        chosen = [k for k, moves in enumerate(moving) if moves]
        _assign([self._moved[k] for k in chosen], [values[k] for k in chosen])
        # The optimizer sums over the replicas; each has the global gradient already.
        replicas = num_replicas()
        self._optimizer.apply_gradients(
            [
                (g / tf.cast(replicas, g.dtype), shadow)
                for g, shadow, moves in zip(gradient, self._moved, moving, strict=True)
                if moves
            ]
        )
        moved = [
            tf.convert_to_tensor(shadow.value) if moves else value
            for value, shadow, moves in zip(values, self._moved, moving, strict=True)
        ]
        return only_used(used, moved, values)


def _assign(shadows: Sequence[Any], values: Sequence[Any]) -> None:
    """Give variables of a probe their values, which are the same on every replica."""

    def assign(strategy: Any, *values: Any) -> None:
        for shadow, value in zip(shadows, values, strict=True):
            strategy.extended.update(
                shadow.value,
                lambda target, value: target.assign(value),
                args=(value,),
                group=False,
            )

    # In replica context a mirrored variable can only be assigned across the replicas.
    tf.distribute.get_replica_context().merge_call(assign, args=tuple(values))


def _like(variable: Any) -> Any:
    """Return a copy of a variable, of the same path: slots are named by it."""
    with ExitStack() as scopes:
        for part in variable.path.split("/")[:-1]:
            scopes.enter_context(keras.name_scope(part))
        copy = keras.Variable(
            # A tensor: from a tf.Variable Keras would take over the variable itself.
            tf.identity(variable.value),
            dtype=variable.dtype,
            trainable=True,
            aggregation="only_first_replica",
            name=variable.name,
        )
    copy.constraint = variable.constraint
    copy.regularizer = None
    return copy


def _copied(optimizer: Any, pairs: Iterable[tuple[Any, Any]]) -> Any:
    """Return another optimizer with the same settings, also those that its configuration lacks.

    Args:
        optimizer: The optimizer.
        pairs: Each variable that the copy is to step, with that of the optimizer.

    Raises:
        TypeError: Its configuration lacks a setting that it keeps where it can't be found.
    """
    copy = type(optimizer).from_config(optimizer.get_config())
    of_keras = vars(keras.optimizers.SGD())
    kept = {name for name, value in vars(optimizer).items() if _is_setting(value)}
    for name in kept - set(of_keras):
        setattr(copy, name, getattr(optimizer, name))
    lost = [name for name in unsaid_arguments(optimizer) if not {name, f"_{name}"} & kept]
    if lost:
        raise TypeError(
            "Expected an optimizer whose settings are in its configuration, because its step is "
            f"taken on copies. Received: {type(optimizer).__name__}, whose `get_config` lacks "
            f"{lost}. Add them to it, or give `lookahead_rate`."
        )
    # A look-ahead gets the gradient of a loss that is not scaled.
    copy.loss_scale_factor = None
    # What `exclude_from_weight_decay` was given is no part of the configuration.
    excluded = [copied for copied, original in pairs if not _decays(optimizer, original.value)]
    if excluded:
        copy.exclude_from_weight_decay(var_list=excluded)
    return copy


def _decays(optimizer: Any, variable: Any) -> bool:
    """Return whether an optimizer may decay a weight, which Keras has no public way to ask.

    Raises:
        TypeError: The private way is gone, and the optimizer decays weights.
    """
    ask = getattr(optimizer, "_use_weight_decay", None)
    if ask is not None:
        return bool(ask(variable))
    # Muon has two.
    if any(value for name, value in vars(optimizer).items() if name.endswith("weight_decay")):
        raise TypeError(
            "Expected a version of Keras whose optimizers tell which weights they decay, because "
            f"the step of {type(optimizer).__name__} is taken on copies. Received: Keras "
            f"{keras.__version__}. Give `lookahead_rate`, or no weight decay."
        )
    return True


def _is_setting(value: Any) -> bool:
    return value is None or isinstance(value, _SETTINGS) or inspect.isroutine(value)


def _paired(copies: Sequence[Any], originals: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return each variable of an optimizer's copy with that of the optimizer.

    The optimizer may have been built on more variables than are trained now, or in another order.

    Args:
        copies: Of the copy, built on the trainable variables.
        originals: Of the optimizer.

    Raises:
        ValueError: It can't be told which belong together.
    """

    def fit(pairs: list[tuple[Any, Any]]) -> bool:
        return all(copy.shape == original.shape for copy, original in pairs)

    names, counts = [v.name for v in copies], Counter(v.name for v in originals)
    if len(set(names)) == len(names) and all(counts[name] == 1 for name in names):
        by_name = {v.name: v for v in originals}
        pairs = [(v, by_name[v.name]) for v in copies]
        if fit(pairs):
            return pairs
    if len(copies) == len(originals):
        pairs = list(zip(copies, originals, strict=True))
        if fit(pairs):
            return pairs
    raise ValueError(
        "Expected an optimizer that was built on the model's trainable variables, so that its step "
        f"can be taken on copies. Received: an optimizer with {len(originals)} variables, where "
        f"one built anew has {len(copies)}, and their names do not tell which belong together. "
        "Compile with a new optimizer, or give `lookahead_rate`."
    )
