"""What a probe costs in memory: peak over a plain step, in copies of the shared variables.

    python benchmarks/probe_memory.py            # writes benchmarks/probe_memory.json

Every figure is the peak resident memory of a fresh process while it trains, after a first epoch
that traces and allocates, once without and once with probes, on a trunk so wide that one copy of
it (256 MB) outweighs everything else. The difference, in copies, should not depend on the number
of tasks. Linux only: the kernel's high-water mark is reset after the first epoch.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

WIDTH = 8192
COPY = WIDTH * WIDTH * 4  # bytes of the trunk's kernel
OPTIMIZERS = {"sgd": 0, "adam": 2}  # name -> slots per variable


def child(kind: str, optimizer: str, tasks: int, probe: bool) -> None:
    """Train, and print the peak resident memory of the second epoch in bytes."""
    import keras
    import numpy as np

    from keras_tag import TAGModel

    inputs = keras.Input((WIDTH,))
    h = keras.layers.Dense(WIDTH, "tanh", use_bias=False)(inputs)
    names = [f"t{i}" for i in range(tasks)]
    model = keras.Model(inputs, {n: keras.layers.Dense(1, name=n)(h) for n in names})
    tag = TAGModel(model, every=1, lookahead=kind)
    made = keras.optimizers.get(optimizer)
    tag.compile(made, loss=dict.fromkeys(names, "mse"))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, WIDTH)).astype("float32")
    y = {n: rng.normal(size=(16, 1)).astype("float32") for n in names}
    target = tag if probe else model
    if not probe:
        model.compile(made, loss=dict.fromkeys(names, "mse"))
    target.fit(x, y, batch_size=4, verbose=0)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    target.fit(x, y, batch_size=4, verbose=0)
    status = Path("/proc/self/status").read_text()
    print(1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1]))


def peak(*arguments: object) -> int:
    """The peak of one fresh process, in bytes."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"),
    )
    return int(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Measure every combination and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=4)
    parser.add_argument("--out", default=str(Path(__file__).with_suffix(".json")))
    options = parser.parse_args()
    if options.child:
        kind, optimizer, tasks, probe = options.child
        child(kind, optimizer, int(tasks), probe == "1")
        return
    import keras
    import tensorflow as tf

    rows = []
    for kind in ("gradient", "optimizer"):
        for optimizer, slots in OPTIMIZERS.items():
            for tasks in (3, 20):
                plain = peak(kind, optimizer, tasks, 0)
                probed = peak(kind, optimizer, tasks, 1)
                row = {
                    "lookahead": kind,
                    "optimizer": optimizer,
                    "slots": slots,
                    "tasks": tasks,
                    "plain_mb": round(plain / 2**20),
                    "probed_mb": round(probed / 2**20),
                    "copies": round((probed - plain) / COPY, 2),
                }
                rows.append(row)
                print(row, flush=True)
    Path(options.out).write_text(
        json.dumps(
            {
                "what": "peak resident memory of training with probes over training without, in "
                "copies of the shared variables (256 MB each)",
                "machine": "2 cores, CPU only",
                "python": platform.python_version(),
                "keras": keras.__version__,
                "tensorflow": tf.__version__,
                "rows": rows,
            },
            indent=1,
        )
        + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
