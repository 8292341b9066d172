"""Runs the demo's comparison on both task sets and keeps its numbers in `benchmarks/demo/`.

    python benchmarks/demo.py            # train everything (two runs of some minutes on two cores)
    python benchmarks/demo.py --tables   # only print the tables of the committed results

The files hold settings, versions, the number of CPUs, the affinity, the groups and the test losses
of every network that was trained. The tables in `docs/demo.md` are made from them.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.demo_comparison.report import describe, verdict
from benchmarks.demo_comparison.result import DemoResult, DemoSettings, from_dict, to_json
from benchmarks.demo_comparison.run import run_demo

FOLDER = Path(__file__).with_suffix("")
TASK_SETS = (("loop", "prime", "composite"), ("odd", "loop", "prime"))


def result_file(tasks: tuple[str, ...]) -> Path:
    """Where the result of a task set is kept."""
    return FOLDER / f"{'-'.join(tasks)}.json"


def load(tasks: tuple[str, ...]) -> DemoResult:
    """The committed result of a task set."""
    return from_dict(json.loads(result_file(tasks).read_text("utf-8")))


def main() -> None:
    """Train unless told otherwise, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", action="store_true", help="only print the committed results")
    if not parser.parse_args().tables:
        FOLDER.mkdir(exist_ok=True)
        for tasks in TASK_SETS:
            result = run_demo(
                DemoSettings(tasks=tasks), progress=lambda line: print(line, flush=True)
            )
            result_file(tasks).write_text(to_json(result), "utf-8")
    for tasks in TASK_SETS:
        result = load(tasks)
        versions = ", ".join(f"{name} {number}" for name, number in result.versions.items())
        print(
            f"\n{', '.join(tasks)}: {result.seconds:.0f} s with {result.cpus} CPUs, "
            f"{result.cpu_seconds:.0f} s of CPU time; {versions}"
        )
        print(f"\n{describe(result)}\n\n{verdict(result)}\n\n{result.grouping}")


if __name__ == "__main__":
    main()
