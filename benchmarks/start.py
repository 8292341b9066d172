"""How long training takes to start: plain Keras beside `TAGModel`, in interleaved fresh processes.

    python -m benchmarks.start                # every case that start.json does not have yet
    python -m benchmarks.start --rounds 3     # until every case was run so often
    python -m benchmarks.start mlp-9          # only these cases
    python -m benchmarks.start --table        # the table of docs/cost.md

A child process builds a model and fits it for three steps. It says the CPU and wall seconds of
`fit`, when the first probed and the first plain step had ended, and by how much the peak of
resident memory grew. What a process costs before `fit` (imports, building the model) is not
counted. With `every=2` the first step is plain, and the other two are probed.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULT = Path(__file__).with_suffix(".json")
# Network and tasks, the cheapest first.
CASES = [("mlp", 4), ("cnn", 4), ("lstm", 3), ("mlp", 9), ("distilbert", 4), ("unet", 3)]
CASES += [("mlp", 40), ("resnet50v2", 5), ("efficientnet", 4), ("mlp", 100)]
KINDS = ("plain", "tag")
STEPS, BATCH = 3, 16


def trunk(network: str) -> tuple[Any, list[Any], Any]:
    """The input, what the heads stand on (in turn), and a batch."""
    import keras
    import numpy as np

    rng, layers = np.random.default_rng(0), keras.layers
    if network == "distilbert":
        import keras_hub

        backbone = keras_hub.models.DistilBertBackbone(1000, 2, 2, 64, 128, max_sequence_length=32)
        tokens = rng.integers(1, 1000, (STEPS * BATCH, 32)).astype("int32")
        batch = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
        return backbone.input, [backbone.output[:, 0, :]], batch
    if network == "mlp":
        inputs = keras.Input((32,))
        features = [layers.Dense(64, "relu")(layers.Dense(64, "relu")(inputs))]
    elif network == "cnn":
        inputs = h = keras.Input((32, 32, 3))
        for filters in (16, 32, 64):
            h = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(h)
            h = layers.Activation("relu")(layers.BatchNormalization()(h))
        features = [layers.GlobalAveragePooling2D()(h)]
    elif network == "lstm":
        # Heads at three depths.
        inputs = h = keras.Input((16, 8))
        features = []
        for _ in range(3):
            h = layers.LSTM(32, return_sequences=True)(h)
            features.append(layers.GlobalAveragePooling1D()(h))
    elif network == "unet":
        inputs = h = keras.Input((64, 64, 3))
        skips = []
        for filters in (16, 32, 64):
            h = layers.Conv2D(filters, 3, padding="same", activation="relu")(h)
            skips.append(layers.BatchNormalization()(h))
            h = layers.MaxPooling2D()(skips[-1])
        h = layers.Conv2D(128, 3, padding="same", activation="relu")(h)
        for filters, skip in zip((64, 32, 16), reversed(skips), strict=True):
            h = layers.Conv2DTranspose(filters, 2, strides=2)(h)
            h = layers.Concatenate()([h, skip])
            h = layers.Conv2D(filters, 3, padding="same", activation="relu")(h)
        features = [h]
    else:
        made = {"efficientnet": "EfficientNetB0", "resnet50v2": "ResNet50V2"}[network]
        inputs = keras.Input((64, 64, 3))
        features = [getattr(keras.applications, made)(False, None, inputs, pooling="avg").output]
    return inputs, features, rng.normal(size=(STEPS * BATCH, *inputs.shape[1:])).astype("float32")


def child(network: str, tasks: int, kind: str) -> dict[str, Any]:
    """Fit one model for three steps."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    inputs, features, x = trunk(network)
    names = [f"task_{i}" for i in range(tasks)]
    heads = {
        name: keras.layers.Dense(1, "sigmoid", name=name)(features[i % len(features)])
        for i, name in enumerate(names)
    }
    model = keras.Model(inputs, heads)
    if kind == "tag":
        from keras_tag import TAGModel

        model = TAGModel(model, every=2)
    model.compile("adam", loss=dict.fromkeys(names, "binary_crossentropy"), jit_compile=False)
    y = {n: np.zeros((STEPS * BATCH, *h.shape[1:]), "float32") for n, h in heads.items()}
    ended = {}
    before = resource.getrusage(resource.RUSAGE_SELF)
    begun = time.perf_counter()

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            probed = bool(getattr(self.model, "last_step_probed", False))
            ended.setdefault("probed" if probed else "plain", time.perf_counter() - begun)

    model.fit(x, y, batch_size=BATCH, verbose=0, shuffle=False, callbacks=[Watch()])
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "wall_seconds": wall,
        "first_plain_step_ended": ended.get("plain"),
        "first_probed_step_ended": ended.get("probed"),
        "peak_mb": (after.ru_maxrss - before.ru_maxrss) / 1024,
    }


def machine() -> dict[str, Any]:
    """What the figures are of."""
    found = {package: version(package) for package in ("keras", "tensorflow", "numpy")}
    return {"cores": os.cpu_count(), "python": platform.python_version(), **found}


def ratios(rows: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """TAGModel's medians over plain Keras's."""
    return {
        what: round(
            statistics.median(row[what] for row in rows["tag"])
            / statistics.median(row[what] for row in rows["plain"]),
            2,
        )
        for what in ("cpu_seconds", "wall_seconds", "first_plain_step_ended", "peak_mb")
    }


def table(result: dict[str, Any]) -> str:
    """The table of docs/cost.md, of the cases that were measured."""
    rows = [
        "| network | n | plain, CPU s | `TAGModel`, CPU s | ratio | first plain step, wall | "
        "peak memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for network, tasks in CASES:
        case = result["cases"].get(f"{network}-{tasks}", {})
        if "ratio" not in case:
            continue
        ratio = case["ratio"]
        cpu = [statistics.median(r["cpu_seconds"] for r in case["runs"][kind]) for kind in KINDS]
        rows.append(
            f"| {network} | {tasks} | {cpu[0]:.1f} | {cpu[1]:.1f} | {ratio['cpu_seconds']} | "
            f"{ratio.get('first_plain_step_ended', '')} | {ratio['peak_mb']} |"
        )
    return "\n".join(rows)


def main(cases: list[str], rounds: int) -> None:
    """Run what is missing, and write the result file after every process."""
    result = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {"cases": {}}
    result["machine"] = machine()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    for number in range(rounds):
        for network, tasks in CASES:
            case = f"{network}-{tasks}"
            if cases and case not in cases:
                continue
            rows = result["cases"].setdefault(case, {}).setdefault("runs", {k: [] for k in KINDS})
            for kind in KINDS:
                if len(rows[kind]) > number:
                    continue
                command = [sys.executable, __file__, "--child", network, str(tasks), kind]
                done = subprocess.run(
                    command, env=environment, check=True, text=True, stdout=subprocess.PIPE
                )
                rows[kind].append(json.loads(done.stdout.splitlines()[-1]))
                if all(rows.values()):
                    result["cases"][case]["ratio"] = ratios(rows)
                RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
            print(case, result["cases"][case].get("ratio"), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help="such as mlp-9; all if none are given")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print the table of docs/cost.md")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        network, tasks, kind = arguments.child
        print(json.dumps(child(network, int(tasks), kind)))
    elif arguments.table:
        print(table(json.loads(RESULT.read_text("utf-8"))))
    else:
        main(arguments.cases, arguments.rounds)
