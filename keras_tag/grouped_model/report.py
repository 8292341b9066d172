"""The report of a `GroupedModel`: its metrics per task, next to the models it replaces."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import pandas as pd

from keras_tag.grouped_model.joint_outputs import MadeNetworks
from keras_tag.selection.grouping import Grouping
from keras_tag.training.compile_spec import new_metrics

if TYPE_CHECKING:
    from keras_tag.grouped_model.model import GroupedModel


def report(
    model: "GroupedModel",
    test: Any,
    *,
    joint: keras.Model | None = None,
    single: Mapping[str, keras.Model] | None = None,
) -> pd.DataFrame:
    """Losses and metrics by task; see `GroupedModel.report`."""
    rivals = {}
    if joint is not None:
        rivals["joint"] = (Grouping.from_groups([model.tasks]), {model.tasks: joint})
    if single is not None:
        missing = [task for task in model.serves if task not in single]
        if missing:
            raise ValueError(
                f"Expected `single` to have a model for every task of {list(model.serves)}. "
                f"Missing: {missing}."
            )
        alone = Grouping.from_groups([(task,) for task in model.serves])
        rivals["single"] = (alone, {(task,): single[task] for task in model.serves})
    frame = pd.DataFrame(
        {
            "network": dict(model.serves),
            "trained_with": {
                task: ", ".join(t for t in model.grouping.groups[index] if t != task)
                for task, index in model.serves.items()
            },
        }
    ).rename_axis("task")
    frame = frame.join(_evaluate(model, test))
    for name, (grouping, models) in rivals.items():
        # The same losses and metrics, whatever the rival was compiled with, if at all.
        made = MadeNetworks(map(models.__getitem__, grouping.groups), model.joint_outputs)
        rival = type(model)(grouping, made, serve=model.serves, missing=model.missing)
        rival.compile(
            None,
            loss={task: model.task_losses.losses[task] for task in grouping.tasks},
            metrics=new_metrics(model, "metrics"),
            weighted_metrics=new_metrics(model, "weighted_metrics"),
            run_eagerly=model.run_eagerly,
        )
        frame = frame.join(_evaluate(rival, test).add_prefix(f"{name}_"))
    return frame


def _evaluate(model: "GroupedModel", test: Any) -> pd.DataFrame:
    """Tasks as rows; "loss" and the metrics' names as columns."""
    data = test if isinstance(test, tuple) else (test,)
    sample_weight = data[2] if len(data) > 2 else None
    logs = model.evaluate(*data[:2], sample_weight=sample_weight, return_dict=True, verbose=0)
    values: dict[str, dict[str, float]] = {}
    for name, value in logs.items():
        if "/" in name:
            continue  # A helper's loss.
        # The longest fitting name: of tasks "eye" and "eye_left", `eye_left_loss` is the second's.
        tasks = sorted((t for t in model.tasks if name.startswith(f"{t}_")), key=len)
        if len(model.serves) == 1 and not tasks and name not in ("loss", "optimized_loss"):
            # Keras leaves out the name of a lone output.
            values[name] = {next(iter(model.serves)): float(value)}
        elif tasks:
            values.setdefault(name.removeprefix(f"{tasks[-1]}_"), {})[tasks[-1]] = float(value)
    columns = ["loss", *(column for column in values if column != "loss")]
    return pd.DataFrame(values, index=list(model.tasks), columns=columns).rename_axis("task")
