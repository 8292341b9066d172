"""A search on several workers: what it takes, and whether it finds as good groups.

    python -m benchmarks.cluster             # writes cluster.json
    python -m benchmarks.cluster --table     # prints the tables of docs/cluster.md

"measured": the same six trainings in process pools of one and of two workers, in turn; a worker
has one thread. "simulated": the loop of the search replayed from the tables of `grouping_quality`
with recorded training times (epochs, relative to those of the joint run, which networks of equal
trunks take alike), beside a search that waits for every round to end.
"""

import argparse
import heapq
import json
import multiprocessing
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.group_search import outcome, total_loss
from benchmarks.grouping_quality.evaluate import RESULTS, available, load_set_tables
from benchmarks.grouping_quality.fit_prior import family_of
from benchmarks.grouping_quality.group_table import environment
from benchmarks.grouping_quality.methods import Case, exhaustive, rows_of
from benchmarks.grouping_quality.report import matters
from benchmarks.grouping_quality.rule import random_expectation, served_losses
from keras_tag.search.objectives import objectives_by_task
from keras_tag.search.proposals import Limits, Problem
from keras_tag.selection.few_trainings.gain_model import Prior

FILE = Path(__file__).with_suffix(".json")
WORKERS = (1, 4, 8, 16, 64)
BUDGETS = (3, 8)
SEEDS = 3
REPEATS = 2
TASKS = ("loop", "prime", "composite", "odd", "ge5")


def simulate(case: Case, budget: int, workers: int, waits: bool) -> tuple[list[int], float]:
    """Return the rows of the table that a search trains, and when it ends, in joint runs.

    Args:
        case: One seed of one set.
        budget: b.
        workers: How many trainings run at a time.
        waits: Whether it waits for a round to end before it asks again.
    """
    table = case.table
    problem = Problem(table.tasks, budget, objectives_by_task(None, table.tasks), prior=case.prior)
    affinity = case.affinity("validation-50")
    assert affinity is not None
    epochs = table.epochs[case.seed]
    rows, now = [len(table.groups) - 1], 1.0
    ended = [outcome(case, 0, rows[0])]
    running: list[tuple[float, int, tuple[str, ...]]] = []
    waiting: list[tuple[str, ...]] = []
    asked_at: tuple[int, int] | None = None
    while True:
        while len(running) < workers:
            state = len(ended), len(running)
            if not waiting and not (waits and running) and state != asked_at:
                asked_at = state
                believed = [group for _, _, group in sorted(running, key=lambda own: own[1])]
                in_order = sorted(ended, key=lambda own: own.number)
                limits = Limits(3 * budget)
                waiting += problem.next_groups(affinity, in_order, limits, believed)
            if not waiting:
                break
            group = waiting.pop(0)
            row = rows_of(table, [group])[0]
            heapq.heappush(running, (now + epochs[row] / epochs[rows[0]], len(rows), group))
            rows.append(row)
        if not running:
            return rows, now
        now, number, _ = heapq.heappop(running)
        ended.append(outcome(case, number, rows[number]))


def simulated() -> dict[str, Any]:
    """Return, by budget and set, losses to compare with, and what every search came to."""
    known = json.loads(RESULTS.read_text("utf-8"))
    found: dict[str, Any] = {}
    for budget in BUDGETS:
        for name, units in available():
            full = f"{name}-{units}"
            table, affinities = load_set_tables(name, units)
            if not matters(known["sets"][full]) or len(table.tasks) <= budget:
                continue
            prior = replace(Prior(), **known["priors"][family_of(name)])
            cases = [Case(table, affinities, seed, prior) for seed in range(SEEDS)]
            own: dict[str, Any] = {"random": [], "best": [], "searches": {}}
            for case in cases:
                own["random"].append(random_expectation(table, case.seed, budget)[1])
                best = rows_of(table, exhaustive(case, [budget]).groupings[budget].groups)
                own["best"].append(served_losses(table, case.seed, best)[1])
                for workers in WORKERS:
                    for waits in (False, True):
                        rows, end = simulate(case, budget, workers, waits)
                        entry = {
                            "test": total_loss(case, budget, rows),
                            "end": round(end, 4),
                            "trainings": len(rows) - 1,
                        }
                        key = f"{workers} {'rounds' if waits else 'search'}"
                        own["searches"].setdefault(key, []).append(entry)
            found.setdefault(str(budget), {})[full] = own
            print(f"simulated {full}, b = {budget}", flush=True)
    return found


def model_and_data() -> Any:
    """Return a model of five tasks, and digits."""
    import keras

    from keras_tag.datasets.digits import compose_digits

    digits = compose_digits(1, TASKS, 0, train_size=1200)["train"]
    keras.utils.set_random_seed(0)
    inputs = keras.Input(digits.images.shape[1:])
    h = keras.layers.Flatten()(inputs)
    for _ in range(3):
        h = keras.layers.Dense(512, "relu")(h)
    model = keras.Model(
        inputs, {t: keras.layers.Dense(1, "sigmoid", name=t)(h) for t in digits.labels}
    )
    model.compile("adam", loss=dict.fromkeys(digits.labels, "binary_crossentropy"))
    return model, digits


def pool(workers: int) -> ProcessPoolExecutor:
    """Return processes that have one thread each."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


class Counting:
    """An executor that counts the bytes of what is sent and what comes back.

    Args:
        executor: Does the work.
        workers: How many it has.
    """

    def __init__(self, executor: ProcessPoolExecutor, workers: int) -> None:
        self.max_workers = workers
        self.sent: list[int] = []
        self.returned: list[int] = []
        self._executor = executor

    def submit(self, function: Any, /, *args: Any) -> Any:
        """Run a function in a worker."""
        future = self._executor.submit(function, *args)
        if args:
            self.sent.append(len(pickle.dumps(args)))
            future.add_done_callback(
                lambda own: self.returned.append(len(pickle.dumps(own.result())))
            )
        return future


def start() -> None:
    """Keep a worker busy until another one starts, and load what trainings need."""
    import keras_tag.search.workers  # noqa: F401

    time.sleep(5)


def search_in(folder: Path, name: str, executor: Any, epochs: int) -> float:
    """Return the seconds that a search took from where its folder says.

    Args:
        folder: With the search's folder.
        name: The folder's name.
        executor: Has the workers.
        epochs: Of every training.
    """
    import keras_tag

    model, digits = model_and_data()
    search = keras_tag.GroupSearch(
        model, 2, trainings=1, baselines="single", directory=folder, project_name=name
    )
    fit = {"validation_split": 0.2, "epochs": epochs, "verbose": 0, "executor": executor}
    begun = time.monotonic()
    search.search(digits.images, digits.labels, **fit)
    return time.monotonic() - begun


def measured(epochs: int = 10) -> dict[str, Any]:
    """Return the seconds of the same trainings with one and with two workers, in turn."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = "1"
    seconds: dict[str, list[float]] = {"1": [], "2": []}
    load = [os.getloadavg()[0]]
    pools = {workers: pool(int(workers)) for workers in seconds}
    with tempfile.TemporaryDirectory() as own:
        folder = Path(own)
        for workers, executor in pools.items():
            for started in [executor.submit(start) for _ in range(int(workers))]:
                started.result()
        counting = Counting(pools["2"], 2)
        search_in(folder, "first", counting, epochs)
        weights = (folder / "first" / "training_0000" / "best.weights.h5").stat().st_size
        for trained in (folder / "first").glob("training_*"):
            if trained.name != "training_0000":
                shutil.rmtree(trained)
        for repeat in range(REPEATS):
            for workers, executor in pools.items():
                name = f"{workers}_{repeat}"
                shutil.copytree(folder / "first", folder / name)
                seconds[workers].append(round(search_in(folder, name, executor, epochs), 2))
    for executor in pools.values():
        executor.shutdown()
    digits = model_and_data()[1]
    sizes = {
        "sent": median(counting.sent),
        "of that arrays": digits.images.nbytes + sum(own.nbytes for own in digits.labels.values()),
        "of that weights": weights,
        "returned": median(counting.returned),
    }
    return {
        "seconds": seconds,
        "trainings": len(TASKS) + 1,
        "bytes": sizes,
        "load": [*load, os.getloadavg()[0]],
    }


def table_of(file: dict[str, Any]) -> str:
    """Return the tables as Markdown.

    Args:
        file: What `main` wrote.
    """
    lines = [
        "| networks | workers | recovery | ends after | if it waited for rounds |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for budget, sets in file["simulated"].items():
        for workers in WORKERS:
            searches = [own["searches"] for own in sets.values()]
            ends = [_mean(own[f"{workers} search"], "end") for own in searches]
            waited = [_mean(own[f"{workers} rounds"], "end") for own in searches]
            found = mean(_recovery(own, f"{workers} search") for own in sets.values())
            lines.append(
                f"| {budget} | {workers} | {found:.2f} | {mean(ends):.1f} | {mean(waited):.1f} |"
            )
    return "\n".join(lines)


def speed_up(file: dict[str, Any]) -> float:
    """Return how many times faster two workers were.

    Args:
        file: What `main` wrote.
    """
    one, two = (file["measured"]["seconds"][workers] for workers in ("1", "2"))
    return median(a / b for a, b in zip(one, two, strict=True))


def _mean(entries: Sequence[dict[str, float]], name: str) -> float:
    return mean(entry[name] for entry in entries)


def _recovery(own: dict[str, Any], search: str) -> float:
    gain = mean(own["random"]) - _mean(own["searches"][search], "test")
    return gain / (mean(own["random"]) - mean(own["best"]))


def main() -> None:
    """Do what is missing in the result file, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="only print the committed result")
    parser.add_argument("--only", choices=("simulated", "measured"), help="only this part, anew")
    given = parser.parse_args()
    file = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    if not given.table:
        for part, make in (("simulated", simulated), ("measured", measured)):
            if given.only in (None, part):
                file[part] = make()
        file |= environment("ortools", "keras", "tensorflow")
        FILE.write_text(json.dumps(file, indent=1) + "\n", "utf-8")
    print(table_of(file))
    if "measured" in file:
        print(f"two workers: {speed_up(file):.2f} times as fast as one")


if __name__ == "__main__":
    main()
