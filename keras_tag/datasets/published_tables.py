"""Published tables of affinities and group losses, with their sources and orientations."""

import json
import warnings
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from keras_tag.affinity import Affinity
from keras_tag.selection import GroupScores

_FOLDER = resources.files("keras_tag.datasets") / "tables"
TABLES = sorted(file.name.removesuffix(".json") for file in _FOLDER.iterdir())


@dataclass(frozen=True, eq=False, repr=False)
class PublishedTable:
    """A table from a paper, with its source.

    Args:
        name: See `published`.
        tasks: The task names.
        affinity: The `Affinity`, rows = source whatever the orientation in print; None if the
            table holds measured groups.
        scores: The `GroupScores`, for `select_groups`; None if the table is an affinity.
        quantity: What was measured, and its unit.
        orientation: What a row and a column of the printed table are.
        rows: How the printed table was read: "source" or "target"; None if it holds groups.
        doubt: Why the orientation may be wrong; None if it is certain.
        citation: "paper", "repository", "path", "commit" and "licence".
    """

    name: str
    tasks: tuple[str, ...]
    affinity: Affinity | None
    scores: GroupScores | None
    quantity: str
    orientation: str
    rows: str | None
    doubt: str | None
    citation: dict[str, str]

    def __repr__(self) -> str:
        lines = [
            f"PublishedTable {self.name!r}: {len(self.tasks)} tasks",
            f"  what: {self.quantity}",
            f"  orientation: {self.orientation}",
            *([f"  DOUBT: {self.doubt}"] if self.doubt else []),
            f"  from: {self.citation['paper']}",
            f"        {self.citation['repository']}, {self.citation['path']} "
            f"@ {self.citation['commit']}",
        ]
        return "\n".join(lines)


def published(name: str, *, rows: Literal["source", "target"] | None = None) -> PublishedTable:
    """Load a published table, to select groups without training anything.

    - "celeba_tag": TAG's affinity of the nine CelebA attributes.
    - "celeba_cosine": the cosine similarity of their gradients.
    - "celeba_pairs": the validation accuracy of every single attribute and of every pair.
    - "taskonomy_tag": TAG's affinity of five Taskonomy tasks; its orientation is doubtful.
    - "taskonomy_standley": the loss of every one of the 31 groups of these tasks, and of half-size
      single networks at half the cost; validation split.
    - "taskonomy_standley_test": the same, test split.

    Args:
        name: One of the above.
        rows: How to read a printed affinity: a row is the task whose update it was ("source") or
            the task whose loss was measured ("target"). None: as the paper's selection code does.

    Returns:
        A `PublishedTable` with an `affinity` (always rows = source) or measured `scores`.

    Raises:
        ValueError: An unknown name; `rows` for a table that is no affinity; another `rows`.

    Warns:
        UserWarning: The orientation of the table is doubtful, and `rows` was not given.

    Example:
        >>> table = keras_tag.datasets.published("celeba_tag")
        >>> keras_tag.select_groups(table.affinity, budget=3, score="partners")

    Reference:
        Fifty et al., NeurIPS 2021, arXiv:2109.04617; Standley et al., ICML 2020, arXiv:1905.07553.
    """
    if name not in TABLES:
        raise ValueError(f"Expected `name` to be one of {TABLES}. Received: name={name!r}.")
    table: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))
    affinity, scores = None, None
    if table["kind"] == "affinity":
        if table["doubt"] and rows is None:
            warnings.warn(
                f"The orientation of the published table {name!r} is doubtful. "
                f"{table['orientation']} {table['doubt']} It is now read as "
                f'rows="{table["rows"]}". Choose a reading with published({name!r}, '
                'rows="target") or published(..., rows="source"), and look at both.',
                UserWarning,
                stacklevel=2,
            )
        rows = rows or table["rows"]
        affinity = Affinity.from_array(table["matrix"], table["tasks"], rows=rows)
    elif rows is not None:
        raise ValueError(
            f"Expected no `rows` for {name!r}, which holds measured groups. Received: "
            f"rows={rows!r}."
        )
    else:
        groups = [(tuple(e["tasks"]), e["values"], e["cost"]) for e in table["groups"]]
        scores = GroupScores(groups, sense=table["sense"])
    return PublishedTable(
        name=name,
        tasks=tuple(table["tasks"]),
        affinity=affinity,
        scores=scores,
        rows=rows,
        **{key: table[key] for key in ("quantity", "orientation", "doubt", "citation")},
    )
