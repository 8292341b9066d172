"""Two tables with attention: a transformer encoder on characters, and on columns of pixels.

    python -m benchmarks.grouping_quality.attention --data FOLDER   # goes on with attention.json
    python -m benchmarks.grouping_quality.attention --table         # print the committed result

`sider-text`: the first 64 characters of a drug's SMILES string; the tasks are the five side effects
that most nearly half of the drugs have. FOLDER has `sider.npz` (`real_sets.py`).
`overlaid2-columns`: the 13 columns of two overlapping digits; five questions about them.

Characters or columns are embedded with 16 numbers each; one encoder block (two heads, a layer of
32, residual sums, LayerNormalization, dropout) and the mean over positions are the trunk. All 31
groups are trained with plain Keras `fit`: one compiled network serves all, with weight 0 for the
tasks that are not in a group, so that their heads and losses take no part.

The sets were used for nothing else: the searches believe the priors that were fitted without SIDER
and without digits.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.grouping_quality import left_out
from benchmarks.grouping_quality.affinity_table import AffinityTable
from benchmarks.grouping_quality.evaluate import BUDGETS, rounded
from benchmarks.grouping_quality.group_table import GroupTable, all_groups, environment
from benchmarks.grouping_quality.left_out_report import matters, reproducible_gain
from benchmarks.grouping_quality.real_sets import even_side_effects
from benchmarks.grouping_quality.replayed_search import Variant, choose, search
from benchmarks.grouping_quality.rule import served_losses
from benchmarks.grouping_quality.task_sets import Recipe, TaskSet, overlaid, split_examples
from benchmarks.grouping_quality.untrained import members, total_loss
from keras_tag.selection.few_trainings.gain_model import Prior

FILE = Path(__file__).with_suffix(".json")
TASKS, LENGTH, WIDTH, HEADS, HIDDEN, DROPOUT = 5, 64, 16, 2, 32, 0.1
ROWS, COLUMNS = 8, 13
_EVERY = 10


def side_effects_of_text(seed: int, folder: Path) -> TaskSet:
    """Five side effects; features are numbers of characters, 0 after the end.

    Args:
        seed: Of the split.
        folder: Where `sider.npz` is.
    """
    with np.load(folder / "sider.npz") as file:
        texts = file["smiles"].tolist()
        y, names = even_side_effects(file, TASKS)
    number = {sign: k + 1 for k, sign in enumerate(sorted(set("".join(texts))))}
    x = np.zeros((len(texts), LENGTH), np.float32)
    for row, text in enumerate(texts):
        signs = [number[sign] for sign in text[:LENGTH]]
        x[row, : len(signs)] = signs
    return split_examples(x, y, np.ones(y.shape, bool), np.ones(len(names), bool), names, seed)


def questions_about_columns(seed: int, folder: Path) -> TaskSet:
    """Five of six questions about two digits: whether they are odd, prime, have a loop.

    Args:
        seed: Of the composition.
        folder: Not used.
    """
    data = overlaid(2, ("odd", "loop", "prime"))(seed)
    kept = slice(0, TASKS)
    splits = {
        name: replace(split, y=split.y[:, kept], weight=split.weight[:, kept])
        for name, split in data.splits.items()
    }
    return TaskSet(data.tasks[kept], data.binary[kept], splits)


@dataclass(frozen=True)
class Case:
    """A set, how every network is trained, and the family whose prior is believed.

    Args:
        load: (seed, folder) -> data.
        recipe: How to train.
        family: Left out when the prior was fitted.
    """

    load: Callable[[int, Path], TaskSet]
    recipe: Recipe
    family: str


CASES = {
    "sider-text": Case(side_effects_of_text, Recipe((WIDTH,), 0.003, 64, 25, 4, seeds=3), "sider"),
    "overlaid2-columns": Case(
        questions_about_columns, Recipe((WIDTH,), 0.005, 64, 40, 5, seeds=2), "digits"
    ),
}


def network(num_signs: int | None, tasks: Sequence[str]) -> Any:
    """The encoder with one head per task.

    Args:
        num_signs: How many characters there are, 0 included; None: columns of pixels.
        tasks: The names of the heads.
    """
    import keras

    class Positions(keras.layers.Layer):
        """Adds a learnt vector to every position."""

        def __init__(self) -> None:
            super().__init__()
            self.supports_masking = True

        def build(self, shape: Any) -> None:
            self.vectors = self.add_weight(
                shape=tuple(shape[1:]), initializer=keras.initializers.RandomNormal(stddev=0.05)
            )

        def call(self, x: Any) -> Any:
            return x + self.vectors

    if num_signs is None:
        inputs = keras.Input((ROWS * COLUMNS,))
        columns = keras.layers.Permute((2, 1))(keras.layers.Reshape((ROWS, COLUMNS))(inputs))
        x = keras.layers.Dense(WIDTH)(columns)
    else:
        inputs = keras.Input((LENGTH,))
        x = keras.layers.Embedding(num_signs, WIDTH, mask_zero=True)(inputs)
    x = Positions()(x)
    attended = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS, dropout=DROPOUT)(x, x)
    x = keras.layers.LayerNormalization()(keras.layers.Add()([x, attended]))
    hidden = keras.layers.Dense(HIDDEN, "relu")(x)
    hidden = keras.layers.Dropout(DROPOUT)(keras.layers.Dense(WIDTH)(hidden))
    x = keras.layers.LayerNormalization()(keras.layers.Add()([x, hidden]))
    pooled = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(
        inputs, {task: keras.layers.Dense(1, "sigmoid", name=task)(pooled) for task in tasks}
    )


class Trainer:
    """One compiled network, trained for every group.

    Args:
        num_signs: As in `network`.
        tasks: Of all heads.
        recipe: How to train.
    """

    def __init__(self, num_signs: int | None, tasks: tuple[str, ...], recipe: Recipe) -> None:
        import keras

        from benchmarks.grouping_quality.keras_networks import layer_name

        self.num_signs, self.names = num_signs, [layer_name(task) for task in tasks]
        self.recipe = recipe
        self.model = network(num_signs, self.names)
        optimizer = keras.optimizers.Adam(recipe.learning_rate)
        self.model.compile(
            optimizer,
            loss=dict.fromkeys(self.names, "binary_crossentropy"),
            weighted_metrics=[],
        )
        optimizer.build(self.model.trainable_variables)
        # The states of dropout and of Adam, too.
        self._variables = (*self.model.variables, *optimizer.variables)
        self._begin = [keras.ops.convert_to_numpy(variable) for variable in self._variables]

    def set_weights(self, model: Any, seed: int) -> None:
        """Give a network the first weights of a seed.

        Args:
            model: A `network`.
            seed: The seed.
        """
        import keras

        keras.utils.set_random_seed(seed)
        model.set_weights(network(self.num_signs, self.names).get_weights())

    def train(
        self, data: TaskSet, group: np.ndarray, first: Sequence[np.ndarray], seed: int
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Train one network.

        Args:
            data: Of the seed.
            group: `[num_tasks]` bool.
            first: Its first weights.
            seed: Of the batches.

        Returns:
            Validation and test losses `[num_tasks]`, NaN outside the group, and how many epochs.
        """
        import keras
        import tensorflow as tf

        from benchmarks.grouping_quality.measure_affinities import keras_split, shuffled_batches

        for variable, value in zip(self._variables, self._begin, strict=True):
            variable.assign(value)
        self.model.set_weights(first)
        splits = {
            name: replace(split, weight=np.broadcast_to(np.float32(group), split.y.shape))
            for name, split in data.splits.items()
        }
        own = replace(data, splits=splits)
        stop = keras.callbacks.EarlyStopping(
            monitor="val_loss", patience=self.recipe.patience, restore_best_weights=True
        )
        history = self.model.fit(
            shuffled_batches(own, self.recipe, seed),
            steps_per_epoch=-(-len(splits["train"].x) // self.recipe.batch_size),
            validation_data=tf.data.Dataset.from_tensors(keras_split(own, splits["validation"])),
            epochs=self.recipe.epochs,
            callbacks=[stop],
            verbose=0,
        ).history
        found = []
        for name in ("validation", "test"):
            x, y = splits[name].x, splits[name].y
            said = self.model.predict_on_batch(x)
            p = np.clip(np.concatenate([said[n] for n in self.names], 1), 1e-7, 1 - 1e-7)
            loss = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(0)
            found.append(np.where(group, loss, np.nan))
        return found[0], found[1], len(history["loss"])


def measure(name: str, folder: Path) -> None:
    """Train every group of every seed, measure affinities, write `attention.json`.

    Args:
        name: One of `CASES`.
        folder: Where `sider.npz` is.
    """
    from benchmarks.grouping_quality.measure_affinities import JointRun

    case = CASES[name]
    file = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {"cases": {}}
    file |= environment("keras", "tensorflow")
    results = file["cases"].setdefault(name, {"seeds": {}})
    data = {seed: case.load(seed, folder) for seed in range(case.recipe.seeds)}
    tasks = data[0].tasks
    results["tasks"] = list(tasks)
    num_signs = None
    if name == "sider-text":
        num_signs = int(max(split.x.max() for split in data[0].splits.values())) + 1
    trainer = Trainer(num_signs, tasks, case.recipe)
    joint = None
    for seed, own in data.items():
        entry = results["seeds"].setdefault(str(seed), {"groups": {}, "cpu_seconds": 0.0})
        trainer.set_weights(trainer.model, seed)
        first = trainer.model.get_weights()
        for row, group in enumerate(all_groups(len(tasks))):
            if str(row) in entry["groups"]:
                continue
            begun = time.process_time()
            validation, test, epochs = trainer.train(own, group, first, seed)
            entry["groups"][str(row)] = {
                "validation": validation[group].tolist(),
                "test": test[group].tolist(),
                "epochs": epochs,
            }
            entry["cpu_seconds"] += time.process_time() - begun
            FILE.write_text(json.dumps(rounded(file)) + "\n", "utf-8")
        print(f"{name}, seed {seed}: {entry['cpu_seconds']:.0f} s of CPU time", flush=True)
    for seed, own in data.items():
        entry = results["seeds"][str(seed)]
        if "affinity" in entry:
            continue
        joint = joint or JointRun(
            own,
            WIDTH,
            case.recipe,
            "validation",
            _EVERY,
            network(num_signs, trainer.names),
            trainer.set_weights,
        )
        entry["affinity"] = np.nanmean(joint.run(own, seed)["probes"], 0).tolist()
        FILE.write_text(json.dumps(rounded(file)) + "\n", "utf-8")


def table_of(results: dict[str, Any]) -> GroupTable:
    """All groups' losses.

    Args:
        results: Of a case.
    """
    groups = all_groups(len(results["tasks"]))
    shape = (len(results["seeds"]), *groups.shape)
    losses = {name: np.full(shape, np.nan) for name in ("validation", "test")}
    for k, entry in enumerate(results["seeds"].values()):
        for row, reached in entry["groups"].items():
            for name, values in losses.items():
                values[k, int(row), groups[int(row)]] = reached[name]
    nothing = np.empty(0)
    return GroupTable(
        tuple(results["tasks"]), groups, **losses, early=nothing, epochs=nothing, about={}
    )


def page_table(results: dict[str, Any], family: str) -> str:
    """Test losses of searches and references with standard errors over seeds, and the outlook.

    Where grouping matters a third number is the recovery.

    Args:
        results: Of a case.
        family: Whose prior is believed.
    """
    table = table_of(results)
    priors = json.loads(left_out.FILE.read_text("utf-8"))["priors"]
    prior = replace(Prior(), **priors[family])
    shares = [
        left_out.shares_of(np.array(entry["affinity"]), table.tasks)
        for entry in results["seeds"].values()
    ]
    reached = _reached(table, shares, prior)
    heads = " | ".join(f"b = {budget}" for budget in BUDGETS)
    lines = [f"| method | {heads} |", "| --- |" + " ---: |" * len(BUDGETS)]
    truth = {"random": reached["random"], "other seeds": reached["best of other seeds"]}
    random, optimum = (np.mean(reached[name], 1) for name in ("random", "exhaustive"))
    for name, rows in reached.items():
        losses = np.array(rows)
        errors = losses.std(1, ddof=1) / np.sqrt(losses.shape[1])
        shares_reached = (random - losses.mean(1)) / (random - optimum)
        cells = [
            f"{loss:.3f} ({error:.3f})" + (f" {share:.2f}" if matters(truth) else "")
            for loss, error, share in zip(losses.mean(1), errors, shares_reached, strict=True)
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    means = {"validation-10": np.array([e["affinity"] for e in results["seeds"].values()])}
    nothing = np.empty(0)
    affinities = AffinityTable(table.tasks, means, nothing, nothing, nothing, {})
    said = [one for one in left_out.outlooks(table, affinities, prior) if one["rounds"] == 1]
    low, middle, high = np.mean([one["said"] for one in said], 0)
    little = sum(one["little"] for one in said)
    lines += [
        "",
        f"The groups that were best on other seeds gain {reproducible_gain(truth)[0]:.1%} over "
        f"random ones. After one",
        f"training per network a search states a gain of {middle:.1%} ({low:.1%} to {high:.1%}), "
        f'and says "hardly',
        f'worth more trainings" in {little} of {len(said)} cases.',
    ]
    return "\n".join(lines)


def _reached(
    table: GroupTable, shares: Sequence[np.ndarray], prior: Prior
) -> dict[str, list[list[float]]]:
    """Method -> `[num_budgets][num_seeds]` total test losses."""
    truth = left_out.references(table)
    found = {
        "random": truth["random"],
        "exhaustive": truth["exhaustive"],
        "best of other seeds": truth["other seeds"],
    }
    seeds, tasks = range(table.num_seeds), np.arange(len(table.tasks))

    def searches(per_network: int, of: Sequence[np.ndarray]) -> list[list[float]]:
        rows = []
        for budget in BUDGETS:
            row = []
            for seed in seeds:
                losses, most = table.validation[seed], per_network * budget
                trained, _ = search(losses, of[seed], prior, budget, most, Variant())
                serving, _ = choose(losses, of[seed], prior, trained, budget, Variant())
                row.append(float(table.test[seed][serving, tasks].sum()))
            rows.append(row)
        return rows

    for per_network in left_out.PER_NETWORK:
        found[f"search, {per_network} trainings per network"] = searches(per_network, shares)
    nothing = [np.eye(len(tasks))] * len(shares)
    found["no affinity, 2 trainings per network"] = searches(2, nothing)
    found["random groups, 2 trainings per network"] = left_out.random_trainings(table, 2)["test"]
    found["members, no training"] = [
        [total_loss(table, seed, shares[seed], prior, budget, members) for seed in seeds]
        for budget in BUDGETS
    ]
    lone = [(1 << task) - 1 for task in tasks]
    for name, rows in (("single task", lone), ("all in one", [len(table.groups) - 1])):
        found[name] = [[served_losses(table, seed, rows)[1] for seed in seeds]] * len(BUDGETS)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the folder of sider.npz")
    parser.add_argument("--table", action="store_true", help="only print the committed result")
    arguments = parser.parse_args(argv)
    if not arguments.table:
        if arguments.data is None:
            parser.error("expected --data FOLDER, with sider.npz")
        for name in CASES:
            measure(name, arguments.data)
    for name, results in json.loads(FILE.read_text("utf-8"))["cases"].items():
        print(f"\n### {name}\n\n{page_table(results, CASES[name].family)}")


if __name__ == "__main__":
    main()
