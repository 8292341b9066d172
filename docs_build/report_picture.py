"""The picture of the README and the home page, from the folder of a search.

keras-tag demo
python docs_build/report_picture.py keras-tag-demo docs/report.png
"""

import dataclasses
import sys
from pathlib import Path

from matplotlib.figure import Figure

from keras_tag.plotting import plot_affinity, plot_groups
from keras_tag.search.ledger import Ledger
from keras_tag.search.results import Results


def draw(folder: str, path: str) -> None:
    """Draw what a search measured, and the networks that it chose."""
    results = Results.read(Ledger(Path(folder)))
    reached = {row.task: row.reached for row in results.tasks()}
    grouping = dataclasses.replace(results.grouping(), task_scores=reached)
    assert results.affinity is not None
    figure = Figure((12, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(6, 5))
    plot_affinity(results.affinity, left)
    plot_groups(grouping, right)
    left.set_title("affinity: how much a step for one task helps another")
    right.set_title("the networks chosen, and their validation losses", pad=30)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    draw(*sys.argv[1:])
