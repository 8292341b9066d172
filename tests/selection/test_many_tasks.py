"""The search for many tasks agrees with the table of all groups, and says what it did not prove."""

import itertools

import numpy as np
import pytest

from keras_tag.affinity import Affinity
from keras_tag.selection import exact_selection, select_groups


def instance(rng, n, family):
    if family == "clustered":
        label = rng.integers(0, max(2, n // 5), size=n)
        z = 0.2 * rng.normal(size=(n, n)) + (label[:, None] == label[None, :])
    elif family == "real-like":
        scale, row = np.exp(rng.normal(size=n)), np.exp(0.5 * rng.normal(size=n))
        low_rank = rng.normal(size=(n, 4)) @ rng.normal(size=(4, n)) / 4
        noise = 0.2 * rng.normal(size=(n, n))
        z = 0.1 * scale * (row[:, None] * (0.3 + low_rank) + noise)
    elif family == "tied":
        z = rng.integers(-1, 2, size=(n, n)) * 0.5
    else:
        z = rng.uniform(-1, 1, size=(n, n))
    z[np.diag_indices(n)] = np.abs(z).max(axis=0) + 0.1
    return Affinity.from_array(z, [f"t{i:02d}" for i in range(n)], rows="source")


def draw_call(rng, n):
    call = {
        "budget": int(rng.integers(1, 5)),
        "score": str(rng.choice(["members", "partners"])),
        "overlap": bool(rng.random() < 0.7),
        "min_size": int(rng.choice([1, 1, 1, 2])),
        "max_size": None if rng.random() < 0.6 else int(rng.integers(3, n + 1)),
        "alone": rng.choice([None, 0.2]),
    }
    if rng.random() < 0.4:
        pairs = [tuple(rng.choice(n, 2, replace=False).tolist()) for _ in range(2)]
        call["must_link"] = [(f"t{a:02d}", f"t{b:02d}") for a, b in pairs[:1]]
        call["cannot_link"] = [(f"t{a:02d}", f"t{b:02d}") for a, b in pairs[1:]]
    if rng.random() < 0.3:
        call["costs"] = {k: round(float(rng.uniform(0.5, 2.0)), 1) for k in range(1, n + 1)}
        call["budget"] = round(float(rng.uniform(2.0, 6.0)), 1)
    if rng.random() < 0.3:
        call["weights"] = {f"t{i:02d}": float(rng.integers(1, 4)) for i in range(n)}
    return call


def answer(affinity, call):
    try:
        grouping = select_groups(affinity, **call)
    except ValueError:
        return None
    assert grouping.status == "optimal"
    size = sum(map(len, grouping.groups))
    return grouping.objective, len(grouping.groups), size


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_search_agrees_with_the_table_of_all_groups(seed, monkeypatch):
    rng = np.random.default_rng([seed, 5])
    families = itertools.cycle(["clustered", "real-like", "tied", "uniform"])
    for _, family in zip(range(30), families, strict=False):
        n = int(rng.integers(3, 10))
        affinity, call = instance(rng, n, family), draw_call(rng, n)
        listed = answer(affinity, call)
        with monkeypatch.context() as patch:
            patch.setattr(exact_selection, "_MOST_TASKS_LISTED", 0)
            searched = answer(affinity, call)
        assert searched == listed, (family, n, call)
