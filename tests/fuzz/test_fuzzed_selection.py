"""`select_groups` and `GroupScores`: refused in words, or answered as brute force answers.

An argument is drawn together with its meaning: what an exact oracle that shares no code with the
package is told. At most one argument of a call is nonsense; then it must be refused by its name.
"""

import decimal
import math
from fractions import Fraction
from unittest import mock

import numpy as np
import subset_programme
from fuzzing import ANSWERED, fuzz, refused
from hostile_names import names
from hypothesis import strategies as st

from keras_tag import Affinity, select_groups
from keras_tag.selection import problem as selection_problem

D = decimal.Decimal
CELLS = {
    "good": st.floats(-2, 2),
    "tied": st.sampled_from([-0.5, 0.0, 0.5, 1.0]),
    "huge": st.floats(-1.7e308, 1.7e308),
    "tiny": st.floats(-1e-307, 1e-307),
    "any": st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 5e-324, 1e308, math.nan, math.inf])),
}
# What is no such argument, for any affinity. `None` where None means something is left out.
NONSENSE = {
    "score": ["", None, 1, b"members", ["members"]],
    "budget": [0, -1, math.nan, math.inf, "2", None, True, [2], D("NaN"), np.array([2]), 1j],
    "weights": [{"?": 1.0}, [1, 1], 1, "a", {None: 1}],
    "costs": [
        "cheap",
        3,
        {1: -1},
        {1: 1e-9},
        [1 / 3, 1.0],
        {1: math.nan},
        {1: None},
        [True],
        {1.5: 1},
        {None: 1},
        {"?": 1},
    ],
    "alone": ["maybe", math.nan, math.inf, True, [1], {"?": 1.0}, b"self"],
    "overlap": [None, 1, "yes", np.array([True])],
    "min_size": [0, -1, 1.0, "1", True, None, math.nan, [1]],
    "max_size": [0, -1, 2.0, "2", True, math.nan, [1]],
    "must_link": [None, 3, "ab", [3], [None], ["ab"], [([], [])], [("?", "!")], [("a",)], 1.5],
    "cannot_link": [None, 3, "ab", [3], [None], ["ab"], [([], [])], [("?", "!")], [("a",)], 1.5],
    "risk": [-1, math.nan, math.inf, "1", None, True, [0]],
    "time_limit": [0, -1, math.nan, "1", [1]],
}
# Constraints that no group can meet are refused before anything else is looked at.
CONTRADICTIONS = ["must_link ties", "min_size <= max_size"]


@st.composite
def matrices(draw, n):
    kind = draw(st.sampled_from(["good", "good", "tied", "tied", "huge", "tiny", "any"]))
    z = [[draw(CELLS[kind]) for _ in range(n)] for _ in range(n)]
    if kind != "any":
        for j in range(n):
            z[j][j] = abs(z[j][j]) or 0.5
    return z


def either(*values):
    """A strategy of arguments that mean themselves; the first, the default, mostly."""
    return st.one_of(st.just(values[0]), st.sampled_from(values)).map(lambda v: (v, v))


@st.composite
def links(draw, tasks):
    if draw(st.integers(0, 3)):
        return (), []
    two = draw(st.permutations(range(len(tasks))))[:2]
    form = draw(st.sampled_from([list, tuple, set]))
    return [form([tasks[i] for i in two])], [tuple(two)]


@st.composite
def calls(draw):
    n = draw(st.integers(2, 4))
    tasks = draw(st.lists(names, min_size=n, max_size=n, unique=True))
    costs = draw(
        st.one_of(
            st.none(),
            st.lists(st.sampled_from([0, 0.5, 1.0, 1e-6, D("0.1"), np.float32(0.3)]), min_size=n),
        )
    )
    weights = draw(
        st.one_of(
            st.none(), st.lists(st.sampled_from([0.0, 1, 2.5, 1e-300]), min_size=n, max_size=n)
        ).filter(lambda w: w is None or any(w))
    )
    numbers = [2, 1, 3, 5, np.int8(3), 3.0, 2**70, np.float32(2)]
    amounts = [1.1, 2, D("1.5"), Fraction(7, 3), 1e300, 0.25, np.float32(1.5)]
    given = {
        "score": draw(either("members", "partners")),
        "budget": draw(either(*(numbers if costs is None else amounts))),
        "weights": (weights and dict(zip(tasks, weights, strict=True)), weights or [1.0] * n),
        "costs": (costs, costs),
        "alone": draw(either(None, "forbid", "self", 0.25, -1, np.int8(2))),
        "overlap": draw(either(True, False)),
        "min_size": draw(either(1, *range(1, n + 1))),
        "max_size": draw(either(None, *range(1, n + 1), 99)),
        "must_link": draw(links(tasks)),
        "cannot_link": draw(links(tasks)),
    }
    fault = draw(st.none() | st.none() | st.sampled_from([*NONSENSE]))
    call = {name: value for name, (value, _) in given.items()}
    if fault is not None:
        call[fault] = draw(st.sampled_from(NONSENSE[fault]))
    return {
        "tasks": tasks,
        "z": draw(matrices(n)),
        "call": call,
        "meaning": {name: meaning for name, (_, meaning) in given.items()},
        "fault": fault,
        # Networks are listed for few tasks and searched for among many: here too, now and then.
        "listed": draw(st.sampled_from([15, 15, 0])),
    }


# A budget and costs that CP-SAT and the linear programme once got wrong.
ALL_BUT_LAST_FREE = {
    "tasks": ["a", "b", "c"],
    "z": [[1.3e-308, 8e-308, 4e-308], [-2e-308, 2e-311, -9e-308], [-2e-311, 2e-313, 9e-308]],
    "call": {"budget": 0.25, "costs": [0, 1.0, 0, 0], "alone": "self", "overlap": False},
    "meaning": {"min_size": 2},
}
DEARER_BY_A_HAIR = {
    "tasks": ["a", "b", "c"],
    "z": [[0.5, 0.5, -0.5], [-0.5, 0.5, -0.5], [-0.5, -0.5, 0.5]],
    "call": {"budget": 2, "costs": [1.0, 1.0, 1e-6], "weights": {"c": 0.0}},
    "meaning": {"weights": [1.0, 1.0, 0.0]},
}
MORE_THAN_ANYTHING_COSTS = {
    "tasks": ["a", "b"],
    "z": [[0.5, 1.0], [1.0, 0.5]],
    "call": {"budget": 1e300, "costs": [1.0, 1e-6]},
    "meaning": {},
}
# One group is allowed, and its value has hundreds of digits.
LONG_VALUES = {
    "tasks": ["depth", "a/b", "../up"],
    "z": [
        [1.8433966442245384e-55, 1.0, 1.0],
        [-1.7688044064786368, 1.3558012832353104, 1.8433966442245384e-55],
        [1.8194906549536443, 0.0, 0.5],
    ],
    "call": {"budget": 2, "costs": None},
    "meaning": {"min_size": 3},
}

# All choices tie, in values of two thousand bits, which ended the process inside CP-SAT.
FAR_APART = {
    "tasks": ["a", "b", "c"],
    "z": [
        [1.871710258599096e292, -6.899408456545594e143, -4.2987760140319264e-305],
        [-5.315583846220442e16, 4.2987760140319264e-305, 8.149091508540585e196],
        [-5.315583846220442e16, 1.1754943508222875e-38, 5.205614095650011e16],
    ],
    "call": {"budget": 2, "costs": None},
    "meaning": {"min_size": 3, "score": "partners"},
}

PINNED = [ALL_BUT_LAST_FREE, DEARER_BY_A_HAIR, MORE_THAN_ANYTHING_COSTS, LONG_VALUES, FAR_APART]


def pinned(case):
    usual = {
        "score": "members",
        "weights": [1.0] * len(case["tasks"]),
        "alone": None,
        "overlap": True,
        "min_size": 1,
        "max_size": None,
        "must_link": [],
        "cannot_link": [],
    }
    call = {**case["call"], **{k: v for k, v in case["meaning"].items() if k != "weights"}}
    meaning = {**usual, **case["call"], **case["meaning"]}
    return {"drawn": {**case, "call": call, "meaning": meaning, "fault": None, "listed": 15}}


@fuzz(
    10_000,
    pinned=[*map(pinned, PINNED)],
    drawn=calls(),
)
def test_select_groups_refuses_by_name_or_answers_as_the_oracle_does(drawn):
    """Values of every argument, one of them nonsense in every third call."""
    tasks, z, meaning = drawn["tasks"], drawn["z"], drawn["meaning"]
    try:
        affinity = Affinity.from_array(z, tasks, rows="source")
    except ValueError as error:
        assert any(math.isinf(value) for row in z for value in row)
        return refused(error, "infinite")
    try:
        with mock.patch.object(selection_problem, "MOST_TASKS_LISTED", drawn["listed"]):
            grouping = select_groups(affinity, **drawn["call"])
    except (ValueError, TypeError) as error:
        why = reason(tasks, z, meaning)
        if drawn["fault"]:
            why.append(drawn["fault"].removesuffix("s"))
        return refused(error, *why)
    assert not drawn["fault"], f"took nonsense for `{drawn['fault']}`"
    assert_is_right(grouping, tasks, z, meaning)
    return ANSWERED


def reason(tasks, z, meaning):
    """Why arguments that make sense one by one can't be answered: what the message may say."""
    n, members = len(tasks), meaning["score"] == "members"
    words = []
    if any(math.isnan(z[i][j]) for i in range(n) for j in range(n) if members or i != j):
        words.append("to be measured")
    if meaning["alone"] == "self" and any(math.isnan(z[j][j]) for j in range(n)):
        words.append("alone='self'")
    if members and any(z[j][j] <= 0 for j in range(n)):
        words.append("diagonal")
    if words:
        return [*words, *CONTRADICTIONS]
    problem = oracle(tasks, z, meaning)
    if subset_programme.solve(*problem) is None:
        return [*words, "No set of groups", "Nothing can serve", "cheapest", *CONTRADICTIONS]
    largest = max(abs(value) for row in problem[1].values() for value in row.values())
    return ["too large for a float"] if largest > 1e307 else []


def oracle(tasks, z, meaning):
    """(n, table, cost, budget, overlap) for `subset_programme.solve`, tasks sorted by name."""
    n = len(tasks)
    order = sorted(range(n), key=lambda i: tasks[i])
    rank = {index: place for place, index in enumerate(order)}
    z = [[z[i][j] for j in order] for i in order]
    for j in range(n):
        # "partners" never reads the diagonal, which may then be unmeasured.
        z[j][j] = 1.0 if math.isnan(z[j][j]) else z[j][j]
    alone, score = meaning["alone"], meaning["score"]
    if alone is None:
        alone = {"partners": "forbid", "members": 1.0}[score]
    lone = [{"forbid": None, "self": z[j][j]}.get(alone, alone) for j in range(n)]
    weights = [meaning["weights"][i] for i in order]
    links = {k: [{rank[a], rank[b]} for a, b in meaning[k]] for k in ("must_link", "cannot_link")}
    table = {
        mask: row
        for mask, row in subset_programme.member_scores(z, score, lone, weights).items()
        if meaning["min_size"] <= mask.bit_count() <= (meaning["max_size"] or n)
        and all(len({mask >> i & 1 for i in pair}) == 1 for pair in links["must_link"])
        and not any(all(mask >> i & 1 for i in pair) for pair in links["cannot_link"])
    }
    cost = {mask: Fraction(1) for mask in table}
    budget = meaning["budget"]
    if meaning["costs"] is not None:
        prices = [decimal_number(price) for price in meaning["costs"]]
        cost = {m: prices[m.bit_count() - 1] for m in table if m.bit_count() <= len(prices)}
    return n, table, cost, decimal_number(budget), meaning["overlap"]


def decimal_number(value):
    if isinstance(value, int | np.integer | Fraction | decimal.Decimal):
        return Fraction(int(value) if isinstance(value, np.integer) else value)
    return Fraction(str(value))


def assert_is_right(grouping, tasks, z, meaning):
    n, table, cost, budget, overlap = oracle(tasks, z, meaning)
    best = subset_programme.solve(n, table, cost, budget, overlap)
    assert best is not None, "answered what nothing can"
    ordered = sorted(tasks)
    masks = [sum(1 << ordered.index(name) for name in group) for group in grouping.groups]
    assert grouping.status == "optimal"
    assert set(grouping.serves) == set(tasks)
    assert sum(cost[mask] for mask in masks) <= budget
    if not overlap:
        assert sum(map(len, grouping.groups)) == n
    scores = {t: table[masks[index]][ordered.index(t)] for t, index in grouping.serves.items()}
    assert (sum(scores.values()), len(masks), sum(map(len, grouping.groups))) == best
    assert grouping.objective == grouping.bound == float(best[0])
    assert grouping.task_scores == {task: float(score) for task, score in scores.items()}
