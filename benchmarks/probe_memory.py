"""The cost of a probe in memory: peak of training with probes over training without.

    python benchmarks/probe_memory.py            # goes on with benchmarks/probe_memory.json

Every figure is the peak resident memory of a fresh process while it trains, after a first epoch
that traces and allocates. The C library is told to give back what is freed at once
(`MALLOC_MMAP_THRESHOLD_`), so that a peak is what was held at the same time. What that is depends
a little on how TensorFlow schedules: by a copy or so of the trunk.

"trunk": one matrix of 256 MB outweighs everything else. The difference with and without probes is
given in copies of it, and should not depend on the number of tasks. "networks": those of
`probe_cost.py`, on which activations and the traced graphs are what takes room. Linux only: the
kernel's high-water mark is reset after the first epoch.
"""

import argparse
import json
import platform
import re
from pathlib import Path

from probe_cost import in_a_process, made

OUT = Path(__file__).with_suffix(".json")
WIDTH = 8192
COPY = WIDTH * WIDTH * 4  # bytes of the trunk's kernel
SLOTS = {"sgd": 0, "adam": 2}  # optimizer -> slots per variable
# What is trained: network, optimizer, tasks, batch; and the look-ahead kinds that probe it.
TRUNKS = [
    (("trunk", optimizer, tasks, 4), ("gradient", "optimizer"))
    for tasks in (40, 3, 20)
    for optimizer in SLOTS
] + [(("trunk", "sgd", 9, 4), ("first_order",))]
SMALL = [
    ((network, "sgd", tasks, batch), ("gradient", "first_order"))
    for tasks, batch in ((9, 64), (40, 64), (3, 64), (9, 256))
    for network in ("mlp", "resnet32", "transformer", "resnet64")
    if tasks <= 9 or network != "resnet64"
]


def network_of(name, tasks):
    """A model of `tasks` heads."""
    import keras

    if name != "trunk":
        return made(name, tasks)
    inputs = keras.Input((WIDTH,))
    h = keras.layers.Dense(WIDTH, "tanh", use_bias=False)(inputs)
    heads = {f"t{i}": keras.layers.Dense(1, "sigmoid", name=f"t{i}")(h) for i in range(tasks)}
    return keras.Model(inputs, heads)


def child(name, optimizer, tasks, batch, kind):
    """Train, probing every step unless `kind` is "none"; print the second epoch's peak in bytes."""
    import numpy as np

    from keras_tag import TAGModel

    model = network_of(name, tasks)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3 * batch, *model.input_shape[1:])).astype("float32")
    y = {f"t{i}": rng.integers(0, 2, (len(x), 1)).astype("float32") for i in range(tasks)}
    if kind != "none":
        model = TAGModel(model, every=1, lookahead=kind)
    model.compile(optimizer, loss=dict.fromkeys(y, "binary_crossentropy"))
    model.fit(x, y, batch_size=batch, verbose=0)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    model.fit(x, y, batch_size=batch, verbose=0)
    status = Path("/proc/self/status").read_text()
    print(1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1]))


def peak(*arguments):
    """The peak of one fresh process, in bytes."""
    return in_a_process(__file__, *arguments, MALLOC_MMAP_THRESHOLD_="65536")


def rows_of(trained, kinds):
    """One row per look-ahead kind."""
    network, optimizer, tasks, batch = trained
    plain = peak(*trained, "none")
    for kind in kinds:
        probed = peak(*trained, kind)
        row = {"network": network, "optimizer": optimizer, "tasks": tasks, "batch": batch}
        row |= {"lookahead": kind, "plain_mb": plain // 2**20, "probed_mb": probed // 2**20}
        if network == "trunk":
            row |= {"slots": SLOTS[optimizer], "copies": round((probed - plain) / COPY, 2)}
        yield row


def main():
    """Measure what is not in the file yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--out", default=str(OUT))
    options = parser.parse_args()
    if options.child:
        name, optimizer, tasks, batch, kind = options.child
        child(name, optimizer, int(tasks), int(batch), kind)
        return
    import keras
    import tensorflow as tf

    out = Path(options.out)
    rows = json.loads(out.read_text("utf-8"))["rows"] if out.exists() else []
    known = {(r["network"], r["optimizer"], r["tasks"], r["batch"]) for r in rows}
    for trained, kinds in TRUNKS + SMALL:
        if trained in known:
            continue
        for row in rows_of(trained, kinds):
            rows.append(row)
            print(row, flush=True)
        result = {
            "what": "peak resident memory of training with a probe at every step and without; for "
            "the trunk the difference in copies of the shared variables (256 MB each)",
            "machine": "2 cores, CPU only",
            "python": platform.python_version(),
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "rows": rows,
        }
        out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
