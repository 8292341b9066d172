"""Time to proof of `select_groups`, over sizes, budgets, scores and instance families.

    python benchmarks/selection_scale.py            # writes benchmarks/selection_scale.json
    python benchmarks/selection_scale.py --quick    # a few minutes, writes nothing

Every case runs in a fresh process with an empty compilation cache, so that importing OR-Tools and
compiling are part of the first time it reports: `cold_seconds`, and `cold_cpu_seconds` of a core,
which other jobs disturb less. `seconds` is another instance of the same kind, solved in the same
process afterwards. On a shared machine run it with a priority that lets it have its two cores:
`nice -n -15 python benchmarks/selection_scale.py`.
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
# Up to 15 tasks every call lists all groups, whatever is in the matrix: one cold case will do.
SEEDS = (0, 1)


def matrix(family: str, num_tasks: int, seed: int) -> np.ndarray:
    """An affinity, rows source, columns target.

    clustered: num_tasks // 5 planted groups of affinity 1 in noise of standard deviation 0.2.
    real-like: (row effect + low rank + noise) times a scale for every column, as measured tables
    look. uniform: independent entries in [-1, 1], without any structure: the hard case.
    """
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


def run_case(case: dict) -> dict:
    """Solve one case in this process, twice: cold, and with another seed warm."""
    from keras_tag.affinity import Affinity
    from keras_tag.selection import select_groups

    times, cpu_seconds, last = [], 0.0, None
    # The longest cases are solved once.
    once = case["time_limit"] or case["num_tasks"] >= 40
    for seed in (case["seed"], case["seed"] + 100)[: 1 if once else 2]:
        table = matrix(case["family"], case["num_tasks"], seed)
        names = [f"task{index:03d}" for index in range(case["num_tasks"])]
        affinity = Affinity.from_array(table, names, rows="source")
        start = time.perf_counter()
        grouping = select_groups(
            affinity, case["budget"], score=case["score"], time_limit=case["time_limit"]
        )
        times.append(time.perf_counter() - start)
        # Since the process began, so with every import.
        cpu_seconds = cpu_seconds or time.process_time()
        last = last or grouping
    return {
        **case,
        "cold_seconds": round(times[0], 3),
        "cold_cpu_seconds": round(cpu_seconds, 3),
        "seconds": round(times[1], 3) if len(times) > 1 else None,
        "status": last.status,
        "objective": last.objective,
        "bound": last.bound,
        "statistics": dict(last.statistics),
    }


def cases(quick: bool) -> list[dict]:
    """The grid: what shall be proven, and at its end what is beyond and has a time limit."""
    budgets = {5: [2, 3], 9: [2, 3, 4], 12: [3, 4], 15: [2, 3, 5], 20: [3, 5], 25: [5], 30: [6]}
    budgets[40] = [8, 10]
    grid = []
    for num_tasks, choices in budgets.items():
        for budget in choices:
            for family in FAMILIES if num_tasks <= 20 else FAMILIES[:2]:
                for score in ("members", "partners"):
                    for seed in SEEDS if num_tasks >= 20 and not quick else SEEDS[:1]:
                        grid.append((num_tasks, budget, family, score, seed, None))
    if quick:
        grid = [case for case in grid if case[0] in (9, 15, 20)]
    else:
        grid += [
            (40, 3, "clustered", "members", 0, 30.0),
            (100, 10, "real-like", "members", 0, 30.0),
        ]
    return [dict(zip(KEYS, case, strict=True)) for case in grid]


def main() -> None:
    """Run the grid, one process per case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--give-up", type=float, default=150.0, help="seconds per case")
    parser.add_argument("--resume", action="store_true", help="keep what is proven already")
    parser.add_argument("--table", action="store_true", help="print the result file as Markdown")
    arguments = parser.parse_args()
    if arguments.table:
        print(table())
        return
    if arguments.case:
        print(json.dumps(run_case(json.loads(arguments.case))))
        return
    results: list[dict] = []
    done = {}
    if arguments.resume:
        for result in json.loads(RESULT.read_text("utf-8"))["results"]:
            if result["status"] == "optimal":
                done[json.dumps([result[key] for key in KEYS])] = result
    for case in cases(arguments.quick):
        if json.dumps([case[key] for key in KEYS]) in done:
            results.append(done[json.dumps([case[key] for key in KEYS])])
            continue
        command = [sys.executable, __file__, "--case", json.dumps(case)]
        try:
            with tempfile.TemporaryDirectory() as cache:
                run = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    check=True,
                    timeout=arguments.give_up,
                    env={**os.environ, "NUMBA_CACHE_DIR": cache},
                )
            results.append(json.loads(run.stdout.splitlines()[-1]))
        except subprocess.TimeoutExpired:
            results.append({**case, "status": f"unproven after {arguments.give_up:.0f} s"})
        print(json.dumps({k: v for k, v in results[-1].items() if k != "statistics"}), flush=True)
        if not arguments.quick:
            write(results)


def table() -> str:
    """The result file as a Markdown table, the slowest seed of each case."""
    results = json.loads(RESULT.read_text("utf-8"))["results"]
    lines = [
        "| tasks | budget | family | members cold | warm | partners cold | warm |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows: dict[tuple, dict] = {}
    for result in results:
        if not result["time_limit"]:
            key = (result["num_tasks"], result["budget"], result["family"])
            rows.setdefault(key, {}).setdefault(result["score"], []).append(result)
    for (num_tasks, budget, family), scores in sorted(rows.items()):
        cells = []
        for score in ("members", "partners"):
            seeds = scores.get(score, [{"status": "not run"}])
            unproven = [result for result in seeds if result["status"] != "optimal"]
            if unproven:
                cells += [unproven[0]["status"], ""]
                continue
            warm = [result["seconds"] for result in seeds if result["seconds"] is not None]
            cells.append(f"{max(result['cold_seconds'] for result in seeds):.2f}")
            cells.append(f"{max(warm):.2f}" if warm else "")
        lines.append(f"| {num_tasks} | {budget} | {family} | " + " | ".join(cells) + " |")
    lines += ["", "| tasks | budget | family, score | limit | objective | bound | status |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for result in results:
        if result["time_limit"]:
            lines.append(
                f"| {result['num_tasks']} | {result['budget']} | {result['family']}, "
                f"{result['score']} | {result['time_limit']:.0f} s | {result['objective']:.4g} | "
                f"{result['bound']:.4g} | {result['status']} |"
            )
    return "\n".join(lines)


def write(results: list[dict]) -> None:
    """The result file, after every case."""
    packages = ("numpy", "ortools", "numba")
    report = {
        "machine": f"{os.cpu_count()} cores",
        # Other jobs ran on the same cores: negative niceness is priority over them.
        "niceness": os.nice(0),
        "load_while_measured": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "results": results,
    }
    RESULT.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
