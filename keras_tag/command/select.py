"""The command `keras-tag select`: groups by a matrix from a file."""

import argparse
import json

from keras_tag.affinity.text_files import read_affinity

_EPILOG = """\
The file, by the end of its name:
  .npz   what Affinity.save wrote
  .json  {row: {column: number}} or {"tasks": [...], "matrix": [[...]]}
  other  a table: the first line names the columns, the first cell of a line its
         row; or the columns source, target, mean. An empty cell: not measured.

Exit codes: 0 groups were found (with --time-limit: see "status"), 1 they were
not, and the reason is on standard error, 2 arguments that can't be used,
130 interrupted.

Examples:
  keras-tag select affinity.npz --budget 3
  keras-tag select table.csv --rows source --budget 2 --score partners --json
  keras-tag select affinity.npz --budget 4 --cannot-link depth,edges --out groups.json
"""


def add_select(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `select` to the commands of a parser."""
    select = commands.add_parser(
        "select",
        help="the best groups of tasks by a matrix of affinities",
        description=(
            "Reads inter-task affinities and finds the groups of tasks that should train together, "
            "at most as many as the budget, by proof."
        ),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = select.add_argument
    add("affinity", metavar="FILE", help=".npz, .json or a table")
    add("--budget", type=float, required=True, help="how many networks may be served")
    add_rows(select)
    add(
        "--score",
        choices=("members", "partners"),
        default="members",
        help="members: how much of its own progress a task keeps; partners: the paper's (default: "
        "%(default)s)",
    )
    add(
        "--alone",
        type=_alone,
        metavar="forbid|self|NUMBER",
        help="what a task on its own scores (default: 1 under members, forbid under partners)",
    )
    add("--no-overlap", action="store_true", help="every task is trained by one network only")
    add("--min-size", type=int, default=1, help="the fewest tasks of a network (default: 1)")
    add("--max-size", type=int, help="the most tasks of a network (default: no limit)")
    add(
        "--weight",
        type=_weight,
        action="append",
        default=[],
        metavar="TASK=NUMBER",
        help="how much a task matters, 1 if not given; may be repeated",
    )
    for name, what in (("must", "that are trained together"), ("cannot", "that no network trains")):
        add(
            f"--{name}-link",
            type=_pair,
            action="append",
            default=[],
            metavar="TASK,TASK",
            help=f"a pair of tasks {what}{' both' * (name == 'cannot')}; may be repeated",
        )
    add(
        "--risk",
        type=float,
        default=0.0,
        help="how many standard errors every affinity loses first (default: 0; needs a .npz that "
        "has them)",
    )
    add("--time-limit", type=float, metavar="SECONDS", help="then the best found, with its bound")
    add("--json", action="store_true", help="print JSON, which Grouping.from_dict reads")
    add("--out", metavar="FILE", help="also save the groups, for Grouping.load")
    select.set_defaults(run=_run)


def add_rows(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how a table is to be read."""
    parser.add_argument(
        "--rows",
        choices=("source", "target"),
        help="what a row of a table is: source (whose update) or target (whose loss). Needed for "
        "tables and JSON, which come either way; a .npz file knows it",
    )


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    affinity = read_affinity(options.affinity, options.rows)
    from keras_tag.selection import select_groups

    grouping = select_groups(
        affinity,
        options.budget,
        score=options.score,
        alone=options.alone,
        overlap=not options.no_overlap,
        min_size=options.min_size,
        max_size=options.max_size,
        weights=dict(options.weight) or None,
        must_link=options.must_link,
        cannot_link=options.cannot_link,
        risk=options.risk,
        time_limit=options.time_limit,
    )
    if options.out:
        grouping.save(options.out)
    if options.json:
        print(json.dumps(grouping.to_dict(), indent=2))
    else:
        print(grouping)
        print(f"({_LEGEND[grouping.score]})")
    return 0


# What the numbers behind the tasks are.
_LEGEND = {
    "members": "in brackets: the share of its own progress that the task keeps; alone it is 1",
    "partners": "in brackets: the mean affinity of the other members for the task",
}


def _alone(text: str) -> str | float:
    return text if text in ("forbid", "self") else float(text)


def _pair(text: str) -> tuple[str, str]:
    first, second = text.split(",")
    return first.strip(), second.strip()


def _weight(text: str) -> tuple[str, float]:
    task, number = text.rsplit("=", 1)
    return task.strip(), float(number)


# What argparse calls a value that can't be read: "invalid TASK,TASK value: ...".
_alone.__name__ = "forbid|self|NUMBER"
_pair.__name__ = "TASK,TASK"
_weight.__name__ = "TASK=NUMBER"
