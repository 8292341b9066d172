"""Long runs of many tasks: is memory flat, is anything traced again, how large are the files?

    python -m benchmarks.load               # writes benchmarks/load.json

The product of all that is asked for, 40 tasks x 1,000 probes x 10^7 shared parameters, is 80,000
passes of a network of 10^7 parameters: hours on two cores. So every case has one or two of them
large. Each runs in a process of its own, which reads its resident memory (Linux) and counts how
often the model was traced: a trace calls the layers' Python code, a step doesn't.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

# tasks, trunk width (parameters: about its square), epochs, probed steps per epoch.
CASES = {
    "1,000 probes of 40 tasks": {"tasks": 40, "width": 32, "epochs": 100, "probes": 10},
    "10^7 shared parameters": {"tasks": 4, "width": 3163, "epochs": 10, "probes": 4},
    "10^7 shared parameters, 40 tasks": {"tasks": 40, "width": 3163, "epochs": 3, "probes": 1},
}
BATCH = 4
PLAIN = 1  # Unprobed steps after every probed one.


def resident() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def run(tasks: int, width: int, epochs: int, probes: int) -> dict[str, Any]:
    """Train one case; memory and traces by epoch, and file sizes."""
    import keras
    import numpy as np

    from keras_tag import TAGModel
    from keras_tag.callbacks import Backup

    keras.utils.set_random_seed(0)
    calls = []

    @keras.saving.register_keras_serializable(package="benchmarks")
    class Counted(keras.layers.Dense):
        def call(self, inputs: Any) -> Any:
            calls.append(1)
            return super().call(inputs)

    inputs = keras.Input((width,))
    h = Counted(width, "tanh", name="trunk")(inputs)
    names = [f"task_{i}" for i in range(tasks)]
    model = keras.Model(inputs, {n: keras.layers.Dense(1, name=n)(h) for n in names})
    tag = TAGModel(model, every=1 + PLAIN)
    tag.compile(keras.optimizers.SGD(1e-3), loss=dict.fromkeys(names, "mse"))
    rng = np.random.default_rng(0)
    size = probes * (1 + PLAIN) * BATCH
    x = rng.normal(size=(size, width)).astype("float32") / width**0.5
    y = {n: rng.normal(size=(size, 1)).astype("float32") for n in names}
    rows = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            rows.append({"epoch": epoch, "mb": resident(), "traced_calls": len(calls)})

    with tempfile.TemporaryDirectory() as folder:
        backup = Backup(Path(folder) / "backup", delete_when_done=False)
        start = time.monotonic()
        tag.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[backup, Watch()])
        seconds = time.monotonic() - start
        affinity = tag.affinity()
        affinity.save(Path(folder) / "affinity.npz")
        (newest,) = (Path(folder) / "backup").glob(f"epoch_{epochs:06d}")
        sizes = {
            "affinity_kb": round((Path(folder) / "affinity.npz").stat().st_size / 2**10, 1),
            "backup_mb": round(sum(f.stat().st_size for f in newest.iterdir()) / 2**20, 2),
        }
    return {
        "probes": tag.probes,
        "shared_parameters": affinity.metadata["settings"]["shared_parameters"],
        "history_blocks": len(affinity.history.row),
        **sizes,
        "seconds": round(seconds),
        "calls_traced_first_epoch": rows[0]["traced_calls"],
        "calls_traced_later": rows[-1]["traced_calls"] - rows[0]["traced_calls"],
        "mb_by_epoch": [row["mb"] for row in rows],
    }


def main() -> None:
    """Every case in a process of its own; the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--out", default=str(Path(__file__).with_suffix(".json")))
    options = parser.parse_args()
    if options.case:
        print(json.dumps(run(**CASES[options.case])))
        return
    results = {}
    for name, settings in CASES.items():
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load", "--case", name],
            capture_output=True,
            text=True,
            check=True,
            env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"),
        )
        results[name] = {**settings, **json.loads(done.stdout.strip().splitlines()[-1])}
        print(name, results[name], flush=True)
    found = {
        "machine": {"cores": os.cpu_count(), "cpu only": True, "shared with other work": True},
        "python": platform.python_version(),
        **{name: version(name) for name in ("keras", "tensorflow", "numpy")},
        "cases": results,
    }
    Path(options.out).write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
