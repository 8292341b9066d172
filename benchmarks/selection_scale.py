"""Time to proof of `select_groups`, over sizes, budgets, scores and instance families.

    python benchmarks/selection_scale.py            # writes benchmarks/selection_scale.json
    python benchmarks/selection_scale.py --quick    # a few minutes, writes nothing

All cases of a number of tasks and a score run in one fresh process with an empty compilation cache.
Its first call, of another instance, is *cold*: importing OR-Tools and compiling are part of it.
`cpu_seconds` are of a core, which other jobs disturb less than `seconds`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

RESULT = Path(__file__).with_suffix(".json")
KEYS = ("num_tasks", "budget", "family", "score", "seed", "time_limit")
FAMILIES = ("clustered", "real-like", "uniform")
SCORES = ("members", "partners")
SEEDS = (0, 1)


def matrix(family: str, num_tasks: int, seed: int) -> np.ndarray:
    """An affinity, rows source, columns target.

    clustered: num_tasks // 5 planted groups of affinity 1 in noise of standard deviation 0.2.
    real-like: (row effect + low rank + noise) times a scale for every column, as measured tables
    look. uniform: independent entries in [-1, 1], without any structure: the hard case. planted:
    num_tasks // 10 groups of ten tasks, of affinity 0.5, in noise of standard deviation 0.2.
    """
    if family == "planted":
        rng = np.random.default_rng([num_tasks, seed])
        label = planted_label(num_tasks, seed)
        table = 0.5 * (label[:, None] == label) + 0.2 * rng.normal(size=(num_tasks, num_tasks))
        table[np.diag_indices(num_tasks)] = 1.0
        return table
    rng = np.random.default_rng([num_tasks, seed])
    shape = (num_tasks, num_tasks)
    if family == "clustered":
        label = rng.integers(0, max(2, num_tasks // 5), size=num_tasks)
        table = 0.2 * rng.normal(size=shape) + (label[:, None] == label[None, :])
    elif family == "real-like":
        scale, row = np.exp(rng.normal(size=num_tasks)), np.exp(0.5 * rng.normal(size=num_tasks))
        low_rank = rng.normal(size=(num_tasks, 4)) @ rng.normal(size=(4, num_tasks)) / 4
        table = 0.1 * scale * (row[:, None] * (0.3 + low_rank) + 0.2 * rng.normal(size=shape))
    else:
        table = rng.uniform(-1, 1, size=shape)
    table[np.diag_indices(num_tasks)] = np.abs(table).max(axis=0) * rng.uniform(
        1, 1.5, size=num_tasks
    )
    return table


def planted_label(num_tasks: int, seed: int) -> np.ndarray:
    """The group of every task, in the family "planted"."""
    return np.random.default_rng(seed).permutation(np.arange(num_tasks) % (num_tasks // 10))


def planted_value(case: dict) -> float:
    """What the planted groups are worth, from the definition of the score."""
    table = matrix(case["family"], case["num_tasks"], case["seed"])
    label = planted_label(case["num_tasks"], case["seed"])
    total = 0.0
    for group in range(case["num_tasks"] // 10):
        inside = table[np.ix_(label == group, label == group)]
        if case["score"] == "partners":
            total += (inside.sum() - np.trace(inside)) / (len(inside) - 1)
        else:
            total += inside.sum() / len(inside)
    return total


def run_cases(cases: list[dict]) -> list[dict]:
    """Solve the cases in this process, after another instance of the first one, cold."""
    from keras_tag.affinity import Affinity
    from keras_tag.selection import select_groups

    results = []
    for case in [{**cases[0], "seed": 100}, *cases]:
        table = matrix(case["family"], case["num_tasks"], case["seed"])
        names = [f"task{index:03d}" for index in range(case["num_tasks"])]
        affinity = Affinity.from_array(table, names, rows="source")
        # The first counts from when the process began, so with every import.
        start, cpu = time.perf_counter(), time.process_time() if results else 0.0
        grouping = select_groups(
            affinity, case["budget"], score=case["score"], time_limit=case["time_limit"]
        )
        results.append(
            {
                **case,
                "cold": not results,
                "seconds": round(time.perf_counter() - start, 3),
                "cpu_seconds": round(time.process_time() - cpu, 3),
                "status": grouping.status,
                "objective": grouping.objective,
                "bound": grouping.bound,
                "statistics": dict(grouping.statistics),
            }
        )
        if case["family"] == "planted":
            results[-1]["planted"] = planted_value(case)
        print(json.dumps(results[-1]), flush=True)
    return results


def cases(quick: bool) -> list[dict]:
    """The grid: what shall be proven, and at its end what is beyond and has a time limit."""
    budgets = {5: [2, 3], 9: [2, 3, 4], 12: [3, 4], 15: [2, 3, 5], 20: [3, 5], 25: [5], 30: [6]}
    budgets[40] = [8, 10]
    grid = []
    for num_tasks, choices in budgets.items():
        for budget in choices:
            for family in FAMILIES if num_tasks <= 20 else FAMILIES[:2]:
                for score in SCORES:
                    for seed in SEEDS if num_tasks >= 20 and not quick else SEEDS[:1]:
                        grid.append((num_tasks, budget, family, score, seed, None))
    if quick:
        grid = [case for case in grid if case[0] in (9, 15, 20)]
    else:
        grid += [(40, 3, "clustered", "members", 0, 20.0)]
        for num_tasks in (60, 100, 200):
            for score in SCORES:
                grid.append((num_tasks, num_tasks // 10, "planted", score, 0, 20.0))
    return [dict(zip(KEYS, case, strict=True)) for case in grid]


def main() -> None:
    """Run the grid, one process for each number of tasks and score."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cases", help=argparse.SUPPRESS)
    parser.add_argument("--give-up", type=float, default=150.0, help="seconds per case")
    parser.add_argument("--table", action="store_true", help="print the result file as Markdown")
    arguments = parser.parse_args()
    if arguments.table:
        print(table())
        return
    if arguments.cases:
        run_cases(json.loads(arguments.cases))
        return
    groups: dict[tuple, list[dict]] = {}
    for case in cases(arguments.quick):
        groups.setdefault((case["num_tasks"], case["score"], case["time_limit"]), []).append(case)
    results: list[dict] = []
    for group in groups.values():
        command = [sys.executable, __file__, "--cases", json.dumps(group)]
        with tempfile.TemporaryDirectory() as cache:
            try:
                output = subprocess.run(
                    command,
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                    timeout=arguments.give_up * (1 + len(group)),
                    env={**os.environ, "NUMBA_CACHE_DIR": cache},
                ).stdout
            except subprocess.TimeoutExpired as error:
                output = (error.stdout or b"").decode()
        found = [json.loads(line) for line in output.splitlines()]
        results += found
        for case in group[max(0, len(found) - 1) :]:
            results.append({**case, "cold": False, "status": "given up"})
        print(json.dumps({k: v for k, v in results[-1].items() if k != "statistics"}), flush=True)
        if not arguments.quick:
            write(results)


def table() -> str:
    """The result file as Markdown: CPU seconds, the slowest family and seed of each case."""
    results = json.loads(RESULT.read_text("utf-8"))["results"]
    proofs = [result for result in results if not result["time_limit"]]
    lines = ["| tasks | budget | members | partners | cold |", "| --- | --- | --- | --- | --- |"]
    for num_tasks, budget in sorted({(r["num_tasks"], r["budget"]) for r in proofs}):
        cells = []
        for score in SCORES:
            here = [
                r
                for r in proofs
                if (r["num_tasks"], r["budget"], r["score"], r["cold"])
                == (num_tasks, budget, score, False)
            ]
            assert all(r["status"] == "optimal" for r in here)
            cells.append(max((r["cpu_seconds"] for r in here), default=np.nan))
        cold = max(r["cpu_seconds"] for r in proofs if r["cold"] and r["num_tasks"] == num_tasks)
        cells = [f"{s:.2f}" if s == s else "" for s in [*cells, cold]]
        lines.append(f"| {num_tasks} | {budget} | " + " | ".join(cells) + " |")
    lines += ["", "| tasks | budget | score | planted | found | bound |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for result in results:
        if "planted" in result and not result["cold"]:
            numbers = [result[key] for key in ("planted", "objective", "bound")]
            lines.append(
                f"| {result['num_tasks']} | {result['budget']} | {result['score']} | "
                + " | ".join(f"{number:.1f}" for number in numbers)
                + " |"
            )
    return "\n".join(lines)


def write(results: list[dict]) -> None:
    """The result file, after every case."""
    packages = ("numpy", "ortools", "numba")
    report = {
        "machine": f"{os.cpu_count()} cores",
        "load_while_measured": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "results": results,
    }
    RESULT.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
