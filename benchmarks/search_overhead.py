"""The time that a search adds to its trainings: `GroupSearch` beside the same trainings, bare.

`python -m benchmarks.search_overhead` searches on overlaid digits with a small convolutional model,
then trains the same groups by hand, the joint one as a `TAGModel` with the same probes, the others
as plain Keras models, with the same data, epochs and callbacks. CPU seconds of the whole process
are compared, in turns; the result is written to `benchmarks/search_overhead.json`.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

import keras
import tensorflow as tf

import keras_tag
from benchmarks.grouping_quality.group_table import environment
from keras_tag.datasets.digits import compose_digits, task_names

FILE = Path(__file__).with_suffix(".json")
BATCH = 64


def compiled(tasks: tuple[str, ...]) -> keras.Model:
    """Return the model, with the same first weights every time."""
    keras.utils.set_random_seed(0)
    inputs = h = keras.Input((8, 18, 1))
    for filters in (32, 64):
        h = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(h)
    h = keras.layers.Dense(64, "relu")(keras.layers.Flatten()(keras.layers.MaxPooling2D()(h)))
    heads = {task: keras.layers.Dense(1, "sigmoid", name=task)(h) for task in tasks}
    model = keras.Model(inputs, heads)
    model.compile("adam", loss=dict.fromkeys(tasks, "binary_crossentropy"))
    return model


def callbacks() -> list[keras.callbacks.Callback]:
    """Return what every training is given."""
    return [keras.callbacks.EarlyStopping(patience=100)]


def main() -> None:
    """Measure in turns and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="how often both are measured")
    parser.add_argument("--epochs", type=int, default=12, help="of every training")
    options = parser.parse_args()
    tasks = task_names(3, ("loop", "prime", "composite"))
    digits = compose_digits(3, ("loop", "prime", "composite"), 0, train_size=3000)
    x, y = digits["train"].images[..., None], digits["train"].labels
    valid = digits["validation"].images[..., None], digits["validation"].labels

    def search() -> list[tuple[str, ...]]:
        with tempfile.TemporaryDirectory() as folder:
            one = keras_tag.GroupSearch(compiled(tasks), 2, trainings=2, directory=folder)
            fit = {"batch_size": BATCH, "epochs": options.epochs, "validation_data": valid}
            one.search(x, y, **fit, callbacks=callbacks(), verbose=0)
            one.best_model()
            return [outcome.group for outcome in one.results.done]

    def bare(groups: list[tuple[str, ...]]) -> None:
        model = compiled(tasks)
        build = keras_tag.build_from(model, start="initial", verbose=False)
        for group in groups:
            network = build(group)
            if len(group) == len(tasks):
                probes = tf.data.Dataset.from_tensor_slices(valid).batch(BATCH).repeat()
                network = keras_tag.TAGModel(network, probe_data=probes)
            network.compile("adam", loss=dict.fromkeys(group, "binary_crossentropy"))
            own = {task: y[task] for task in group}
            own_valid = valid[0], {task: valid[1][task] for task in group}
            fit = {"batch_size": BATCH, "epochs": options.epochs, "validation_data": own_valid}
            network.fit(x, own, **fit, callbacks=callbacks(), verbose=0)

    groups = search()  # What is loaded or made once in a process is made here.
    seconds: dict[str, list[float]] = {"search": [], "bare": []}
    for _ in range(options.turns):
        for name, run in (("search", search), ("bare", lambda: bare(groups))):
            keras.backend.clear_session()
            begun = time.process_time()
            run()
            seconds[name].append(round(time.process_time() - begun, 2))
            print(name, seconds[name][-1], flush=True)
    share = median(seconds["search"]) / median(seconds["bare"]) - 1
    result = {
        "cpu_seconds": seconds,
        "added": round(share, 4),
        "added_seconds_per_training": round(
            (median(seconds["search"]) - median(seconds["bare"])) / len(groups), 2
        ),
        "epochs": options.epochs,
        "trainings": len(groups),
        **environment("keras", "tensorflow"),
    }
    FILE.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(f"The search adds {share:.1%} to the time of its trainings.")


if __name__ == "__main__":
    main()
