"""The paper's CelebA experiment: measure affinity, choose groups, train them, total test error.

    python benchmarks/celeba.py                       # the paper's settings: for a GPU
    python benchmarks/celeba.py --image-size 32 --filters 16 --epochs 10  # smaller
    python benchmarks/celeba.py --table               # only print the table of what is done

CelebA must have been prepared; if it is not, the error says how (and `docs/celeba.md`). Everything
is kept in `--out`: stop the run whenever you like, and start it again with the same options to go
on from the last epoch. A group that several budgets ask for is trained once.

The defaults are those of the paper's notebook (google-research/google-research,
tag/celeba/CelebA.ipynb): 64 x 64 pixels, a convolution and one residual block of 64 filters, SGD
with rate 0.0005 and momentum 0.9, batches of 256, the rate halved every 15 epochs, at most 100
epochs, early stopping after 10 epochs without a lower validation loss, with the best weights. The
affinity is that of the epochs up to the best one, too. Different here: a task has one logit and not
two; affinity is a mean that is not divided by the learning rate; and the look-ahead is the paper's
equation 1. The notebook's own look-ahead, which has momentum, is `--lookahead optimizer`.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

import keras_tag
from keras_tag.atomic_files import write_atomically
from keras_tag.datasets import NINE_ATTRIBUTES, CelebA, celeb_a, published
from keras_tag.selection import Grouping


def main(arguments: Iterable[str] | None = None) -> pd.DataFrame:
    """Do what is not done yet, then print the table."""
    options = parse(arguments)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    claim(out, options)
    if not options.table:
        data = celeb_a(
            options.tasks,
            options.image_size,
            options.batch_size,
            options.data_dir,
            cache={"memory": True, "none": False}.get(options.cache, options.cache),
            seed=options.seed,
        )
        print(data, flush=True)
        affinity = measure(out, data, options)
        groupings = choose(out, affinity, options)
        singles = [(task,) for task in options.tasks] if options.single else []
        wanted = [group for grouping in groupings.values() for group in grouping.groups]
        for group in dict.fromkeys((*wanted, *singles)):
            train_group(out, data, group, options)
    table = total_errors(out, options)
    print(f"\n{table.to_string(float_format='{:.3f}'.format)}")
    return table


def parse(arguments: Iterable[str] | None) -> argparse.Namespace:
    """The options; `--help` says what they are."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--out", default=str(Path(__file__).with_suffix("")), help="folder of the run")
    add("--table", action="store_true", help="only print the table of what is done")
    add("--data-dir", help="where TensorFlow Datasets keeps its data")
    add("--tasks", nargs="+", default=list(NINE_ATTRIBUTES), help="attributes")
    add("--image-size", type=int, default=64)
    add("--batch-size", type=int, default=256)
    add("--cache", default="memory", help="'memory', 'none', or a folder for decoded images")
    add("--filters", type=int, default=64, help="of the trunk's convolutions")
    add("--learning-rate", type=float, default=0.0005)
    add("--momentum", type=float, default=0.9)
    add("--halve-every", type=int, default=15, help="epochs")
    add("--epochs", type=int, default=100, help="at most")
    add("--patience", type=int, default=10, help="epochs without a lower validation loss")
    add("--every", type=int, default=10, help="steps between probes")
    add("--lookahead", default="gradient", help="see keras_tag.TAGModel")
    add("--score", default="partners", choices=["partners", "members"], help="of a group")
    add("--budgets", nargs="+", type=int, default=[2, 3, 4], help="numbers of networks")
    add("--single", action="store_true", help="train single-task networks, too")
    add("--published", action="store_true", help="choose by the published affinity, too")
    add("--seed", type=int, default=0)
    return parser.parse_args(None if arguments is None else list(arguments))


# What may differ between two starts of the same run: none of it changes a number that is there.
FREE = ("out", "table", "data_dir", "cache", "single", "published", "budgets")


def claim(out: Path, options: argparse.Namespace) -> None:
    """Make the folder that of these options, or refuse one that is another's."""
    settings = {name: value for name, value in vars(options).items() if name not in FREE}
    file = out / "settings.json"
    if not file.exists():
        save(file, settings)
    found = load(file)
    differing = {n: (found.get(n), v) for n, v in settings.items() if found.get(n) != v}
    if differing and not options.table:
        raise SystemExit(
            f"{out} holds a run with other options (there, now): {differing}. Choose another --out."
        )
    if options.table:
        vars(options).update(found)


def build_network(tasks: Iterable[str], image_shape: tuple[int, ...], filters: int, seed: int):
    """The paper's network: a convolution, a residual block, one linear output per task."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers

    def convolution(x):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    image = keras.Input(image_shape)
    x = layers.ReLU()(convolution(image))
    x = layers.MaxPooling2D(3, strides=2)(x)
    past = x
    x = convolution(layers.ReLU()(convolution(x)))
    x = layers.ReLU()(layers.Add()([x, past]))
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    return keras.Model(image, {t: layers.Dense(1, "sigmoid", name=t)(x) for t in tasks})


def compile_network(model: keras.Model, tasks: Iterable[str], options: argparse.Namespace) -> None:
    """SGD with momentum, binary cross-entropy, and the accuracy that the error is made from."""
    model.compile(
        keras.optimizers.SGD(options.learning_rate, options.momentum),
        loss=dict.fromkeys(tasks, "binary_crossentropy"),
        metrics={task: ["binary_accuracy"] for task in tasks},
    )


class ResumableEarlyStopping(keras.callbacks.EarlyStopping):
    """Early stopping that survives an interruption: what it knows is in two files."""

    def __init__(self, folder: Path, patience: int):
        super().__init__("val_loss", mode="min", patience=patience, restore_best_weights=True)
        self.state, self.weights = folder / "stopping.json", folder / "best.npz"
        self.seen = -1

    def on_train_begin(self, logs=None):
        """Take up what was known."""
        super().on_train_begin(logs)
        if self.state.exists():
            known = load(self.state)
            self.seen, self.wait, self.best_epoch = (
                known[k] for k in ("seen", "wait", "best_epoch")
            )
            self.best, self.stopped_epoch = known["best"], known["stopped_epoch"]
            with np.load(self.weights) as arrays:
                self.best_weights = [arrays[str(k)] for k in range(len(arrays))]

    def on_epoch_end(self, epoch, logs=None):
        """Judge an epoch, once: it may come again if the run ended before its weights were kept."""
        if epoch > self.seen:
            super().on_epoch_end(epoch, logs)
            self.seen = epoch
            if self.best_epoch == epoch:
                named = {str(k): w for k, w in enumerate(self.best_weights)}
                write_atomically(self.weights, lambda file: np.savez(file, **named))
            names = ("seen", "wait", "best_epoch", "best", "stopped_epoch")
            save(self.state, {name: float(getattr(self, name)) for name in names})
        elif self.stopped_epoch:
            self.model.stop_training = True


def callbacks(folder: Path, options: argparse.Namespace, extra=()) -> list:
    """Schedule, early stopping, and a copy of everything after every epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        # As in the notebook: halved at the start of the last of every 15 epochs.
        keras.callbacks.LearningRateScheduler(
            lambda epoch: options.learning_rate * 0.5 ** ((epoch + 1) // options.halve_every)
        ),
        ResumableEarlyStopping(folder, options.patience),
        *extra,
        keras.callbacks.BackupAndRestore(folder / "backup", double_checkpoint=True),
    ]


class KeepAffinity(keras.callbacks.Callback):
    """Keeps the affinity of the epochs up to the best one."""

    def __init__(self, file: Path, stopping: Path):
        super().__init__()
        self.file, self.stopping = file, stopping

    def on_epoch_end(self, epoch, logs=None):
        """Keep it if this epoch is the best so far."""
        if load(self.stopping)["best_epoch"] == epoch:
            self.model.affinity().save(self.file)


def measure(out: Path, data: CelebA, options: argparse.Namespace) -> keras_tag.Affinity:
    """Train one network for all tasks as a `TAGModel`; it is the rival "all in one", too."""
    folder = out / "joint"
    result, file = folder / "test.json", folder / "affinity.npz"
    if not result.exists():
        tag = keras_tag.TAGModel(
            build_network(data.tasks, data.image_shape, options.filters, options.seed),
            every=options.every,
            lookahead=options.lookahead,
        )
        compile_network(tag, data.tasks, options)
        keep = KeepAffinity(file, folder / "stopping.json")
        start = time.perf_counter()
        history = tag.fit(
            data.train,
            validation_data=data.validation,
            epochs=options.epochs,
            callbacks=callbacks(folder, options, [keep]),
            shuffle=False,  # The data set shuffles.
            verbose=2,
        )
        seconds = time.perf_counter() - start
        keep_test(result, tag, data, data.tasks, seconds, len(history.epoch))
    return keras_tag.Affinity.load(file)


def choose(
    out: Path, affinity: keras_tag.Affinity, options: argparse.Namespace
) -> dict[str, Grouping]:
    """The best groups for every budget."""
    sources = {"TAG": affinity}
    if options.published:
        sources["published affinity"] = published("celeba_tag").affinity.subset(affinity.tasks)
    groupings = {}
    for name, source in sources.items():
        for budget in options.budgets:
            grouping = keras_tag.select_groups(source, budget, score=options.score)
            grouping.save(out / f"groups_{name.split()[0].lower()}_{budget}.json")
            groupings[f"{name}, {budget}"] = grouping
            print(f"\n{name}, budget {budget}\n{grouping}", flush=True)
    return groupings


def folder_of(out: Path, group: Iterable[str]) -> Path:
    """Where a group's network is kept."""
    return out / "networks" / "+".join(sorted(group))


def train_group(
    out: Path, data: CelebA, group: tuple[str, ...], options: argparse.Namespace
) -> None:
    """Train the network of one group, unless that is done."""
    folder = folder_of(out, group)
    result = folder / "test.json"
    if result.exists():
        return
    model = keras_tag.GroupedModel(
        Grouping.from_groups([group]),
        lambda tasks: build_network(tasks, data.image_shape, options.filters, options.seed),
    )
    compile_network(model, group, options)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    (history,) = model.fit_groups(
        folder,
        data.train,
        validation_data=data.validation,
        epochs=options.epochs,
        callbacks=callbacks(folder, options),
        shuffle=False,
        verbose=2,
    )
    keep_test(result, model, data, group, time.perf_counter() - start, len(history["loss"]))


def keep_test(
    file: Path, model: keras.Model, data: CelebA, tasks: Iterable[str], seconds: float, epochs: int
) -> None:
    """Test a network and write down what came out: that says that it is done."""
    logs = model.evaluate(data.test, verbose=0, return_dict=True)
    # Keras puts no task before the metric of a model's only output.
    right = {t: float(logs.get(f"{t}_binary_accuracy", logs.get("binary_accuracy"))) for t in tasks}
    save(
        file,
        {
            "error": {task: 100 * (1 - share) for task, share in right.items()},
            "loss": {t: float(logs[f"{t}_loss"]) for t in tasks},
            "seconds_since_last_start": round(seconds, 1),
            "epochs_since_last_start": epochs,
            "cores": os.cpu_count(),
            "accelerators": len(tf.config.list_physical_devices("GPU")),
            "versions": {
                "python": platform.python_version(),
                "keras_tag": keras_tag.__version__,
                "keras": keras.__version__,
                "tensorflow": tf.__version__,
            },
        },
    )


def total_errors(out: Path, options: argparse.Namespace) -> pd.DataFrame:
    """Per method: networks, and the sum over the tasks of test error (percent) and test loss."""
    rows = {}
    joint = out / "joint" / "test.json"
    if joint.exists():
        rows["all in one"] = (1, [(load(joint), task) for task in options.tasks])
    for file in sorted(out.glob("groups_*.json")):
        _, name, budget = file.stem.split("_")
        grouping = Grouping.load(file)
        serving = {t: folder_of(out, grouping.groups[k]) for t, k in grouping.serves.items()}
        add_row(rows, f"{name}, {budget} networks", len(grouping.groups), serving)
    alone = {task: folder_of(out, (task,)) for task in options.tasks}
    add_row(rows, "single task", len(alone), alone)
    table = pd.DataFrame(
        [
            {
                "method": method,
                "networks": networks,
                "total error": sum(result["error"][task] for result, task in served),
                "total loss": sum(result["loss"][task] for result, task in served),
            }
            for method, (networks, served) in rows.items()
        ],
        columns=["method", "networks", "total error", "total loss"],
    ).set_index("method")
    save(out / "table.json", json.loads(table.to_json(orient="index")))
    return table


def add_row(rows: dict, method: str, networks: int, serving: dict[str, Path]) -> None:
    """A row, if all its networks are trained."""
    if all((folder / "test.json").exists() for folder in serving.values()):
        rows[method] = (networks, [(load(f / "test.json"), task) for task, f in serving.items()])


def load(file: Path) -> dict:
    """A JSON file."""
    return json.loads(file.read_text("utf-8"))


def save(file: Path, content: dict) -> None:
    """A JSON file, the old one or the new."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(file, lambda opened: opened.write(text.encode()))


if __name__ == "__main__":
    main()
