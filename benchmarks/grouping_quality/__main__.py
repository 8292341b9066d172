"""Rebuilds the yardstick.

python -m benchmarks.grouping_quality --data FOLDER   # everything from nothing
python -m benchmarks.grouping_quality --data FOLDER --missing   # only what is not there
python -m benchmarks.grouping_quality --evaluate     # from the committed tables
python -m benchmarks.grouping_quality --tables       # print the committed results
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.grouping_quality.evaluate import evaluate_all, save_results
from benchmarks.grouping_quality.report import load_results, plot, tables


def main(argv: Sequence[str] | None = None) -> None:
    """Train, measure, evaluate and print, as far as asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="where tox21.npz and others are; without it these are left out"
    )
    parser.add_argument("--missing", action="store_true", help="leave tables alone that are there")
    parser.add_argument("--evaluate", action="store_true", help="use the committed tables")
    parser.add_argument("--tables", action="store_true", help="only print the committed results")
    arguments = parser.parse_args(argv)
    if not arguments.evaluate and not arguments.tables:
        from benchmarks.grouping_quality.measure_affinities import measure_affinities
        from benchmarks.grouping_quality.train_tables import (
            FROM_FILES,
            SETS,
            table_file,
            train_tables,
        )

        runs = [
            (name, units)
            for name, (_, recipe) in SETS.items()
            for units in recipe.units
            if name not in FROM_FILES or arguments.data
        ]
        untrained = [run for run in runs if not (arguments.missing and table_file(*run).exists())]
        train_tables(untrained, arguments.data)
        measure_affinities(runs, arguments.data, missing=arguments.missing)
    if not arguments.tables:
        results = evaluate_all()
        save_results(results)
        plot(results, Path(__file__).parent / "loss_against_cost.png")
    for name, table in tables(load_results()).items():
        print(f"\n## {name}\n\n{table}")


if __name__ == "__main__":
    main()
