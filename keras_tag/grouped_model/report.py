"""The report of a `GroupedModel`: its metrics per task, next to the models it replaces."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from keras_tag.grouped_model.served_networks import ServedNetworks


def report(model: ServedNetworks, rivals: Mapping[str, ServedNetworks], test: Any) -> pd.DataFrame:
    """Return losses and metrics by task; see `GroupedModel.report`.

    Args:
        model: A compiled `GroupedModel`.
        rivals: Prefix of its columns -> other networks of the same tasks, compiled alike.
        test: As in `GroupedModel.report`.

    Returns:
        The frame.
    """
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
    for name, rival in rivals.items():
        frame = frame.join(_evaluate(rival, test).add_prefix(f"{name}_"))
    return frame


def _evaluate(model: ServedNetworks, test: Any) -> pd.DataFrame:
    """Tasks as rows; "loss" and the metrics' names as columns."""
    data = test if isinstance(test, tuple) else (test,)
    sample_weight = data[2] if len(data) > 2 else None
    logs = model.evaluate(*data[:2], sample_weight=sample_weight, return_dict=True, verbose=0)
    values: dict[str, dict[str, float]] = {}
    for name, value in logs.items():
        if re.match(r"group_\d+/", name):
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
