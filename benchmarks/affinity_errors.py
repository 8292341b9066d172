"""Are the standard errors of affinities right?

    python -m benchmarks.affinity_errors

Three answers, written to `benchmarks/affinity_errors.json`:

1. "coverage": how often nominal 95 % intervals cover the known mean of simulated streams of
   probes, recorded as `TAGModel` records them, by run length and correlation.
2. "real_probes": joint runs on overlaid digits in which *every* step is probed. Every tenth
   probe is a sample of these, from each of ten starting points; the mean over all is what they
   estimate. How often do their intervals cover it, and how large are the errors that were
   reported, as a multiple of those that were made?
3. "combined_runs": on three data seeds, three runs with other first weights and another order of
   the batches are combined, and the reported standard error is compared with how much six
   further runs differ (divided by the root of three).

What the file has already is kept: remove it to begin anew.
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.signal import lfilter

from benchmarks.joint_run import SETS, compiled_model, environment, joint_run, load
from keras_tag import Affinity, TAGModel
from keras_tag.affinity.history import AffinityHistory, HistoryRecorder

RESULT = Path(__file__).with_suffix(".json")
LENGTHS = [(1, 500), (1, 5000), (3, 10), (5, 100), (10, 2), (10, 24), (10, 100), (30, 20)]
LENGTHS += [(60, 3), (100, 10), (20, 300)]
CORRELATIONS = (-0.4, 0.0, 0.3, 0.6, 0.8, 0.9)
STREAMS = 60  # 60 * 60 = 3600 streams: a coverage is known to 0.4 %.
DATA_SEEDS, COMBINED, FURTHER = 3, 3, 6


def recorded(probes: np.ndarray, epoch: np.ndarray) -> AffinityHistory:
    """What `TAGModel` would keep of `[steps, n, n]` probes."""
    recorder = HistoryRecorder(probes.shape[1])
    for number in np.unique(epoch).tolist():
        inside = probes[epoch == number]
        recorder.begin_epoch(number)
        first = 0
        while first < len(inside):
            block = inside[first : first + recorder.block_size]
            first += len(block)
            recorder.add(block.sum(axis=0), np.full(block.shape[1:], len(block)), len(block))
        recorder.end_epoch()
    return recorder.history()


def coverage(epochs: int, per_epoch: int, phi: float) -> float:
    """The share of streams whose interval covers their mean, 0."""
    rng = np.random.default_rng([epochs, per_epoch, round(10 * phi) + 10])
    steps = epochs * per_epoch
    noise = rng.normal(size=(steps + 200, STREAMS**2))
    stream = lfilter([np.sqrt(1 - phi**2)], [1, -phi], noise, axis=0)[200:]
    probes = stream.reshape(steps, STREAMS, STREAMS)
    names = [str(i) for i in range(STREAMS)]
    history = recorded(probes, np.repeat(np.arange(epochs), per_epoch))
    low, high = Affinity.from_history(names, history).interval(0.95)
    return float(np.mean((low <= 0) & (high >= 0)))


class EveryProbe(keras.callbacks.Callback):
    """Keeps single probes, which `TAGModel` sums."""

    def __init__(self) -> None:
        super().__init__()
        self.probes: list[np.ndarray] = []
        self.epochs: list[int] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Remember which epoch it is."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Take the probe of this step."""
        self.probes.append(self.model.affinity().mean)
        self.epochs.append(self._epoch)
        self.model.reset_affinity()


def real_probes(tag: TAGModel, name: str, seed: int) -> dict[str, Any]:
    """Every tenth of the probes against all of them."""
    every = EveryProbe()
    joint_run(tag, load(name, seed), seed, [every])
    probes, epoch = np.array(every.probes), np.array(every.epochs)
    truth, spread = probes.mean(axis=0), probes.std(axis=0)
    covered, reported, made = [], [], []
    for first in range(10):
        history = recorded(probes[first::10], epoch[first::10])
        sample = Affinity.from_history([str(i) for i in range(len(truth))], history)
        low, high = sample.interval()
        covered.append((low <= truth) & (truth <= high))
        reported.append(sample.standard_error / spread)
        made.append((sample.mean - truth) / spread)
    return {
        "set": name,
        "seed": seed,
        "probes": len(probes),
        "coverage": float(np.mean(covered)),
        "reported_over_made": _rms(reported) / _rms(made),
        # A tenth of a finite number of probes errs less than a sample of endlessly many would.
        "expected_over_made": 1 / np.sqrt(0.9),
    }


def _rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def one_run(tag: TAGModel | None, name: str, data_seed: int, seed: int) -> dict[str, Any]:
    """The affinity of a run, as plain numbers."""
    assert tag is not None
    epochs = joint_run(tag, load(name, data_seed), 1000 + seed)
    affinity = tag.affinity()
    return {
        "set": name,
        "data_seed": data_seed,
        "seed": seed,
        "epochs": epochs,
        "mean": _short(affinity.mean),
        "standard_error": _short(affinity.standard_error),
    }


def _short(matrix: np.ndarray) -> list[list[float]]:
    return [[float(f"{value:.5g}") for value in row] for row in matrix]


def compare(runs: list[dict[str, Any]], name: str, data_seed: int) -> dict[str, Any]:
    """The reported error of three combined runs, against the spread of the six others."""
    means = [
        np.array(run["mean"])
        for run in sorted(runs, key=lambda run: run["seed"])
        if (run["set"], run["data_seed"]) == (name, data_seed)
    ]
    names = [str(i) for i in range(len(means[0]))]
    tables = [Affinity.from_array(mean, names, rows="source") for mean in means]
    combined = Affinity.combine(tables[:COMBINED])
    further = np.stack(means[COMBINED:])
    spread = further.std(axis=0, ddof=1) / np.sqrt(COMBINED)
    ratio = combined.standard_error / spread
    low, high = combined.interval()
    centre = further.mean(axis=0)
    off = ~np.eye(len(names), dtype=bool)
    # Both are estimates from few runs, so single pairs scatter; in units of each pair's spread
    # and averaged as variances, what is left is how far off the errors are altogether.
    within = [
        np.array(run["standard_error"])
        for run in runs
        if (run["set"], run["data_seed"]) == (name, data_seed)
    ]
    return {
        "set": name,
        "data_seed": data_seed,
        "reported": _rms(combined.standard_error),
        "spread": _rms(spread),
        "reported_over_spread": _rms(combined.standard_error) / _rms(spread),
        "reported_over_spread_off_diagonal": _rms(combined.standard_error[off]) / _rms(spread[off]),
        "median_of_the_pairs": float(np.median(ratio)),
        "share_of_pairs_within_1.5": float(np.mean((ratio < 1.5) & (ratio > 1 / 1.5))),
        "further_mean_in_the_interval": float(np.mean((low <= centre) & (centre <= high))),
        "between_runs_over_within_a_run": _rms(further.std(axis=0, ddof=1)) / _rms(within),
    }


def main() -> None:
    """Do what is missing, write, print."""
    result = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}

    def write() -> None:
        lines = []
        for key, value in result.items():
            rows = ",\n  ".join(map(json.dumps, value)) if isinstance(value, list) else None
            lines.append(f"{json.dumps(key)}: " + (f"[\n  {rows}]" if rows else json.dumps(value)))
        RESULT.write_text("{" + ",\n ".join(lines) + "}\n", "utf-8")

    result["about"] = environment()
    result["coverage"] = result.get("coverage") or [
        {"epochs": e, "probes_per_epoch": p}
        | {str(phi): coverage(e, p, phi) for phi in CORRELATIONS}
        for e, p in LENGTHS
    ]
    write()
    for row in result["coverage"]:
        print(row)
    real, runs = result.setdefault("real_probes", []), result.setdefault("runs", [])
    done = {(run["set"], run["data_seed"], run["seed"]) for run in runs}
    for name in SETS:
        wanted = [(name, d, s) for d in range(DATA_SEEDS) for s in range(COMBINED + FURTHER)]
        missing = [key for key in wanted if key not in done]
        tag = compiled_model(load(name, 0), every=10) if missing else None
        for key in missing:
            runs.append(one_run(tag, *key))
            write()
    for name in SETS:
        if not any(one["set"] == name for one in real):
            real.append(real_probes(compiled_model(load(name, 0), every=1), name, 0))
            write()
    rows = [compare(runs, name, seed) for name in SETS for seed in range(DATA_SEEDS)]
    result["combined_runs"] = rows
    result["combined_runs_pooled"] = {
        name: _rms([row["reported"] for row in rows if row["set"] == name])
        / _rms([row["spread"] for row in rows if row["set"] == name])
        for name in SETS
    }
    write()
    for row in [*real, *rows, result["combined_runs_pooled"]]:
        print(row)


if __name__ == "__main__":
    main()
