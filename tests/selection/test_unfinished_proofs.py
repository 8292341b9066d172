"""A choice whose proof was cut short is not called optimal, unless it is."""

from time import monotonic

import numpy as np
import pytest

from keras_tag import Affinity, select_groups
from keras_tag.selection.solver import column_generation, or_tools
from keras_tag.selection.solver.columns import Prices
from keras_tag.selection.solver.listed_groups import GroupTable


def affinity_of(num_tasks, seed):
    z = np.random.default_rng(seed).uniform(-1, 1, (num_tasks, num_tasks))
    z[np.diag_indices(num_tasks)] = np.abs(z).max(0) + 0.1
    return Affinity.from_array(z, [f"t{k}" for k in range(num_tasks)], rows="source")


def check(found, best):
    assert found.objective <= best <= found.bound
    if found.status == "optimal":
        assert found.objective == best


@pytest.mark.parametrize("seed", range(422, 432))
def test_prices_that_time_left_wrong_prove_nothing(seed, monkeypatch):
    affinity = affinity_of(5, seed)
    best = select_groups(affinity, 2).objective
    calls = []

    def half_the_limit_is_over_after_the_first_look():
        calls.append(None)
        return monotonic() + 6 * (len(calls) > 1)

    monkeypatch.setattr(column_generation, "monotonic", half_the_limit_is_over_after_the_first_look)
    check(select_groups(affinity, 2, time_limit=10), best)


@pytest.mark.parametrize("seed", [0, 2, 6])
def test_prices_that_stay_wrong_prove_nothing(seed, monkeypatch):
    affinity = affinity_of(7, seed)
    best = select_groups(affinity, 3).objective
    # As where GLOP gives up: the prices stay what they were.
    master = column_generation.MasterProblem
    monkeypatch.setattr(master, "solve", lambda self: Prices(np.zeros(7), 0.0))
    monkeypatch.setattr(master, "solution", lambda self: None)
    monkeypatch.setattr(GroupTable, "most_listed", 4)
    check(select_groups(affinity, 3), best)


def test_with_links_an_unproven_cheapest_cost_is_not_called_the_cheapest(monkeypatch):
    make = or_tools.cp_solver

    def hasty(deadline):
        solver = make(deadline)
        solver.parameters.stop_after_first_solution = True
        return solver

    asked = {"must_link": [("t0", "t1")], "max_size": 5}
    with pytest.raises(ValueError, match="at least the cheapest set of groups"):
        select_groups(affinity_of(20, 0), 1, **asked)
    monkeypatch.setattr(or_tools, "cp_solver", hasty)
    with pytest.raises(ValueError, match="such as the cheapest one found"):
        select_groups(affinity_of(20, 0), 1, **asked)
