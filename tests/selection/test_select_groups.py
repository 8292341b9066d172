import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from selection_oracles import best_of_all_sets_of_groups, score_table

from keras_tag.affinity import Affinity
from keras_tag.selection import select_groups

TABLES = Path(__file__).parents[1] / "reference_tables"
NAMES = ["ant", "bee", "cat", "dog", "elk", "fox"]


def affinity_of(z):
    return Affinity.from_array(z, NAMES[: len(z)], rows="source")


def random_matrix(rng, n):
    kind = rng.choice(["uniform", "small integers", "constant", "zero", "mixed scale", "negative"])
    if kind == "uniform":
        z = rng.normal(size=(n, n))
    elif kind == "small integers":
        z = rng.integers(-2, 3, size=(n, n)).astype(float)
    elif kind == "constant":
        z = np.full((n, n), 0.5)
    elif kind == "zero":
        z = np.zeros((n, n))
    elif kind == "mixed scale":
        z = rng.normal(size=(n, n)) * 10.0 ** rng.integers(-2, 3, size=n)
    else:
        z = -np.abs(rng.normal(size=(n, n)))
    z[np.diag_indices(n)] = rng.choice([0.25, 0.5, 1.0, 2.0], size=n)
    return z


def random_alone(rng, z):
    n = len(z)
    kind = rng.choice(["default", "forbid", "number", "self", "mapping"])
    if kind == "default":
        return None
    if kind == "number":
        return float(rng.integers(-2, 3))
    if kind == "mapping":
        return {NAMES[j]: 0.25 * j if j % 2 else "forbid" for j in range(n)}
    return str(kind)


def lone_values(alone, score, z):
    values = []
    for j in range(len(z)):
        value = alone[NAMES[j]] if isinstance(alone, dict) else alone
        if value is None:
            value = "forbid" if score == "partners" else 1.0
        if value == "forbid":
            value = None
        elif value == "self":
            value = z[j][j]
        values.append(value)
    return values


def check_consistent(grouping, table, budget):
    """The grouping is what it says: serves, scores and objective agree with the score table."""
    tasks = NAMES[: table.shape[1]]
    assert len(grouping.groups) <= budget
    assert set(grouping.serves) == set(tasks)
    total = 0.0
    for task, index in grouping.serves.items():
        mask = sum(1 << tasks.index(name) for name in grouping.groups[index])
        score = table[mask, tasks.index(task)]
        assert grouping.task_scores[task] == pytest.approx(score, rel=1e-12, abs=1e-12)
        total += score
    assert grouping.objective == pytest.approx(total, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_equals_brute_force_over_all_sets_of_groups(seed):
    rng = np.random.default_rng(seed)
    for _ in range(45):
        n, budget = int(rng.integers(2, 7)), int(rng.integers(1, 5))
        if n == 6 and budget == 4:
            # 600,000 sets each: a few of these are enough.
            n = int(rng.choice([5, 5, 5, 6]))
        score = str(rng.choice(["members", "partners"]))
        z = random_matrix(rng, n)
        alone = random_alone(rng, z)
        table = score_table(z, score, lone_values(alone, score, z))
        expected = best_of_all_sets_of_groups(table, budget)
        grouping = select_groups(affinity_of(z), budget, score=score, alone=alone)
        case = (n, budget, score, alone, z.tolist())
        assert grouping.status == "optimal", case
        assert grouping.objective == pytest.approx(expected[0], rel=1e-11, abs=1e-11), case
        assert grouping.bound == grouping.objective, case
        check_consistent(grouping, table, budget)
        size = sum(map(len, grouping.groups))
        assert (len(grouping.groups), size) == expected[1:], case


@pytest.mark.parametrize(
    ("budget", "published"), [(1, -962.149), (2, -894.976), (3, -831.946), (4, -781.914)]
)
def test_celeba_table_gives_the_published_sums(budget, published):
    table = json.loads((TABLES / "celeba_tag_affinity.json").read_text("utf-8"))
    # A row of the published table is whose loss it was, a column whose update.
    affinity = Affinity.from_array(table["matrix"], table["tasks"], rows=table["rows"])
    grouping = select_groups(affinity, budget, score="partners", alone="forbid")
    assert grouping.status == "optimal"
    assert grouping.objective == pytest.approx(published, abs=5e-4)
    assert grouping == select_groups(affinity, budget, score="partners")


def test_lone_task_scores_one_under_members_and_is_forbidden_under_partners():
    z = np.full((3, 3), -1.0) + 2.0 * np.eye(3)
    alone = select_groups(affinity_of(z), 3)
    assert alone.groups == (("ant",), ("bee",), ("cat",))
    assert alone.objective == 3.0
    assert all(
        len(group) > 1 for group in select_groups(affinity_of(z), 3, score="partners").groups
    )


def test_answer_does_not_depend_on_the_order_of_the_tasks():
    rng = np.random.default_rng(5)
    for _ in range(10):
        z = rng.integers(-1, 2, size=(6, 6)) + 3.0 * np.eye(6)
        affinity = affinity_of(z)
        expected = select_groups(affinity, 3)
        order = rng.permutation(6)
        shuffled = Affinity.from_array(
            z[np.ix_(order, order)], [NAMES[i] for i in order], rows="source"
        )
        assert select_groups(shuffled, 3) == expected


def test_budget_above_the_number_of_tasks_is_fine():
    affinity = affinity_of(np.eye(3))
    assert select_groups(affinity, 99) == select_groups(affinity, 3)


@pytest.mark.parametrize("budget", [0, -1, 1.5, "2", None, True])
def test_budget_must_be_a_whole_number_of_networks(budget):
    with pytest.raises(ValueError, match=r"Expected `budget`.*Received: budget="):
        select_groups(affinity_of(np.eye(3)), budget)


def test_an_array_is_refused_because_it_does_not_say_its_orientation():
    with pytest.raises(TypeError, match=r"Affinity\.from_array"):
        select_groups(np.eye(3), 2)


def test_one_task_is_refused():
    with pytest.raises(ValueError, match="at least two tasks"):
        select_groups(affinity_of(np.eye(1)), 1)


def test_unmeasured_pairs_are_listed():
    z = np.eye(3)
    z[0, 2] = np.nan
    with pytest.raises(ValueError, match=re.escape("[('ant', 'cat')]")):
        select_groups(affinity_of(z), 2)


def test_partners_does_not_need_the_diagonal():
    z = np.ones((3, 3))
    z[np.diag_indices(3)] = np.nan
    assert select_groups(affinity_of(z), 2, score="partners").objective == 3.0
    with pytest.raises(ValueError, match=r"ant.*never measured"):
        select_groups(affinity_of(z), 2, score="partners", alone="self")


@pytest.mark.parametrize("entry", [0.0, -0.5])
def test_members_names_the_task_whose_diagonal_is_not_positive(entry):
    z = np.eye(3)
    z[1, 1] = entry
    with pytest.raises(ValueError, match=r"'bee'.*score='partners'"):
        select_groups(affinity_of(z), 2)


@pytest.mark.parametrize("alone", ["maybe", np.nan, np.inf, [1], True, {"ant": "maybe"}])
def test_unknown_alone_is_refused(alone):
    with pytest.raises(ValueError, match="Expected `alone`"):
        select_groups(affinity_of(np.eye(3)), 2, alone=alone)


def test_alone_for_unknown_tasks_is_refused():
    with pytest.raises(ValueError, match="yak"):
        select_groups(affinity_of(np.eye(3)), 2, alone={"yak": 1.0})


def test_unknown_score_is_refused():
    with pytest.raises(ValueError, match="Expected `score`"):
        select_groups(affinity_of(np.eye(3)), 2, score="friends")


def test_selection_never_imports_tensorflow_and_loads_fast():
    code = (
        "import sys; import keras_tag.selection as s; from keras_tag.affinity import Affinity; "
        "heavy = {'ortools', 'pandas', 'matplotlib', 'scipy', 'numba', 'sklearn'}; "
        "print(heavy & {*sys.modules}); "
        "import numpy; a = Affinity.from_array(numpy.eye(4), list('abcd'), rows='source'); "
        "s.select_groups(a, 2); print({'tensorflow', 'keras'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n") == ["set()", "set()", ""]


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"settings": {"lookahead_rate": 0.1, "learning_rate": 0.5}}, "at lookahead_rate=0.1. A"),
        (
            {"settings": {"lookahead_rate": None, "learning_rate": 0.5, "optimizer": "adam"}},
            "at the learning rate of 'adam', 0.5. A",
        ),
        (
            {"settings": {"rate": 0.25, "learning_rate": 0.5, "optimizer": "adam"}},
            "at the rate 0.25, as long as a step at the learning rate of 'adam', 0.5. A",
        ),
        (
            {"runs": [{"settings": {"lookahead_rate": rate}} for rate in (0.1, 0.2, 0.1)]},
            "at lookahead_rate=0.1 and lookahead_rate=0.2. A",
        ),
        ({"seed": 1}, "the diagonal entries {'b': -0.5}. A"),
        ({}, "the diagonal entries {'b': -0.5}. A"),
    ],
    ids=str,
)
def test_a_step_that_harms_its_own_task_is_named_with_its_rate_and_a_way_out(metadata, said):
    affinity = Affinity.from_array([[1.0, 0.1], [0.1, -0.5]], ["a", "b"], rows="source")
    with pytest.raises(ValueError, match="smaller `lookahead_rate` in TAGModel") as refused:
        select_groups(replace(affinity, metadata=metadata), 2)
    assert said in str(refused.value)
    assert select_groups(affinity, 2, score="partners").groups == (("a", "b"),)
