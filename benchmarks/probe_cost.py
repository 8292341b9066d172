"""What probes cost in time: ratios to a plain Keras training step, measured interleaved.

    python benchmarks/probe_cost.py                    # writes benchmarks/probe_cost.json
    python benchmarks/probe_cost.py --table            # the table of docs/cost.md from the file
    python benchmarks/probe_cost.py --plot docs/probe_cost.png
    python benchmarks/probe_cost.py --networks mlp --tasks 3 9 --batches 64 --rounds 5

For a network, a number of tasks and a batch size, one process holds the plain model and a
`TAGModel` of every variant, each compiled for the same optimizer. In every round each takes a few
steps, one variant after the other, so that whatever else the machine does falls on all of them
alike. What is reported are ratios of CPU time to the plain step of the same round: the median over
the rounds, and the quartiles.

A probe at every k-th step costs `1 + (probed step - 1) / k` plain steps. `entries` is how many of
the n x n pairs a probe measures; since every measured entry is exact and has the same sampling
variance, `entries per extra plain step`, relative to the full probe, is how much faster the squared
standard error falls for what it costs.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

OUT = Path(__file__).with_suffix(".json")
NETWORKS = ("mlp", "resnet32", "resnet64", "transformer")
# Name -> arguments of TAGModel.
VARIANTS = {
    "gradient": {},
    "optimizer": {"lookahead": "optimizer"},
    "first_order": {"lookahead": "first_order"},
    "cosine": {"lookahead": "cosine"},
    "gradient, reused": {"reuse_gradients": True},
    "gradient, 1 source": {"sources_per_probe": 1},
    "gradient, 3 sources": {"sources_per_probe": 3},
    "optimizer, 1 source": {"lookahead": "optimizer", "sources_per_probe": 1},
}
SCHEDULES = (1, 5, 10, 20, 50)
# The kinds that estimate the same thing up to the look-ahead, in the picture.
CURVES = (
    "gradient",
    "gradient, reused",
    "gradient, 3 sources",
    "gradient, 1 source",
    "first_order",
)


def made(network, tasks):
    """A model of `tasks` binary heads and one batch's input shape."""
    import keras

    layers = keras.layers
    if network == "mlp":
        inputs = h = keras.Input((64,))
        for _ in range(2):
            h = layers.Dense(64, "relu")(h)
    elif network == "transformer":
        inputs = keras.Input((16, 32))
        h = inputs
        for _ in range(2):
            h = layers.LayerNormalization()(h + layers.MultiHeadAttention(4, 8)(h, h))
            h = layers.LayerNormalization()(h + layers.Dense(32)(layers.Dense(64, "gelu")(h)))
        h = layers.GlobalAveragePooling1D()(h)
    else:
        size = int(network.removeprefix("resnet"))
        inputs = keras.Input((size, size, 3))
        h = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(inputs)
        h = layers.ReLU()(layers.BatchNormalization()(h))
        for filters in (16, 32, 64):
            stride = 1 if filters == 16 else 2
            skip = layers.Conv2D(filters, 1, strides=stride, use_bias=False)(h)
            h = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(h)
            h = layers.ReLU()(layers.BatchNormalization()(h))
            h = layers.Conv2D(filters, 3, padding="same", use_bias=False)(h)
            h = layers.BatchNormalization()(h)
            h = layers.ReLU()(h + skip)
        h = layers.GlobalAveragePooling2D()(h)
    heads = {f"t{i}": layers.Dense(1, "sigmoid", name=f"t{i}")(h) for i in range(tasks)}
    return keras.Model(inputs, heads)


def child(network, tasks, batch, rounds, steps):
    """Measure one configuration and print its rows as JSON."""
    import keras
    import numpy as np
    import tensorflow as tf

    from keras_tag import TAGModel

    rng = np.random.default_rng(0)
    model = made(network, tasks)
    x = rng.normal(size=(batch * steps, *model.input_shape[1:])).astype("float32")
    y = {f"t{i}": rng.integers(0, 2, (len(x), 1)).astype("float32") for i in range(tasks)}
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch).cache()
    loss = dict.fromkeys(y, "binary_crossentropy")

    trained, traced = {}, {}
    for name in ("plain", "between probes", *VARIANTS):
        if name.startswith("gradient, 3") and tasks <= 3:
            continue
        target = made(network, tasks)
        if name != "plain":
            every = 10**9 if name == "between probes" else 1
            target = TAGModel(target, every=every, **VARIANTS.get(name, {}))
        target.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss=loss)
        begun = time.process_time()
        for _ in range(2 if name == "between probes" else 1):
            target.fit(data, verbose=0)  # Traces; the first step is a probe in any case.
        traced[name] = time.process_time() - begun
        trained[name] = target
    seconds = {name: [] for name in trained}
    for _ in range(rounds):
        for name, target in trained.items():
            begun = time.process_time()
            target.fit(data, verbose=0)
            seconds[name].append(time.process_time() - begun)
    rows = []
    for name in trained:
        ratios = [own / plain for own, plain in zip(seconds[name], seconds["plain"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        sources = VARIANTS.get(name, {}).get("sources_per_probe", tasks)
        rows.append(
            {
                "network": network,
                "tasks": tasks,
                "batch": batch,
                "variant": name,
                "ratio": round(middle, 3),
                "quartiles": [round(low, 3), round(high, 3)],
                "entries": 0 if name in ("plain", "between probes") else sources * tasks,
                "first_epoch_cpu_seconds": round(traced[name], 1),
                "plain_step_ms": round(1000 * statistics.median(seconds["plain"]) / steps, 2),
            }
        )
    print(json.dumps(rows))


def measure(options):
    """Every configuration in a process of its own; the file grows with each."""
    import keras
    import tensorflow as tf

    rows = []
    for network in options.networks:
        for tasks in options.tasks:
            for batch in options.batches:
                arguments = (network, tasks, batch, options.rounds, options.steps)
                done = subprocess.run(
                    [sys.executable, __file__, "--child", *map(str, arguments)],
                    capture_output=True,
                    text=True,
                    check=True,
                    env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"),
                )
                rows += json.loads(done.stdout.strip().splitlines()[-1])
                print(*arguments, {r["variant"]: r["ratio"] for r in rows[-9:]}, flush=True)
                result = {
                    "what": "CPU time of a probed step over that of a plain Keras step, medians "
                    "and quartiles over interleaved rounds",
                    "machine": "2 cores, CPU only, shared with other work",
                    "rounds": options.rounds,
                    "steps_per_round": options.steps,
                    "python": platform.python_version(),
                    "keras": keras.__version__,
                    "tensorflow": tf.__version__,
                    "rows": rows,
                }
                Path(options.out).write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def table(options):
    """Markdown: the cost of `every`, and what it buys."""
    rows = json.loads(Path(options.out).read_text("utf-8"))["rows"]
    head = ["network", "n", "batch", "variant", "probed step"]
    head += [f"every={k}" for k in SCHEDULES[1:]] + ["entries per extra step, full probe = 1"]
    print("|", " | ".join(head), "|\n|", " | ".join(["---"] * 4 + ["---:"] * (len(head) - 4)), "|")
    full = {}
    for row in rows:
        key = (row["network"], row["tasks"], row["batch"])
        if row["variant"] == "plain":
            continue
        extra = row["ratio"] - 1
        cells = [row["network"], row["tasks"], row["batch"], row["variant"]]
        low, high = row["quartiles"]
        cells.append(f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})")
        if row["variant"] == "between probes":
            cells += [""] * len(SCHEDULES)
        else:
            worth = row["entries"] / max(extra, 1e-3)
            if row["variant"] == "gradient":
                full[key] = worth
            cells += [f"{1 + extra / k:.2f}" for k in SCHEDULES[1:]]
            cells.append(f"{worth / full[key]:.2f}")
        print("|", " | ".join(map(str, cells)), "|")


def plot(options):
    """Training time against the standard error of a pair's affinity, for every way to probe."""
    import matplotlib.pyplot as plt

    rows = json.loads(Path(options.out).read_text("utf-8"))["rows"]
    settings = sorted({(r["network"], r["tasks"], r["batch"]) for r in rows if r["tasks"] == 9})
    figure, axes = plt.subplots(
        1, len(settings), figsize=(1 + 4 * len(settings), 4), sharey=True, squeeze=False
    )
    axes = axes[0]
    for ax, setting in zip(axes, settings, strict=True):
        for marker, variant in zip("osD^v", CURVES, strict=True):
            for row in rows:
                if (row["network"], row["tasks"], row["batch"], row["variant"]) == (
                    *setting,
                    variant,
                ):
                    extra, share = row["ratio"] - 1, row["entries"] / row["tasks"] ** 2
                    cost = [1 + extra / k for k in SCHEDULES]
                    # As if probes were independent; the full probe at every step has the error 1.
                    error = [(k / share) ** 0.5 for k in SCHEDULES]
                    ax.plot(cost, error, marker=marker, label=variant)
        ax.set(title="{}, {} tasks, batch {}".format(*setting), yscale="log")
        ax.set_xlabel("training time (plain fit = 1)")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("standard error (full probe, every step = 1)")
    axes[0].legend(fontsize=8, title=f"every = {', '.join(map(str, SCHEDULES))}")
    figure.tight_layout()
    figure.savefig(options.plot, dpi=110)


def main():
    """Measure, or print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--tasks", nargs="+", type=int, default=[3, 9, 20, 40])
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--out", default=str(OUT))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--plot", help="where to draw the frontier")
    options = parser.parse_args()
    if options.child:
        network, *numbers = options.child
        child(network, *map(int, numbers))
    elif options.plot:
        plot(options)
    elif options.table:
        table(options)
    else:
        measure(options)


if __name__ == "__main__":
    main()
