"""Rebuilds the yardstick.

python -m benchmarks.grouping_quality --tox21 PATH   # everything from nothing
python -m benchmarks.grouping_quality --tox21 PATH --missing   # only what is not there
python -m benchmarks.grouping_quality --evaluate     # from the committed tables
python -m benchmarks.grouping_quality --tables       # print the committed results
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.grouping_quality.evaluate import evaluate_all, save_results
from benchmarks.grouping_quality.report import load_results, plot, tables
from benchmarks.grouping_quality.task_sets import TASK_SETS


def main(argv: Sequence[str] | None = None) -> None:
    """Train, measure, evaluate and print, as far as asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tox21", type=Path, help="tox21.npz; without it the set is left out")
    parser.add_argument("--missing", action="store_true", help="leave tables alone that are there")
    parser.add_argument("--evaluate", action="store_true", help="use the committed tables")
    parser.add_argument("--tables", action="store_true", help="only print the committed results")
    arguments = parser.parse_args(argv)
    if not arguments.evaluate and not arguments.tables:
        from benchmarks.grouping_quality.measure_affinities import measure_affinities
        from benchmarks.grouping_quality.train_tables import table_file, train_tables

        runs = [
            (name, units)
            for name, (_, recipe) in TASK_SETS.items()
            for units in recipe.units
            if name != "tox21" or arguments.tox21
        ]
        untrained = [run for run in runs if not (arguments.missing and table_file(*run).exists())]
        train_tables(untrained, arguments.tox21)
        measure_affinities(runs, arguments.tox21, missing=arguments.missing)
    if not arguments.tables:
        results = evaluate_all()
        save_results(results)
        plot(results, Path(__file__).parent / "loss_against_cost.png")
    for name, table in tables(load_results()).items():
        print(f"\n## {name}\n\n{table}")


if __name__ == "__main__":
    main()
