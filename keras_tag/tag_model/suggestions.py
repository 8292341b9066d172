"""Suggestions: the ways out of what a preflight found."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_tag.tag_model.model_check import ProbeCost, TaskCheck, listed
from keras_tag.training.compile_spec import compile_arguments
from keras_tag.training.missing_labels import absent_labels
from keras_tag.training.task_losses import Labels

# Losses that differ by so much make rows that do, too.
_SCALES = 100
# Below this a float32 loss has no digits left.
_RESOLUTION = 1e-6
# Training with probes may take so many times as long before it is worth a word.
_DEAR = 2.0
# With fewer probes standard errors say little.
_FEW = 50
# From so many tasks on the first step takes minutes to trace.
_MANY = 15


def of_labels(
    model: Any, y: Any, tasks: Sequence[TaskCheck], labels: Labels, looked_at: Sequence[str]
) -> Iterator[str]:
    """Yield what to do about the labels.

    Args:
        model: A compiled `TAGModel`.
        y: The labels as they came.
        tasks: The tasks.
        labels: Their labels.
        looked_at: The tasks whose labels the graph looks through for missing ones.
    """
    names = [task.task for task in tasks]
    if unused := [key for key in y if key not in names] if isinstance(y, Mapping) else []:
        yield (
            f"the labels {listed(unused)} are of no task and are not used. If they should be, name "
            "the output and its loss as the labels are named."
        )
    if unlabelled := [task.task for task in tasks if not task.labelled]:
        yield (
            f"{listed(unlabelled)}: no label in this batch counts, so no pair with these tasks is "
            "measured in such a batch. Mix examples of all tasks in every batch; a pair of tasks "
            "is measured where both have labels."
        )
    unheld = [
        task
        for task, own in zip(tasks, labels.values(), strict=True)
        if model.missing is not None and absent_labels(own.y, model.missing) is None
    ]
    if unheld:
        dtypes = sorted({task.label_dtype for task in unheld})
        yield (
            f"{listed([task.task for task in unheld])}: {' and '.join(dtypes)} labels can't hold "
            f"missing={model.missing}, so none of them is taken for missing. Where some are, give "
            "labels of a signed integer or float dtype."
        )
    negative = {}
    for task, own in zip(tasks, labels.values(), strict=True):
        lowest = np.min(np.asarray(tf.cast(own.y, "float64")), initial=np.inf)
        if lowest < 0 and "crossentropy" in task.loss.lower():
            negative[task.task] = f"{lowest:g}"
    if negative:
        values = list(dict.fromkeys(negative.values()))
        yield (
            f"{listed(list(negative))}: labels of {', '.join(values)} are no classes. If one means "
            f'"not labelled", give it as TAGModel(model, missing={values[0]}).'
        )
    if looked_at and model.jit_compile and compile_arguments(model).get("metrics"):
        yield (
            "XLA drops the check that no label is missing, and `metrics` would count one. Give "
            "metrics as `weighted_metrics`."
        )


def of_losses(tasks: Sequence[TaskCheck]) -> Iterator[str]:
    """Yield what to do about the losses."""
    labelled = [task for task in tasks if task.labelled]
    if broken := [task.task for task in labelled if not math.isfinite(task.loss_value)]:
        yield (
            f"{listed(broken)}: the loss is not finite. Look at the labels, the inputs and the "
            "activation of the output; such a task is not measured."
        )
    if negative := [task.task for task in labelled if task.loss_value <= 0]:
        yield (
            f"{listed(negative)}: the loss is 0 or less, and an affinity is a share of a loss. Add "
            "a constant that keeps it positive, or take lookahead='cosine'."
        )
    if still := [task.task for task in labelled if task.loss_weight == 0]:
        yield f"{listed(still)}: of loss weight 0, so there is no step, and the row is unmeasured."
    weighted = {
        task.task: abs(task.loss_weight * task.loss_value)
        for task in labelled
        if task.loss_weight and math.isfinite(task.loss_value) and task.loss_value
    }
    if weighted:
        largest, smallest = max(weighted, key=weighted.get), min(weighted, key=weighted.get)  # type: ignore[arg-type]
        if weighted[largest] > _SCALES * weighted[smallest]:
            ratio = weighted[largest] / weighted[smallest]
            yield (
                f"the weighted loss of {largest} is {ratio:.3g} times that of {smallest}: its "
                "steps are longer, in training and in its row of the affinity. If that is not "
                "meant, scale its labels or give `loss_weights`."
            )


def of_steps(
    model: Any,
    tasks: Sequence[TaskCheck],
    cost: ProbeCost,
    affinity: np.ndarray,
    harmed: Sequence[str],
    helps: float | None,
) -> Iterator[str]:
    """Yield what to do about the look-aheads.

    Args:
        model: A compiled `TAGModel`.
        tasks: The tasks.
        cost: Of a probe.
        affinity: `[num_tasks, num_tasks]`, rows = source.
        harmed: The tasks whose own step makes their loss larger.
        helps: A rate at which every task's step helps it; None if none was found or looked for.
    """
    alone = [task.task for task in tasks if not task.shared_parameters]
    if alone:
        yield (
            f"{listed(alone)}: shares no trainable weight with another task, so nothing can be "
            "measured of it. Leave it out and train it by itself, or let it use the shared layers."
        )
    if harmed and model.probe_data is not None:
        yield (
            f"{listed(harmed)}: a step makes the task's own loss on `probe_data` larger. That "
            "may be noise; if it lasts, give a smaller `lookahead_rate`."
        )
    elif harmed:
        text = (
            f"{listed(harmed)}: the task's own step makes its loss larger, so it is too long "
            f"({cost.step}); `select_groups` would refuse such an affinity. "
        )
        if helps is None:
            yield text + "Give a smaller learning rate, or lookahead='gradient' with a rate."
        else:
            yield text + (
                f"At TAGModel(model, lookahead_rate={helps:.2g}) every task's step helps it "
                "on this batch."
            )
    sizes = np.abs(affinity[np.isfinite(affinity)])
    if sizes.size and sizes.max() < _RESOLUTION and model.lookahead != "cosine":
        yield (
            f"the largest affinity is {sizes.max():.1g} of a loss, which is rounding in "
            f"float32 ({cost.step}). Give a larger `lookahead_rate`."
        )


def of_cost(model: Any, cost: ProbeCost, num_tasks: int) -> Iterator[str]:
    """Yield what to do about the time that probes take."""
    extra = cost.plain_steps - 1
    dearest = max((times for _, times in cost.every), default=1.0)
    if dearest > _DEAR:
        cheaper = math.ceil(2 * extra / model.steps_per_execution) * model.steps_per_execution
        yield (
            f"probes make training take {dearest:.2f} times as long. With every={cheaper} it is "
            "1.5 times; lookahead='first_order' needs no forward passes."
        )
    looks_ahead = model.lookahead in ("gradient", "optimizer")
    if num_tasks >= _MANY and looks_ahead and model.sources_per_probe is None:
        yield (
            f"{num_tasks} tasks make the first step slow to trace. TAGModel(model, "
            "sources_per_probe=4) traces one task's step, takes the steps of four tasks per probe "
            "in turn, and measures every row exactly."
        )
    steps = cost.steps_per_epoch or 1
    if steps > 1 and cost.every:
        every = cost.every[0][0]
        epochs = math.ceil(_FEW * every / steps)
        if epochs > _FEW:
            yield (
                f"an epoch of these data is {steps} steps, so {_FEW} probes take {epochs} epochs "
                f"at every={every}. With fewer probes the groups may be noise: "
                "TAGModel(model, every=1) probes every step."
            )
