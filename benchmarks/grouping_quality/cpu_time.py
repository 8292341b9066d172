"""CPU time of probing: joint runs with and without probes, interleaved in one process.

    python -m benchmarks.grouping_quality.cpu_time

Counted passes say what a probe costs a large network. On one as small as the yardstick's, much of
a step is overhead, and CPU time says something else.
"""

import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.grouping_quality.group_table import environment
from benchmarks.grouping_quality.measure_affinities import JointRun, shuffled_batches
from benchmarks.grouping_quality.task_sets import TASK_SETS
from keras_tag.baselines import grouping_cost

RESULT = Path(__file__).parent / "cpu_time.json"
SET, UNITS = "overlaid3-loop-prime-composite", 24
RUNS = {"every=10": ("gradient", 10), "every=50": ("gradient", 50)} | {
    "first_order, every=10": ("first_order", 10)
}
REPEATS, EPOCHS = 3, 5


def measure() -> dict[str, Any]:
    """CPU seconds of every kind of run, `REPEATS` of `EPOCHS` epochs each, in turn."""
    load, recipe = TASK_SETS[SET]
    data = load(0)
    models: dict[str, keras.Model] = {}
    for name, (kind, every) in RUNS.items():
        models[name] = JointRun(data, UNITS, recipe, kind, every).tag
    plain = JointRun(data, UNITS, recipe, "gradient", 10).tag.model
    plain.compile(
        keras.optimizers.Adam(recipe.learning_rate),
        loss=dict.fromkeys(data.tasks, "binary_crossentropy"),
    )
    models = {"plain": plain, **models}
    steps = -(-len(data.splits["train"].x) // recipe.batch_size)
    batches = shuffled_batches(data, recipe, 0)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for repeat in range(REPEATS + 1):
        for name, model in models.items():
            began = time.process_time()
            model.fit(batches, steps_per_epoch=steps, epochs=EPOCHS, verbose=0)
            if repeat:  # The first one traces.
                seconds[name].append(round(time.process_time() - began, 3))
    base = np.median(seconds["plain"])
    return {
        "set": SET,
        "units": UNITS,
        "tasks": len(data.tasks),
        "epochs": EPOCHS,
        "cpu_seconds": seconds,
        "ratio": {n: round(float(np.median(v) / base), 2) for n, v in seconds.items()},
        "counted": {
            n: round(grouping_cost(len(data.tasks), lookahead=kind, every=every).tag, 2)
            for n, (kind, every) in RUNS.items()
        },
        **environment("keras", "tensorflow"),
    }


if __name__ == "__main__":
    result = measure()
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))
