"""The moment at which `StopWhenStable` ends probing, and the loss in quality.

    python -m benchmarks.stop_when_stable

Ten joint runs on each set of overlaid digits. The callback decides as always, but probing goes on
after it has, so that the same run also gives the affinity of the whole run. The two choices are
compared by what their groups really reached: the tables of all groups of
`benchmarks/grouping_quality`. Writes `benchmarks/stop_when_stable.json`; a second call keeps the
runs that are there and only judges them anew.
"""

import json
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.grouping_quality.group_table import GroupTable, load_table
from benchmarks.joint_run import SETS, compiled_model, environment, joint_run, load
from keras_tag import Grouping, GroupScores, TAGModel, select_groups
from keras_tag.baselines import random_groups
from keras_tag.callbacks import StopWhenStable

RESULT = Path(__file__).with_suffix(".json")
TABLES = Path(__file__).parent / "grouping_quality" / "tables"
SEEDS = range(10)
BUDGET, EVERY = 3, 5


class Watch(StopWhenStable):
    """Decides, and lets probing go on; takes the time of steps."""

    def __init__(self) -> None:
        super().__init__(BUDGET)
        self.seconds: dict[bool, list[float]] = {True: [], False: []}
        self.probes_at_stop = 0
        self.seconds_of_decisions = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Take the time."""
        self._begun = perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Take the time."""
        self.seconds[self.model.last_step_probed].append(perf_counter() - self._begun)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Decide, and let probing go on."""
        begun = perf_counter()
        super().on_epoch_end(epoch, logs)
        self.seconds_of_decisions += perf_counter() - begun
        if self.model.probing_paused:
            self.probes_at_stop = self.model.probes
            self.model.resume_probing()


def run(tag: TAGModel, name: str, seed: int) -> dict[str, Any]:
    """One joint run."""
    watch = Watch()
    data = load(name, seed)
    begun = perf_counter()
    epochs = joint_run(tag, data, seed, [watch])
    seconds = perf_counter() - begun
    whole = select_groups(tag.affinity(), BUDGET)
    plain, probed = (float(np.median(watch.seconds[kind])) for kind in (False, True))
    stopped = None if watch.stopped_epoch is None else watch.stopped_epoch + 1
    # What the run would have taken without probes and decisions.
    seconds -= watch.seconds_of_decisions + (probed - plain) * len(watch.seconds[True])
    return {
        "set": name,
        "seed": seed,
        "epochs_of_the_run": epochs,
        "epochs_probed": stopped,
        "probes_of_the_run": tag.probes,
        "probes": watch.probes_at_stop if stopped else tag.probes,
        "seconds_plain_step": plain,
        "seconds_probed_step": probed,
        "seconds_of_decisions": watch.seconds_of_decisions,
        "seconds_of_the_run_without": seconds,
        "stopped": as_plain(watch.grouping) if stopped else None,
        "whole": as_plain(whole),
        "confidence": watch.stability.confidence() if watch.stability else None,
    }


def as_plain(grouping: Grouping) -> list[list[list[str]]]:
    """Every network's tasks, and those that it serves."""
    return [[list(group), list(grouping.served(i))] for i, group in enumerate(grouping.groups)]


def as_grouping(plain: list[list[list[str]]]) -> Grouping:
    """What `as_plain` was of."""
    serves = {task: index for index, (_, served) in enumerate(plain) for task in served}
    return Grouping.from_groups([group for group, _ in plain], serves)


def write(result: dict[str, Any]) -> None:
    """One line per run."""
    lines = ",\n  ".join(json.dumps(one) for one in result["runs"])
    rest = json.dumps({key: value for key, value in result.items() if key != "runs"}, indent=1)
    RESULT.write_text(f'{{"runs": [\n  {lines}\n ],{rest[1:]}\n', "utf-8")


def total_loss(grouping: Grouping, table: GroupTable) -> float:
    """The measured test loss of a grouping: the mean over the table's seeds, summed over tasks."""
    losses = table.test.mean(axis=0)
    total = 0.0
    for task, network in grouping.serves.items():
        mask = sum(1 << table.tasks.index(member) for member in grouping.groups[network])
        total += losses[table.mask_row(mask), table.tasks.index(task)]
    return float(total)


def optimum(table: GroupTable) -> Grouping:
    """The best grouping by the table itself."""
    losses = table.test.mean(axis=0)
    groups = {}
    for row, members in enumerate(table.groups):
        names = tuple(np.array(table.tasks)[members].tolist())
        groups[names] = {task: float(losses[row, table.tasks.index(task)]) for task in names}
    return select_groups(GroupScores(groups, sense="min"), BUDGET)


def judge(runs: list[dict[str, Any]], table: GroupTable) -> dict[str, Any]:
    """What stopping costs, in shares of (random - optimal)."""
    best = total_loss(optimum(table), table)
    random = float(
        np.mean([total_loss(random_groups(table.tasks, BUDGET, s), table) for s in range(1000)])
    )
    verdicts = []
    for one in runs:
        whole = total_loss(as_grouping(one["whole"]), table)
        verdict = {"seed": one["seed"], "loss_whole": whole, "ends_before_half": False}
        if one["stopped"] is not None:
            stopped = total_loss(as_grouping(one["stopped"]), table)
            share = one["epochs_probed"] / one["epochs_of_the_run"]
            extra = (one["seconds_probed_step"] - one["seconds_plain_step"]) * one["probes"]
            run = one["seconds_of_the_run_without"]
            verdict |= {
                "loss_stopped": stopped,
                "regret": (stopped - whole) / (random - best),
                "share_of_the_epochs": share,
                "ends_before_half": share < 0.5,
                "probes_cost_in_joint_runs": extra / run,
                "decisions_cost_in_joint_runs": one["seconds_of_decisions"] / run,
            }
        good = verdict["ends_before_half"] and verdict["regret"] <= 0.05
        verdicts.append({**verdict, "good": good})
    return {
        "loss_optimal": best,
        "loss_random": random,
        "good_of_ten": sum(v["good"] for v in verdicts),
        "failures": [v["seed"] for v in verdicts if not v["good"]],
        "seeds": verdicts,
    }


def main() -> None:
    """Run what is missing, judge, write, print."""
    result = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {"runs": []}
    done = {(one["set"], one["seed"]) for one in result["runs"]}
    for name in SETS:
        missing = [seed for seed in SEEDS if (name, seed) not in done]
        if not missing:
            continue
        tag = compiled_model(load(name, 0), EVERY)
        joint_run(tag, load(name, 0), 0)  # Compiles: its time is no part of a run's.
        for seed in missing:
            result["runs"].append(run(tag, name, seed))
            result["about"] = {"budget": BUDGET, "every": EVERY, **environment()}
            write(result)
            print(name, seed, flush=True)
    result["verdict"] = {}
    for name in SETS:
        table = load_table(TABLES / f"overlaid3-{name}-24.groups.npz")
        runs = [one for one in result["runs"] if one["set"] == name]
        verdict = result["verdict"][name] = judge(runs, table)
        print(name, {key: value for key, value in verdict.items() if key != "seeds"})
        for one in verdict["seeds"]:
            print("  ", one)
    write(result)


if __name__ == "__main__":
    main()
