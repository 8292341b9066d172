"""Summaries of a search as text. This module never imports TensorFlow."""

import textwrap
import time
from pathlib import Path

from keras_tag.search.ledger import Ledger
from keras_tag.search.proposals import Limits, Problem
from keras_tag.search.results import Results
from keras_tag.wording import counted


def search_space(problem: Problem, limits: Limits, results: Results | None = None) -> str:
    """Return what will be searched, and what that costs.

    Args:
        problem: What is searched for.
        limits: What it may cost.
        results: What is known already; with the joint run, time can be told.
    """
    count = len(problem.tasks)
    singles = count * problem.singles
    trainings = limits.trainings + singles
    cost = 1.0 + trainings
    if limits.max_cost is not None:
        cost = min(cost, limits.max_cost)
    lines = [
        "Search space",
        f"  Tasks: {count} ({', '.join(problem.tasks)})",
        f"  Networks that may be served: {problem.budget}",
        f"  Candidate groups: {2**count - 1:,}",
        f"  Trainings: the joint run, {f'{singles} lone tasks, ' * bool(singles)}at most "
        f"{counted(limits.trainings, 'group')}",
        f"  Expected cost: at most {cost:g} joint runs (a training that stops early costs less)",
    ]
    if limits.timeout is not None:
        lines.append(f"  No training begins after {duration(limits.timeout)} of training")
    if results is not None and results.joint is not None:
        left = max(cost - results.cost, 0.0)
        lines.append(
            f"  The joint run took {duration(results.joint.seconds)}; what is left takes about "
            f"{duration(left * results.joint.seconds)}"
        )
    return "\n".join(lines)


def results_text(results: Results) -> str:
    """Return what was found.

    Args:
        results: Of a search, finished or not.
    """
    import pandas as pd

    grouping, verdict = results.grouping(), results.verdict()
    tasks = pd.DataFrame(results.tasks()).set_index("task").rename_axis(None).drop(columns="group")
    tasks.insert(1, "objective", [results.problem.objectives[task].name for task in tasks.index])
    tasks.columns = ["network", "objective", "chosen", "joint run", "alone"]
    table = tasks.dropna(axis=1, how="all").to_string(float_format=number, na_rep="-")
    networks = [f"  {k}: {', '.join(group)}" for k, group in enumerate(grouping.groups)]
    return "\n".join(
        [
            f"Results: {counted(len(grouping.groups), 'network')} for "
            f"{len(results.problem.tasks)} tasks",
            *networks,
            "",
            textwrap.indent(table, "  "),
            "",
            str(verdict),
            *map(str, results.outlooks()),
            _cost(results),
            *_failures(results),
        ]
    )


def status_text(ledger: Ledger) -> str:
    """Return how far a search is, also while it runs in another process.

    Args:
        ledger: Of its folder.
    """
    results = Results.read(ledger)
    limits = Limits(**results.settings["limits"])
    lines = [f"Search in {ledger.folder}"]
    if results.outcomes:
        lines.append("  number  status   kind      epochs  seconds  group")
    for o in results.outcomes:
        epochs, seconds = str(o.epochs), f"{o.seconds:.1f}"
        if o.status == "running":
            epochs, seconds = _epochs_so_far(ledger.folder_of(o.number) / "history.csv"), ""
        lines.append(
            f"  {o.number:6}  {o.status:7}  {o.kind:8}  {epochs:>6}  {seconds:>7}  "
            + ", ".join(o.group)
        )
    trained = sum(o.kind == "searched" and o.ended for o in results.outcomes)
    lines.append(f"  {trained} of at most {counted(limits.trainings, 'group')} trained")
    totals = [best for _, best in results.totals() if best is not None] if results.joint else []
    if totals:
        lines.append(f"  Best total so far: {number(totals[-1])} (first: {number(totals[0])})")
    lines.append(_cost(results))
    lines += map(str, results.outlooks()[-1:])
    return "\n".join([*lines, *_failures(results)])


def duration(seconds: float) -> str:
    """Return a time for people.

    Args:
        seconds: How long.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def number(value: float | None) -> str:
    """Return a number for a table.

    Args:
        value: The number, or None.
    """
    return "-" if value is None else f"{value:.4f}"


def _cost(results: Results) -> str:
    trainings = counted(len(results.ended), "training")
    text = f"Cost: {results.cost:.1f} joint runs in {trainings}, {duration(results.seconds)}"
    try:
        return f"{text}; {results.parameters():,} parameters at serving"
    except ValueError:
        return text


def _failures(results: Results) -> list[str]:
    return [
        f"Failed: {', '.join(o.group)} ({o.error})"
        for o in results.outcomes
        if o.status == "failed"
    ]


def _epochs_so_far(file: Path) -> str:
    try:
        age = time.time() - file.stat().st_mtime
        epochs = len(file.read_text("utf-8").splitlines()) - 1
    except OSError:
        return "0"
    return f"{epochs}" if age < 60 else f"{epochs} ({duration(age)} ago)"
