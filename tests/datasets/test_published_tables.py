import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from keras_tag.datasets import published
from keras_tag.datasets.published_tables import TABLES
from keras_tag.selection import select_groups

REFERENCE = Path(__file__).parents[1] / "reference_tables"


def quietly(name, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return published(name, **kwargs)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_says_where_it_is_from_and_holds_one_kind_of_numbers(name):
    table = quietly(name)
    assert (table.affinity is None) != (table.scores is None)
    assert re.search(r"arXiv:\d{4}\.\d{5}", table.citation["paper"])
    assert re.fullmatch("[0-9a-f]{40}", table.citation["commit"])
    assert table.orientation
    for text in (table.quantity, table.citation["path"], table.citation["commit"]):
        assert text in repr(table)


def test_celeba_is_turned_so_that_rows_are_sources():
    printed = json.loads((REFERENCE / "celeba_tag_affinity.json").read_text("utf-8"))
    table = published("celeba_tag")
    assert table.rows == "target"
    np.testing.assert_array_equal(table.affinity.mean, np.transpose(printed["matrix"]))
    assert table.affinity.tasks == tuple(printed["tasks"])
    # What betrays the orientation: a momentum term that depends on whose loss it is (the column).
    off = np.where(np.eye(9, dtype=bool), np.nan, table.affinity.mean)
    assert np.nanstd(off, axis=0).mean() < np.nanstd(off, axis=1).mean() / 2


def test_taskonomy_warns_of_its_orientation_and_names_both_readings():
    with pytest.warns(UserWarning, match="doubtful") as caught:
        table = published("taskonomy_tag")
    message = str(caught[0].message)
    assert 'rows="target"' in message
    assert 'rows="source"' in message
    assert table.doubt in repr(table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_target = published("taskonomy_tag", rows="target")
        as_source = published("taskonomy_tag", rows="source")
    np.testing.assert_array_equal(table.affinity.mean, as_target.affinity.mean)
    np.testing.assert_array_equal(as_source.affinity.mean, as_target.affinity.mean.T)


def test_the_doubt_is_what_the_numbers_say():
    """To first order Z[i, j] / Z[j, i] = L_i / L_j; the losses are in the other table."""
    losses = {
        entry.tasks[0]: entry.scores[entry.tasks[0]]
        for entry in published("taskonomy_standley").scores.entries
        if len(entry.tasks) == 1 and entry.cost == 1
    }
    agreeing = {}
    for rows in ("target", "source"):
        z = published("taskonomy_tag", rows=rows).affinity
        pairs = [(i, j) for i in range(5) for j in range(i)]
        agreeing[rows] = sum(
            (z.mean[i, j] > z.mean[j, i]) == (losses[z.tasks[i]] > losses[z.tasks[j]])
            for i, j in pairs
        )
    assert agreeing == {"target": 1, "source": 9}


def test_standley_gives_the_published_losses_of_the_best_networks():
    table = published("taskonomy_standley")
    assert len(table.scores.entries) == 31 + 5
    assert select_groups(table.scores, 1).objective == pytest.approx(0.50761, abs=5e-6)
    assert select_groups(table.scores, 1.5).objective == pytest.approx(0.46630, abs=5e-6)
    assert select_groups(table.scores, 2).objective == pytest.approx(0.45686, abs=5e-6)


def test_celeba_pairs_are_of_the_task_that_was_measured():
    entries = {e.tasks: e.scores for e in published("celeba_pairs").scores.entries}
    assert len(entries) == 9 + 36
    # An attribute's accuracy is nearly the same in every company, and differs between attributes.
    hat = [scores["Wearing_Hat"] for scores in entries.values() if "Wearing_Hat" in scores]
    brown = [scores["Brown_Hair"] for scores in entries.values() if "Brown_Hair" in scores]
    assert len(hat) == len(brown) == 9
    assert min(hat) > 98.5
    assert max(brown) < 84.5


def test_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"one of \['celeba_cosine'.*name='celeba'"):
        published("celeba")
    with pytest.raises(ValueError, match="measured groups"):
        published("taskonomy_standley", rows="source")
    with pytest.raises(ValueError, match="rows='up'"):
        published("celeba_tag", rows="up")


def test_tables_and_the_module_never_import_tensorflow():
    code = (
        "import sys; from keras_tag.datasets import published; published('celeba_tag'); "
        "assert not {'tensorflow', 'keras', 'tensorflow_datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
