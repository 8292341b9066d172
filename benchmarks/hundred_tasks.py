"""A hundred tasks from data to groups: 100 probes, the choice of ten groups, and its pictures.

    python -m benchmarks.hundred_tasks            # adds to hundred_tasks.json
    python -m benchmarks.hundred_tasks --tasks 40

An MLP with one head per task; tasks come in ten kinds, and those of one kind ask nearly the same.
Seconds of wall and of CPU time by part, what plain Keras takes for as many steps, the peak of
resident memory, and the objective of the choice with its bound.
"""

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULT = Path(__file__).with_suffix(".json")
PROBES, EVERY, BATCH, KINDS, BUDGET, TIME_LIMIT = 100, 10, 64, 10, 10, 20


def main(tasks: int) -> None:
    """Measure once."""
    import keras
    import matplotlib
    import numpy as np

    import keras_tag
    from keras_tag import plotting

    matplotlib.use("Agg")
    rng = np.random.default_rng(0)
    names = [f"t{i}" for i in range(tasks)]
    x = rng.normal(size=(100 * BATCH, 32)).astype("float32")
    asked = rng.normal(size=(32, KINDS))[:, np.arange(tasks) % KINDS]
    answers = x @ (asked + 0.3 * rng.normal(size=asked.shape)) > 0
    y = {name: answers[:, i : i + 1].astype("float32") for i, name in enumerate(names)}

    def made() -> Any:
        keras.utils.set_random_seed(0)
        inputs = keras.Input((32,))
        h = keras.layers.Dense(64, "relu")(keras.layers.Dense(64, "relu")(inputs))
        return keras.Model(inputs, {n: keras.layers.Dense(1, "sigmoid", name=n)(h) for n in names})

    seconds: dict[str, dict[str, float]] = {}

    def timed(what: str, work: Callable[[], Any]) -> Any:
        begun = time.perf_counter(), time.process_time()
        found = work()
        wall, cpu = time.perf_counter() - begun[0], time.process_time() - begun[1]
        seconds[what] = {"wall": round(wall, 1), "cpu": round(cpu, 1)}
        print(what, seconds[what], flush=True)
        return found

    def fit(model: Any) -> Any:
        model.compile("adam", loss=dict.fromkeys(names, "binary_crossentropy"))
        model.fit(x, y, batch_size=BATCH, epochs=PROBES * EVERY // 100, verbose=0)
        return model

    def show(affinity: Any, grouping: Any) -> None:
        print(grouping)
        plotting.plot_affinity(affinity)
        plotting.plot_groups(grouping)

    tag = timed("fit with probes", lambda: fit(keras_tag.TAGModel(made(), every=EVERY)))
    affinity = timed("affinity", tag.affinity)
    grouping = timed(
        "choice", lambda: keras_tag.select_groups(affinity, BUDGET, time_limit=TIME_LIMIT)
    )
    timed("report", lambda: show(affinity, grouping))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    timed("plain fit", lambda: fit(made()))
    packages = ("keras", "tensorflow", "numpy")
    measured = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
    measured[str(tasks)] = {
        "probes": tag.probes,
        "budget": BUDGET,
        "seconds": seconds,
        "peak_mb": peak,
        "objective": grouping.objective,
        "bound": grouping.bound,
        "machine": {
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
    }
    RESULT.write_text(json.dumps(measured, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100)
    main(parser.parse_args().tasks)
