"""The cost of probes in time: ratios to a plain Keras training step, measured interleaved.

    python benchmarks/probe_cost.py                    # goes on with benchmarks/probe_cost.json
    python benchmarks/probe_cost.py --networks mlp --tasks 9 --batches 64 --again

`probe_cost_report.py` makes the tables and the picture of docs/cost.md from the file.

For a network, a number of tasks and a batch size, one process holds the plain model and a
`TAGModel` of every variant, each compiled for the same optimizer. In every round each takes a few
steps, one variant after the other, so that whatever else the machine does falls on all of them
alike. What is reported are ratios of CPU time, and of wall time, to the plain steps of the same
round: the median over the rounds, and the quartiles. In another process `every="auto"` chooses its
number, and whole stretches of that many steps and more are held against plain ones.

A probe at every k-th step costs `1 + (probed step - 1) / k` plain steps. `entries` is how many of
the n x n pairs a probe measures. `signal` says what a probe is worth: the mean square of the
affinities between different tasks over their squared standard error, per probe. It has no unit, so
that kinds which estimate different things can be held against each other; for one kind it goes up
as the squared standard error goes down. Divided by what the probe costs it is the efficiency.

Every configuration is a process of its own and goes into the file when it is done; what is there is
not measured again. Peak memory is measured by `probe_memory.py`.
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
}
# What is measured with many tasks, where tracing all of them would take long.
FEW = ("gradient", "first_order", "gradient, 1 source")
# Tasks and batch, the most telling first; each for all networks.
SIZES = [(9, 64), (40, 64), (3, 64), (20, 64), (9, 256), (3, 256), (20, 256), (40, 256)]
CONFIGURATIONS = [
    (network, tasks, batch, tuple(VARIANTS) if tasks <= 9 else FEW)
    for tasks, batch in SIZES
    for network in NETWORKS
]
# Training data are at most about so many bytes, and 10 to 64 batches.
DATA_BYTES = 1e8
OVERHEAD = 0.1
# A round of a variant is at most about this much plain training.
ROUND_SECONDS = 0.3


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


class Stopwatch:
    """Seconds of CPU and of wall time, by variant and round."""

    def __init__(self):
        self.seconds = {}

    def take(self, name, work):
        """Time one round of a variant."""
        begun = time.process_time(), time.perf_counter()
        work()
        ended = time.process_time(), time.perf_counter()
        took = [after - before for before, after in zip(begun, ended, strict=True)]
        self.seconds.setdefault(name, []).append(took)

    def ratios(self, name, to):
        """`[median, lower quartile, upper quartile]` of CPU time, and the same of wall time."""
        result = []
        for clock in (0, 1):
            pairs = zip(self.seconds[name], self.seconds[to], strict=True)
            low, middle, high = statistics.quantiles([a[clock] / b[clock] for a, b in pairs], n=4)
            result.append([round(value, 3) for value in (middle, low, high)])
        return result

    def median(self, name):
        """CPU seconds of a round."""
        return statistics.median(cpu for cpu, _ in self.seconds[name])


def compiled(network, tasks, batch, names):
    """Plain and probing models, a function that trains one, and CPU seconds of first steps."""
    import keras
    import numpy as np
    import tensorflow as tf

    from keras_tag import TAGModel

    rng = np.random.default_rng(0)
    shape = made(network, tasks).input_shape[1:]
    batches = int(np.clip(DATA_BYTES / (4 * batch * np.prod(shape)), 10, 64))
    x = rng.normal(size=(batches * batch, *shape)).astype("float32")
    # Tasks of one kind ask nearly the same question; there are three kinds, of three tasks one.
    asked = rng.normal(size=(np.prod(shape), 3))[:, np.arange(tasks) % min(3, tasks // 3)]
    asked = (asked + 0.5 * rng.normal(size=asked.shape)).astype("float32")
    answers = (x.reshape(len(x), -1) @ asked > 0).astype("float32")
    y = {f"t{i}": answers[:, i : i + 1] for i in range(tasks)}
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch).cache()

    # Whole batches in another order every time: a `fit` begins with its data's first. The same
    # orders for every variant, which then sees what the others see, at the same weights.
    orders = {}

    def fit(model, steps):
        if model not in orders:
            orders[model] = data.shuffle(batches, seed=0).repeat()
        model.fit(orders[model], steps_per_epoch=steps, verbose=0)

    models, first = {}, {}
    for name in names:
        # The same weights, or else signals could not be compared.
        keras.utils.set_random_seed(0)
        model = made(network, tasks)
        if name != "plain":
            model = TAGModel(model, every=1, overhead=OVERHEAD, **VARIANTS.get(name, {}))
        if name == "between probes":
            model.pause_probing()
        loss = dict.fromkeys(y, "binary_crossentropy")
        model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss=loss)
        begun = time.process_time()
        fit(model, 1)
        first[name] = round(time.process_time() - begun, 1)
        models[name] = model
    # Setting the seed makes TensorFlow forget what it had made ready.
    for model in models.values():
        fit(model, 1)
    return models, fit, first


def measure_steps(network, tasks, batch, rounds, variants):
    """One configuration: steps of every variant, over plain ones."""
    names = ("plain", "between probes", *variants)
    models, fit, first = compiled(network, tasks, batch, names)
    begun = time.process_time()
    fit(models["plain"], 2)
    steps = max(2, min(50, int(2 * ROUND_SECONDS / (time.process_time() - begun))))
    watch = Stopwatch()
    for _ in range(rounds):
        for name, model in models.items():
            watch.take(name, lambda model=model: fit(model, steps))
    rows = {}
    for name in names[1:]:
        cpu, wall = watch.ratios(name, "plain")
        rows[name] = {"cpu": cpu, "wall": wall}
        if name in variants:
            rows[name]["entries"] = VARIANTS[name].get("sources_per_probe", tasks) * tasks
            rows[name]["signal"] = signal(models[name])
            rows[name]["first_step_cpu_seconds"] = first[name]
    return {
        "network": network,
        "tasks": tasks,
        "batch": batch,
        "rounds": rounds,
        "steps_per_round": steps,
        "plain_step_cpu_ms": round(1000 * watch.median("plain") / steps, 2),
        "plain_first_step_cpu_seconds": first["plain"],
        "variants": rows,
    }


def measure_auto(network, tasks, batch, rounds):
    """What `every="auto"` chooses, and what it then costs: one probe in `every` steps."""
    models, fit, _ = compiled(network, tasks, batch, ("plain", "gradient"))
    plain, tag = models["plain"], models["gradient"]
    tag.every = "auto"
    while tag.every == "auto":
        fit(tag, 8)
    # A whole number of probes; many steps, because the start of a `fit` costs some milliseconds.
    steps = tag.every * -(-100 // tag.every)
    watch = Stopwatch()
    for _ in range(rounds):
        watch.take("plain", lambda: fit(plain, steps))
        watch.take("auto", lambda: fit(tag, steps))
    cpu, wall = watch.ratios("auto", "plain")
    return {"overhead": OVERHEAD, "every": tag.every, "cpu": cpu, "wall": wall}


def signal(tag):
    """Squared signal over noise of the affinities between different tasks, per probe.

    None where there were too few probes of a pair for a standard error.
    """
    import numpy as np

    affinity = tag.affinity()
    between = ~np.eye(len(affinity.tasks), dtype=bool)
    noise = np.mean(affinity.standard_error[between] ** 2)
    if not np.isfinite(noise):
        return None
    # What was measured is the signal and noise.
    found = np.mean(affinity.mean[between] ** 2) - noise
    return round(float(found / noise / tag.probes), 4)


def load(out=OUT):
    """The configurations in the result file."""
    return json.loads(Path(out).read_text("utf-8"))["configurations"] if Path(out).exists() else []


def in_a_process(script, *arguments, **environment):
    """What a script's `--child` measures in a process of its own, and prints last as JSON."""
    done = subprocess.run(
        [sys.executable, script, "--child", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(options):
    """Every configuration that was asked for and is not there; the file grows with each."""
    import keras
    import tensorflow as tf

    for *where, variants in CONFIGURATIONS:
        asked = (options.networks, options.tasks, options.batches)
        if not all(a is None or value in a for value, a in zip(where, asked, strict=True)):
            continue
        known = {(c["network"], c["tasks"], c["batch"]): c for c in load(options.out)}
        found = known.get(tuple(where))
        if found and not options.again and not options.auto:
            continue
        if not options.auto or not found:
            found = in_a_process(__file__, *where, options.rounds, "; ".join(variants))
        # With many tasks the stretches are hundreds of steps long.
        found["auto"] = None
        if where[1] <= 9:
            found["auto"] = in_a_process(__file__, *where, options.rounds, "auto")
        print(json.dumps(found), flush=True)
        known[tuple(where)] = found
        result = {
            "what": "time of a probed step over that of a plain Keras step: median and quartiles "
            "over interleaved rounds, of CPU time and of wall time",
            "machine": "2 cores, CPU only; other jobs beside it, mostly at the lowest priority",
            "python": platform.python_version(),
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "configurations": [
                known[key]
                for key in sorted(known, key=lambda key: (NETWORKS.index(key[0]), *key[1:]))
            ],
        }
        Path(options.out).write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def main():
    """Measure, print the tables or draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS)
    parser.add_argument("--tasks", nargs="+", type=int)
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--again", action="store_true", help="also what is in the file")
    parser.add_argument("--auto", action="store_true", help='of what is in the file, "auto" again')
    parser.add_argument("--out", default=str(OUT))
    options = parser.parse_args()
    if options.child:
        network, *numbers, variants = options.child
        where = (network, *map(int, numbers))
        if variants == "auto":
            found = measure_auto(*where)
        else:
            found = measure_steps(*where, variants.split("; "))
        print(json.dumps(found))
    else:
        measure(options)


if __name__ == "__main__":
    main()
