"""What the length of a task's step does to affinities: its rate with Adam, and loss weights.

    python -m benchmarks.step_length            # writes benchmarks/step_length.json
    python -m benchmarks.step_length --table    # the tables of docs/how_it_works.md

1. "rates": the diagonal of the affinities of one batch after some steps of Adam(0.001), with three
   kinds of step: a gradient step at the learning rate, one at the rate eta at which it changes the
   joint loss as much as Adam's step does, and Adam's own step for the task alone.
2. "weights": the affinities of one batch with SGD(0.01), at the same weights of the network, when
   the loss weights are 1, when one of them is 30, and when all are.

The inputs are random, and the labels can be learnt from them.
"""

import argparse
import json
from pathlib import Path
from typing import Any

RESULT = Path(__file__).with_suffix(".json")
TASKS, BATCH, RATE = tuple("abcd"), 32, 0.001
# Network, training steps, what the table calls it.
RATES = [
    ("mlp", 20, "two dense layers of 64, step 20"),
    ("mlp", 320, "the same, step 320"),
    ("cnn", 40, "three convolutions with BatchNorm, 32 x 32, step 40"),
    ("MobileNetV3Small", 40, "MobileNetV3Small, 64 x 64, step 40"),
]
# Name in the table -> loss weights.
WEIGHTS = {
    "all: 1": (1.0, 1.0, 1.0, 1.0),
    "d: 30, others: 1": (1.0, 1.0, 1.0, 30.0),
    "all: 30": (30.0, 30.0, 30.0, 30.0),
}


def model_and_data(network: str, size: int) -> tuple[Any, Any, dict[str, Any]]:
    """Return a model of four tasks, inputs and labels."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    rng, layers = np.random.default_rng(0), keras.layers
    if network == "mlp":
        inputs = keras.Input((32,))
        features = layers.Dense(64, "relu")(layers.Dense(64, "relu")(inputs))
    elif network == "cnn":
        inputs = h = keras.Input((32, 32, 3))
        for filters in (16, 32, 64):
            h = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(h)
            h = layers.Activation("relu")(layers.BatchNormalization()(h))
        features = layers.GlobalAveragePooling2D()(h)
    else:
        inputs = keras.Input((64, 64, 3))
        made = getattr(keras.applications, network)
        features = made(include_top=False, weights=None, input_tensor=inputs, pooling="avg").output
    model = keras.Model(inputs, {task: layers.Dense(1, name=task)(features) for task in TASKS})
    x = rng.normal(size=(size, *inputs.shape[1:])).astype("float32")
    # Of an image the mean over a quarter of it and over its colours, of a vector a part of it.
    parts = x.reshape(size, len(TASKS), -1)
    y = {}
    for index, task in enumerate(TASKS):
        mean = parts[:, index].mean(1) + parts[:, index - 1].mean(1)
        y[task] = (mean / mean.std())[:, None]
    return model, x, y


def rates(network: str, steps: int) -> dict[str, Any]:
    """Return eta, and the least and the largest diagonal entry under each kind of step."""
    import keras
    import numpy as np

    from keras_tag import TAGModel

    model, x, y = model_and_data(network, (steps + 1) * BATCH)
    kinds = {
        "learning_rate": TAGModel(model, lookahead_rate=RATE),
        "eta": TAGModel(model),
        "own": TAGModel(model, lookahead="optimizer"),
    }
    for tag in kinds.values():
        tag.compile(keras.optimizers.Adam(RATE), loss="mse")
        tag.optimizer.build(tag.trainable_variables)
    trained = kinds["eta"]
    trained.pause_probing()
    before = steps * BATCH
    trained.fit(
        x[:before],
        {task: labels[:before] for task, labels in y.items()},
        batch_size=BATCH,
        shuffle=False,
        verbose=0,
    )
    batch = x[before:], {task: labels[before:] for task, labels in y.items()}
    found: dict[str, Any] = {"rate": trained.check(*batch).probe.rate}
    for name, tag in kinds.items():
        # They wrap one model; the optimizer's slots are those of the training.
        for variable, value in zip(
            tag.optimizer.variables, trained.optimizer.variables, strict=True
        ):
            variable.assign(value)
        own = np.diagonal(tag.measure_affinity(*batch))
        found[name] = [float(own.min()), float(own.max())]
    return found


def weights() -> dict[str, list[list[float]]]:
    """Return the affinities under each choice of loss weights, at the same weights of a network."""
    import keras

    from keras_tag import TAGModel

    model, x, y = model_and_data("mlp", 256)
    model.compile(keras.optimizers.SGD(0.01), loss=dict.fromkeys(TASKS, "mse"))
    model.fit(x, y, batch_size=BATCH, epochs=5, verbose=0)
    found = {}
    for name, loss_weights in WEIGHTS.items():
        tag = TAGModel(model)
        tag.compile(
            keras.optimizers.SGD(0.01),
            loss=dict.fromkeys(TASKS, "mse"),
            loss_weights=dict(zip(TASKS, loss_weights, strict=True)),
        )
        found[name] = tag.measure_affinity(x, y).tolist()
    return found


def tables(result: dict[str, Any]) -> list[str]:
    """Return the tables of the page."""
    first = [
        "| network, training step | η | at the learning rate | at η | Adam's own step |",
        "| --- | ---: | --- | --- | --- |",
    ]
    for network, steps, name in RATES:
        row = result["rates"][f"{network}-{steps}"]
        cells = [f"{row[k][0]:.3f} to {row[k][1]:.3f}" for k in ("learning_rate", "eta", "own")]
        first.append(f"| {name} | {row['rate']:.4f} | {' | '.join(cells)} |")
    second = [
        "| loss weights | Z[d, d] | Z[d, a] | Z[d, a] / Z[a, a] | Z[a, d] / Z[d, d] |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, z in result["weights"].items():
        shares = f"{z[3][0] / z[0][0]:.2f} | {z[0][3] / z[3][3]:.2f}"
        second.append(f"| {name} | {z[3][3]:.4f} | {z[3][0]:.4f} | {shares} |")
    return ["\n".join(first), "\n".join(second)]


def main() -> None:
    """Measure, and write the result file."""
    from benchmarks.joint_run import environment

    result = {
        "environment": environment(),
        "rates": {f"{network}-{steps}": rates(network, steps) for network, steps, _ in RATES},
        "weights": weights(),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="print the tables of the page")
    if not parser.parse_args().table:
        main()
    print("\n\n".join(tables(json.loads(RESULT.read_text("utf-8")))))
