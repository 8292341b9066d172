"""The passes and the memory of a probe, from counts; docs/check.md states the formulas."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.probe_passes import look_ahead_passes
from keras_tag.tag_model.model_check import ProbeCost
from keras_tag.tag_model.schedule import SELDOM, every_by_length
from keras_tag.tag_model.sharing import Sharing


def probe_cost(
    model: Any,
    sharing: Sharing,
    rate: float | None,
    shadows: bool,
    steps_per_epoch: int | None,
) -> ProbeCost:
    """Count what a probe takes.

    Args:
        model: A compiled `TAGModel` with a built optimizer.
        sharing: Which variables are shared.
        rate: Of the gradient steps on the batch; None where there are none.
        shadows: Whether a probe takes the optimizer's step on copies.
        steps_per_epoch: If it is known.
    """
    num_tasks, kind = len(sharing.tasks), model.lookahead
    sources = min(model.sources_per_probe or num_tasks, num_tasks)
    ahead, back = look_ahead_passes(sources, kind, model.steps, model.probe_data is not None)
    forward, backward = 1 + ahead, back + (shadows and kind != "optimizer")
    # A plain step is one of each.
    probe = (forward + backward - model.reuse_gradients) / 2
    executed = model.steps_per_execution
    if model.every is None:
        distances = [every_by_length(steps, executed) for steps in (0, SELDOM * 10**6)]
    else:
        distances = [] if model.every == "auto" else [model.every]
    shared = [_bytes(v) for v in sharing.variables]
    if kind in ("gradient", "optimizer"):
        copies = 2 * sum(shared)
    else:
        copies = num_tasks * (sum(shared) + max(shared))
    if shadows:
        copies += sum(map(_bytes, [*model.trainable_variables, *model.optimizer.variables]))
    return ProbeCost(
        kind,
        rate,
        _step(model, rate),
        forward,
        backward,
        1 + probe,
        tuple((k, 1 + probe / k) for k in distances),
        steps_per_epoch,
        copies,
    )


def numbers(variables: Sequence[Any]) -> int:
    """Return how many numbers variables hold."""
    return sum(int(np.prod(v.shape)) for v in variables)


def _bytes(variable: Any) -> int:
    return numbers([variable]) * int(tf.as_dtype(variable.dtype).size)


def _step(model: Any, rate: float | None) -> str:
    """Return what a look-ahead does, in words."""
    if model.lookahead == "cosine":
        return "the cosine of the tasks' gradients, without a step"
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    name = type(optimizer).__name__
    present = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    if rate is None:
        return f"the step of {name} at learning rate {present:.3g}"
    if model.lookahead_rate is not None:
        return f"a step at lookahead_rate={rate:.3g}"
    if rate == present:
        return f"a step at {name}'s learning rate, {rate:.3g}"
    return f"a step at rate {rate:.3g}, as long as that of {name} at learning rate {present:.3g}"
