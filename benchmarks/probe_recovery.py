"""The quality of the groups under sparser probing, on the tables of the yardstick.

    python -m benchmarks.probe_recovery        # goes on with benchmarks/probe_recovery.json

Nothing is trained here. The joint runs of `benchmarks/grouping_quality` were probed at every 10th
step; "every 50" is every fifth of their probes. What is sparser is made of their means by epoch,
of one epoch in so many. Each is handed to the methods that choose by affinity, and their groups
are held against all trained groups, as the yardstick does.

It also says how much a cleverer choice of which row to probe could save. With the probes of a run
shared out over the rows in proportion to the rows' spread (the best there is for the mean of the
squared standard errors), the same error takes `(mean spread)^2 / mean squared spread` of the
probes: 1 where all rows spread alike.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.grouping_quality.affinity_table import AffinityTable
from benchmarks.grouping_quality.evaluate import available, evaluate_set, load_set_tables
from benchmarks.grouping_quality.fit_prior import family_of
from benchmarks.grouping_quality.report import load_results, matters, recovery
from keras_tag.selection.few_trainings.gain_model import Prior

OUT = Path(__file__).with_suffix(".json")
METHODS = ("members", "shared step", "shortlist", "groups to train")
# One epoch in so many.
EPOCHS = (5, 10, 20)


def thinned(affinities: AffinityTable) -> dict[str, np.ndarray]:
    """Name of a schedule -> `[num_seeds, n, n]`."""
    schedules = {
        "every 10": affinities.means["gradient-10"],
        "every 50": affinities.means["gradient-50"],
    }
    for epochs in EPOCHS:
        some = affinities.by_epoch[:, ::epochs]
        schedules[f"every 10, one epoch in {epochs}"] = np.nanmean(some, axis=1)
    return schedules


def spread_of_rows(by_epoch: np.ndarray) -> np.ndarray:
    """`[num_seeds, n]`: how far the means of successive epochs are apart, root mean square."""
    steps = np.diff(by_epoch, axis=1)
    return np.sqrt(np.nanmean(steps**2, axis=(1, 3)))


def allocated(by_epoch: np.ndarray) -> float:
    """The part of the probes that rows probed by their spread take, mean over the seeds."""
    spread = spread_of_rows(by_epoch)
    return float(np.mean(spread.mean(1) ** 2 / (spread**2).mean(1)))


def evaluate(name: str, units: int, prior: Prior) -> dict[str, object]:
    """One set, with what `groups_to_train` believes before."""
    table, affinities = load_set_tables(name, units)
    found = {}
    for schedule, means in thinned(affinities).items():
        only = replace(affinities, means={"gradient-10": means})
        entry = evaluate_set(table, only, ("exhaustive", *METHODS), prior)
        found[schedule] = {m: np.round(recovery(entry, m), 3).tolist() for m in METHODS}
    return {"recovery": found, "probes_by_spread": round(allocated(affinities.by_epoch), 3)}


def main() -> None:
    """Evaluate the sets that are not in the file and on which grouping matters."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default=str(OUT))
    out = Path(parser.parse_args().out)
    sets = json.loads(out.read_text("utf-8"))["sets"] if out.exists() else {}
    judged = load_results()
    for name, units in available("affinities"):
        key = f"{name}-{units}"
        if key in sets or not matters(judged["sets"][key]):
            continue
        # The one that was fitted on the other sets.
        sets[key] = evaluate(name, units, Prior(**judged["priors"][family_of(name)]))
        print(key, sets[key], flush=True)
        result = {
            "what": "recovery at budgets 2, 3 and 4, by how often was probed; and the part of the "
            "probes that rows probed in proportion to their spread would take for the same error",
            "sets": sets,
        }
        out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
