"""The command `keras-tag plot`: pictures of saved affinities and groups."""

import argparse
import json
import os
from typing import TYPE_CHECKING

from keras_tag.affinity.text_files import read_affinity
from keras_tag.command.select import add_rows
from keras_tag.selection.grouping import Grouping

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KINDS = ("affinity", "dynamics", "stability", "curve", "groups")
_EPILOG = """\
Kinds:
  affinity   a heatmap: rows sources (whose update), columns targets (whose loss)
  dynamics   how affinities change from epoch to epoch; needs a .npz with a history
  stability  how sure the choice of groups is; needs --budget and standard errors
  curve      what every further network buys; --budget is the largest one
  groups     who trains with whom: of a groups.json, or selected with --budget

Exit codes: 0 the picture was written, 1 it was not, and the reason is on
standard error, 2 arguments that can't be used, 130 interrupted.

Examples:
  keras-tag plot affinity.npz --out affinity.png
  keras-tag plot groups.json --out groups.svg
  keras-tag plot affinity.npz --kind curve --budget 6 --out curve.pdf
"""


def add_plot(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `plot` to the commands of a parser."""
    plot = commands.add_parser(
        "plot",
        help="a picture of affinities or groups",
        description="Draws a file of affinities, or of groups, to a picture.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = plot.add_argument
    add("file", metavar="FILE", help="affinities (.npz, .json, a table) or groups (.json)")
    add("--out", required=True, metavar="FILE", help="the picture: .png, .svg, .pdf, ...")
    add("--kind", choices=_KINDS, help="what to draw (default: affinity, or groups for groups)")
    add_rows(plot)
    add("--errors", action="store_true", help="affinity: with standard errors and counts")
    add("--target", metavar="TASK", help="dynamics: only what is done to this task")
    add("--budget", type=float, help="stability, curve, groups: how many networks")
    add(
        "--score",
        choices=("members", "partners"),
        default="members",
        help="stability, curve, groups: as for select (default: %(default)s)",
    )
    add("--dpi", type=int, default=150, help="dots per inch (default: %(default)s)")
    plot.set_defaults(run=_run)


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if options.kind in ("stability", "curve") and options.budget is None:
        parser.error(f"plot --kind {options.kind} needs --budget")
    # No window is opened on a machine that has a display.
    import matplotlib as mpl

    mpl.use("agg")
    grouping = _read_grouping(options.file)
    axes = _draw_groups(options, grouping) if grouping else _draw_affinity(options)
    axes.figure.savefig(options.out, dpi=options.dpi)  # type: ignore[union-attr]
    print(f"wrote {options.out}")
    return 0


def _read_grouping(path: str) -> Grouping | None:
    """Return the groups that a file holds; None if it holds something else."""
    if os.path.splitext(path)[1].lower() != ".json":
        return None
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = json.load(file)
    except (ValueError, RecursionError):
        return None  # `read_affinity` says what is wrong with it.
    if not isinstance(content, dict) or content.get("format") != "keras_tag.Grouping":
        return None
    return Grouping.from_dict(content)


def _draw_groups(options: argparse.Namespace, grouping: Grouping) -> "Axes":
    from keras_tag.plotting import plot_groups

    if options.kind not in (None, "groups"):
        raise ValueError(
            f"Expected a file of affinities for --kind {options.kind}. Received: {options.file!r}, "
            "which holds groups."
        )
    return plot_groups(grouping)


def _draw_affinity(options: argparse.Namespace) -> "Axes":
    from keras_tag import plotting
    from keras_tag.resampling import stability
    from keras_tag.selection import budget_curve, select_groups

    affinity = read_affinity(options.file, options.rows)
    match options.kind:
        case "dynamics":
            return plotting.plot_dynamics(affinity, options.target)
        case "stability":
            return plotting.plot_stability(stability(affinity, options.budget, score=options.score))
        case "curve":
            budgets = range(1, int(options.budget) + 1)
            return plotting.plot_budget_curve(budget_curve(affinity, budgets, score=options.score))
        case "groups" if options.budget is None:
            raise ValueError(
                f"Expected --budget to select groups from {options.file!r}, or a file of groups."
            )
        case "groups":
            return plotting.plot_groups(
                select_groups(affinity, options.budget, score=options.score)
            )
    return plotting.plot_affinity(affinity, errors=options.errors, counts=options.errors)
