"""Validation of `TAGModel`'s arguments and of the model that it wraps."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_tag.task_names import check_different
from keras_tag.training.compile_spec import compile_arguments
from keras_tag.training.distributed_model import num_workers

LOOKAHEADS = ("gradient", "optimizer", "first_order", "cosine")


def check_model(model: Any) -> None:
    """Check that `model` is a Keras model that trains with Keras's own steps."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected `model` to be a keras.Model. Received: {type(model).__name__}.")
    for method in ("train_step", "test_step", "compute_loss", "compute_metrics"):
        if getattr(type(model), method) is not getattr(keras.Model, method):
            raise ValueError(
                f"Expected a model that trains with Keras's own steps. {type(model).__name__} "
                f"overrides `{method}`, which a wrapper would silently leave out. Move its work "
                "into losses given to `compile`, into `add_loss`, or into the layers."
            )
    if isinstance(getattr(model, "output", None), (list, tuple)):
        check_different(model.output_names)


def check_whole(name: str, value: Any, least: int = 1) -> int:
    """Check that `value` is an integer of at least `least`, and return it as Python's own."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(
            f"Expected `{name}` to be an integer of at least {least}. Received: {name}={value!r}."
        )
    return int(value)


def check_every(every: Any, overhead: Any) -> None:
    """Check that `every` is None, a number of steps, or "auto" with a positive `overhead`."""
    if every is None:
        return
    if every != "auto":
        check_whole("every", every)
    elif not isinstance(overhead, (int, float, np.number)) or not 0 < overhead < math.inf:
        raise ValueError(
            "Expected `overhead` to be a positive fraction of the time of plain training, such as "
            f"0.1. Received: overhead={overhead!r}."
        )


def check_lookahead(lookahead: Any, rate: Any, steps: int) -> None:
    """Check that the kind exists, and that it has a rate and steps where they are given."""
    if lookahead not in LOOKAHEADS:
        raise ValueError(
            f"Expected `lookahead` to be one of {list(LOOKAHEADS)}. Received: "
            f"lookahead={lookahead!r}."
        )
    if rate is not None:
        if lookahead in ("optimizer", "cosine"):
            raise ValueError(
                f"Expected no `lookahead_rate` with lookahead={lookahead!r}, which "
                + ("steps at the optimizer's own rate" if lookahead == "optimizer" else "has none")
                + f". Received: lookahead_rate={rate!r}."
            )
        if not isinstance(rate, (int, float, np.number)) or not np.isfinite(rate) or rate < 0:
            raise ValueError(
                "Expected `lookahead_rate` to be None or a finite number of at least 0. Received: "
                f"lookahead_rate={rate!r}."
            )
    if steps > 1 and lookahead in ("first_order", "cosine"):
        raise ValueError(
            f"Expected steps=1 with lookahead={lookahead!r}, which takes no steps. Received: "
            f"steps={steps}."
        )


def check_sources(sources: Any, lookahead: str, reuse_gradients: bool) -> None:
    """Check that a probe of this kind can leave tasks out."""
    if sources is None:
        return
    check_whole("sources_per_probe", sources)
    if lookahead in ("first_order", "cosine"):
        raise ValueError(
            f"Expected sources_per_probe=None with lookahead={lookahead!r}, which multiplies the "
            f"gradients of all tasks. Received: sources_per_probe={sources}."
        )
    if reuse_gradients:
        raise ValueError(
            "Expected sources_per_probe=None with reuse_gradients=True, which needs the gradients "
            f"of all tasks. Received: sources_per_probe={sources}."
        )


def check_compiled(model: keras.Model, what: str) -> None:
    """Check that the model is compiled with a loss."""
    if not model.compiled or model.loss is None:
        raise ValueError(
            f"Expected a model compiled with a loss before `{what}`. Call "
            "`compile(optimizer, loss={task: loss, ...})` first."
        )


def check_parts(parts: Any) -> None:
    """Check that `parts` is "last" or "all"."""
    if parts not in ("last", "all"):
        raise ValueError(f"Expected `parts` to be 'last' or 'all'. Received: parts={parts!r}.")


def check_two_tasks(tasks: Sequence[str]) -> None:
    """Check that there are at least two tasks."""
    if len(tasks) < 2:
        raise ValueError(
            "Expected at least two tasks (outputs with a loss): affinity is between tasks. "
            f"Received: tasks {list(tasks)}. If the one output has a column per task, give it to "
            "`keras_tag.split_outputs(model, names)`."
        )


def check_supported(model: Any) -> None:
    """Check that `fit` supports the settings, before anything is traced.

    Args:
        model: A compiled `TAGModel`.
    """
    executions = model.steps_per_execution
    if model.every == "auto" and (executions > 1 or num_workers(model.distribute_strategy) > 1):
        raise ValueError(
            "Expected a number for `every` with steps_per_execution > 1 or several workers, which "
            "must all probe the same steps. Received: every='auto'. Find the number in one process "
            "with steps_per_execution=1, which prints it."
        )
    if executions > 1 and model.every is not None and model.every % executions:
        raise ValueError(
            "Expected `every` to be a multiple of `steps_per_execution`: which steps are probed "
            f"is decided once per execution. Received: every={model.every}, "
            f"steps_per_execution={executions}."
        )
    if executions > 1 and model.probe_data is not None:
        raise ValueError(
            "Expected steps_per_execution=1 with `probe_data`, which is drawn step by step. "
            f"Received: steps_per_execution={executions}."
        )
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1 and model.reuse_gradients:
        raise ValueError(
            "Expected reuse_gradients=False under a distribution strategy, where the joint "
            f"gradient is Keras's own. Received: reuse_gradients=True on {replicas} replicas."
        )
    # Their gradients are new values, not gradients.
    if any(getattr(v, "overwrite_with_gradient", False) for v in model.trainable_variables):
        raise ValueError(
            "Expected layers whose variables train by gradients. Received: layers quantised to "
            "float8, whose scales are overwritten at every step. Wrap the model as it was before "
            "`quantize('float8')`."
        )
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if model.lookahead == "optimizer" and optimizer.gradient_accumulation_steps:
        raise ValueError(
            "Expected an optimizer that steps at every batch with lookahead='optimizer'. Received: "
            f"gradient_accumulation_steps={optimizer.gradient_accumulation_steps}. Use "
            "lookahead='gradient', or a larger batch in place of accumulation."
        )
    if model.missing is not None and compile_arguments(model).get("metrics"):
        raise ValueError(
            "Expected no `metrics` where labels may be missing: Keras's `metrics` ignore sample "
            f"weights and would count the missing ones (missing={model.missing}). Give them to "
            "`compile(weighted_metrics=...)`, which sees labelled examples only."
        )
