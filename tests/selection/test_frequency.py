"""The frequency of groups among resampled affinities: said, stored, and warned about if low."""

import itertools
import json
import re
import subprocess
import sys
import warnings
from dataclasses import replace

import keras
import numpy as np
import pytest
from uncertain_affinity import affinity_of, random_affinity

import keras_tag
from keras_tag import Affinity, Grouping, budget_curve, select_groups, stability
from keras_tag.affinity.history import HistoryRecorder
from keras_tag.selection.arguments.choice import Choice
from keras_tag.selection.draws import DrawnChoice
from keras_tag.selection.problem import build_problem

TASKS = ("a", "b", "c", "d")
# Two pairs of tasks that help each other, and nothing else does.
CLEAR = np.kron(np.eye(2), np.full((2, 2), 0.8)) + 0.2 * np.eye(4)


def warned():
    return pytest.warns(keras_tag.UncertainGroupsWarning)


def quiet(call, *args, **kwargs):
    """Call; a warning that the groups are uncertain is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call(*args, **kwargs)


def probed(mean, noise, probes, seed=0):
    """What so many probes of a mean would have measured, all in one epoch."""
    rng, recorder = np.random.default_rng(seed), HistoryRecorder(len(mean))
    recorder.begin_epoch(0)
    for _ in range(probes):
        z = mean + rng.normal(0, noise, mean.shape)
        recorder.add(z, np.ones(mean.shape, int))
    recorder.end_epoch()
    return Affinity.from_history(TASKS[: len(mean)], recorder.history())


def best_by_brute_force(matrix, budget, score):
    """The best value over all ways to serve every task by one of at most `budget` groups."""
    n = len(matrix)
    groups = [g for k in range(1, n + 1) for g in itertools.combinations(range(n), k)]

    def worth(group, j):
        if len(group) == 1:
            return 1.0 if score == "members" else -np.inf
        if score == "members":
            return np.mean([matrix[i, j] / matrix[j, j] for i in group])
        return np.mean([matrix[i, j] for i in group if i != j])

    def value(chosen):
        return sum(max((worth(g, j) for g in chosen if j in g), default=-np.inf) for j in range(n))

    return max(value(chosen) for chosen in itertools.combinations(groups, budget))


def value_of(grouping, matrix, tasks, score):
    """The value of a grouping whose networks have the helpers that are best for them."""
    place = {task: i for i, task in enumerate(tasks)}

    def worth(group, j):
        others = [i for i in group if i != j]
        if score == "members":
            return np.mean([matrix[i, j] / matrix[j, j] for i in group]) if others else 1.0
        return np.mean([matrix[i, j] for i in others]) if others else -np.inf

    total = 0.0
    for network in range(len(grouping.groups)):
        served = {place[task] for task in grouping.served(network)}
        rest = set(place.values()) - served
        helpers = [h for k in range(len(rest) + 1) for h in itertools.combinations(rest, k)]
        total += max(sum(worth({*served, *more}, j) for j in served) for more in helpers)
    return total


@pytest.mark.parametrize("score", ["members", "partners"])
@pytest.mark.parametrize("error", [0.02, 0.2])
def test_it_is_the_share_of_draws_that_no_other_groups_win(score, error):
    affinity = random_affinity(4, seed=1, error=error)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", keras_tag.UncertainGroupsWarning)
        grouping = select_groups(affinity, 2, score=score)
    draws = affinity.mean + affinity.errors.draw(200, np.random.default_rng(0))
    same = 0
    for draw in draws:
        if score == "partners" or (np.diagonal(draw) > 0).all():
            mine = value_of(grouping, draw, affinity.tasks, score)
            same += mine >= best_by_brute_force(draw, 2, score) - 1e-12
    assert grouping.replicates == 200
    assert grouping.frequency == same / 200
    assert f"same groups in {same / 200:.0%} of 200 resampled affinities" in str(grouping)


def test_stability_says_the_same_of_the_same_draws():
    affinity = random_affinity(5, seed=6, error=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", keras_tag.UncertainGroupsWarning)
        grouping = select_groups(affinity, 3)
    found = quiet(stability, affinity, 3, replicates=200, seed=0)
    assert grouping.frequency == found.grouping.frequency
    # The very same groups, with their helpers, are rarer.
    assert 0 < found.frequency < grouping.frequency
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", keras_tag.UncertainGroupsWarning)
        without_helpers = select_groups(affinity, 3, overlap=False)
    assert without_helpers.frequency == stability(affinity, 3, overlap=False).frequency


def test_an_indifferent_helper_does_not_make_groups_uncertain():
    mean = CLEAR.copy()
    mean[2, :2] = 0.9  # What a and b have of each other, so that c changes nothing for them.
    affinity = affinity_of(mean, 0.01, TASKS)
    # With and without room in the budget for the helper.
    for costs in (None, {1: 1, 2: 1, 3: 1.5, 4: 2}):
        grouping = quiet(select_groups, affinity, 2, costs=costs)
        assert set(map(grouping.served, range(2))) == {("a", "b"), ("c", "d")}
        assert grouping.frequency == 1.0
    assert quiet(stability, affinity, 2).frequency < 0.6


def test_helpers_count_where_the_budget_has_no_room_for_others():
    affinity, costs = random_affinity(5, seed=5), {1: 0, 2: 1, 3: 1.5, 4: 2, 5: 2}
    asked = Choice(costs=costs)
    judge = DrawnChoice(build_problem(affinity, asked)[0], asked, 3)
    scores = judge.scores(affinity.mean)
    chosen, best = next(judge.choose([scores]))
    assert judge.value_served(scores, chosen) == pytest.approx(best)


def test_it_depends_neither_on_the_order_of_the_tasks_nor_on_the_call():
    affinity = random_affinity(5, seed=0, error=0.02)
    turned = affinity.subset(affinity.tasks[::-1])
    first, again, other = (select_groups(each, 2) for each in (affinity, affinity, turned))
    assert first.frequency == again.frequency == other.frequency
    assert first == other


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"overlap": False},
        {"max_size": 3, "min_size": 2},
        {"must_link": [("t00", "t03")], "cannot_link": [("t01", "t02")]},
        {"costs": {1: 1, 2: 1.5, 3: 2, 4: 2, 5: 3}},
        {"costs": {1: 0, 2: 1, 3: 1, 4: 1, 5: 2}},
        {"costs": lambda group: 1 + ("t01" in group)},
        {"weights": {"t00": 0.0, "t04": 2.0}, "score": "partners", "alone": 0.1},
    ],
    ids=lambda choice: "-".join(choice),
)
def test_every_draw_is_worth_what_select_groups_finds(choice):
    affinity, asked = random_affinity(5, seed=5), Choice(**choice)
    judge = DrawnChoice(build_problem(affinity, asked)[0], asked, 3)
    draws = affinity.mean + affinity.errors.draw(5, np.random.default_rng(1))
    values = judge.values([judge.scores(draw) for draw in draws])
    for draw, value in zip(draws, values, strict=True):
        table = Affinity.from_array(draw, affinity.tasks, rows="source")
        assert value == pytest.approx(select_groups(table, 3, **choice).objective, rel=1e-9)


def test_clear_groups_are_not_warned_about():
    grouping = quiet(select_groups, affinity_of(CLEAR, 0.01, TASKS), 2)
    assert grouping.groups == (("a", "b"), ("c", "d"))
    assert grouping.frequency == 1.0
    assert "optimal for these affinities; the same groups in 100% of 200" in str(grouping)


@pytest.mark.parametrize("score", ["members", "partners"])
def test_noise_is_warned_about(score):
    noise = affinity_of(np.full((4, 4), 0.1) + 0.2 * np.eye(4), 0.05, TASKS)
    with warned() as said:
        grouping = select_groups(noise, 2, score=score)
    assert grouping.frequency < 0.5
    assert f"{grouping.frequency:.0%} of 200" in str(said[0].message)
    assert said[0].filename == __file__


def test_a_table_is_not_warned_about_and_said_to_be_optimal_for_its_numbers():
    table = Affinity.from_array(CLEAR, TASKS, rows="source")
    grouping = quiet(select_groups, table, 2)
    assert np.isnan(grouping.frequency)
    assert grouping.replicates is None
    assert "(optimal for these affinities)" in str(grouping)


@pytest.mark.parametrize("probes", [1, 2, 7])
def test_probes_too_few_for_errors_are_warned_about(probes):
    with warned() as said:
        grouping = select_groups(probed(CLEAR, 0.01, probes), 2)
    times = "1 time" if probes == 1 else f"{probes} times"
    assert f"measured {times}, and it takes at least 8 probes" in str(said[0].message)
    assert grouping.replicates is None


def test_enough_probes_of_a_clear_structure_are_not_warned_about():
    assert quiet(select_groups, probed(CLEAR, 0.05, 40), 2).frequency == 1.0


def test_partners_do_not_need_the_errors_of_the_diagonal():
    affinity = affinity_of(CLEAR, 0.01, TASKS)
    error = affinity.standard_error.copy()
    np.fill_diagonal(error, np.nan)
    affinity = replace(affinity, errors=replace(affinity.errors, standard_error=error))
    assert quiet(select_groups, affinity, 2, score="partners").frequency == 1.0
    with warned():
        select_groups(affinity, 2, score="members")


def test_several_runs_that_agree_are_not_warned_about_and_runs_that_differ_are():
    def runs(mean):
        rng = np.random.default_rng(0)
        tables = [mean + rng.normal(0, 0.02, (4, 4)) for _ in range(4)]
        return [Affinity.from_array(table, TASKS, rows="source") for table in tables]

    assert quiet(select_groups, Affinity.combine(runs(CLEAR)), 2).frequency > 0.9
    with warned():
        alike = np.full((4, 4), 0.1)
        grouping = select_groups(Affinity.combine(runs(alike)), 2, score="partners")
    assert grouping.frequency < 0.5


def test_pairs_of_a_single_run_are_named_by_their_runs():
    whole = Affinity.from_array(CLEAR, TASKS, rows="source")
    with warned() as said:
        select_groups(Affinity.combine([whole, whole.subset(["a", "b"])]), 2)
    assert "takes at least two runs" in str(said[0].message)


@pytest.mark.slow
def test_more_than_fifteen_tasks_are_not_resampled_and_that_is_said():
    mean = np.kron(np.eye(8), np.full((2, 2), 0.8)) + 0.2 * np.eye(16)
    grouping = quiet(select_groups, affinity_of(mean, 0.01), 8)
    assert grouping.replicates == 0
    assert np.isnan(grouping.frequency)
    assert "(optimal for these affinities; not resampled)" in str(grouping)


def test_a_curve_says_it_of_every_budget():
    # With one network more than pairs, chance says which pair is split.
    three_pairs = np.kron(np.eye(3), np.full((2, 2), 0.8)) + 0.2 * np.eye(6)
    affinity = affinity_of(three_pairs, 0.03)
    with warned() as said:
        curve = budget_curve(affinity, [3, 4])
    assert [warning.message.args[0].count("networks in") for warning in said] == [1]
    assert "4 networks in" in str(said[0].message)
    assert curve[3].frequency == 1.0
    with warned():
        assert curve[4].frequency == select_groups(affinity, 4).frequency < 0.5


def test_it_is_saved_and_files_of_before_are_read(tmp_path):
    grouping = select_groups(affinity_of(CLEAR, 0.01, TASKS), 2)
    grouping.save(tmp_path / "groups.json")
    again = Grouping.load(tmp_path / "groups.json")
    assert (again.frequency, again.replicates) == (1.0, 200)
    assert str(again) == str(grouping)
    old = {k: v for k, v in grouping.to_dict().items() if k not in ("frequency", "replicates")}
    assert Grouping.from_dict(old).replicates is None
    with pytest.raises(ValueError, match="replicates"):
        Grouping.from_dict({**old, "frequency": 0.5, "replicates": "many"})


def test_measured_groups_and_functions_have_none():
    affinity = affinity_of(CLEAR, 0.5, TASKS)
    by_function = quiet(select_groups, affinity, 2, score=lambda group, task: float(len(group)))
    assert by_function.replicates is None
    assert "(optimal for these scores)" in str(by_function)
    measured = keras_tag.GroupScores({("a",): {"a": 1.0}, ("b",): {"b": 1.0}})
    assert "(optimal for these measurements)" in str(quiet(select_groups, measured, 2))


def test_two_probes_on_random_labels_are_warned_about():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8)).astype("float32")
    y = {task: rng.normal(size=(64, 1)).astype("float32") for task in TASKS}
    inputs = keras.Input((8,))
    trunk = keras.layers.Dense(8)(inputs)
    outputs = {task: keras.layers.Dense(1, name=task)(trunk) for task in y}
    tag = keras_tag.TAGModel(keras.Model(inputs, outputs), every=1)
    tag.compile("sgd", loss="mse")
    tag.fit(x, y, verbose=0)
    with warned():
        select_groups(tag.affinity(), 2)


def test_the_command_prints_it_on_standard_error(tmp_path):
    probed(CLEAR, 0.01, 3).save(tmp_path / "affinity.npz")
    run = subprocess.run(
        [sys.executable, "-m", "keras_tag", "select", "affinity.npz", "--budget", "2", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert run.returncode == 0
    assert Grouping.from_dict(json.loads(run.stdout)).groups == (("a", "b"), ("c", "d"))
    assert re.fullmatch(r"keras-tag\S*: warning: The groups are optimal [^\n]*\n", run.stderr)
