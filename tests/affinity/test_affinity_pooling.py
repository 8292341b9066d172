"""`combine`, `merge` and `subset` of affinities with errors and histories."""

import numpy as np
import pytest
from scipy.stats import sem
from streams import recorded

from keras_tag import select_groups
from keras_tag.affinity import Affinity

TASKS = ("a", "b", "c")


def run(seed, tasks=TASKS, epochs=10, per_epoch=20, level=0.0):
    rng = np.random.default_rng(seed)
    probes = rng.normal(size=(epochs * per_epoch, len(tasks), len(tasks))) + level
    return Affinity.from_history(tasks, recorded(probes, per_epoch))


def test_combined_errors_are_the_standard_error_of_the_runs_means():
    runs = [run(seed, level=seed) for seed in range(5)]
    both = Affinity.combine(runs)
    means = np.stack([affinity.mean for affinity in runs])
    np.testing.assert_allclose(both.mean, means.mean(axis=0))
    np.testing.assert_allclose(both.standard_error, sem(means, axis=0))
    assert (both.errors.freedom == 4).all()
    assert (both.count == 5 * 200).all()


def test_combined_intervals_cover_the_mean_of_all_runs_there_could_be():
    n = 30
    names = [f"t{i:02d}" for i in range(n)]
    rng = np.random.default_rng(0)
    runs = [run(s, names, 5, 20, level=rng.normal(scale=0.3, size=(n, n))) for s in range(3)]
    low, high = Affinity.combine(runs).interval()
    assert 0.92 <= np.mean((low <= 0) & (high >= 0)) <= 0.97
    # Errors that know of one run only miss what runs differ by.
    low, high = runs[0].merge(runs[1]).merge(runs[2]).interval()
    assert np.mean((low <= 0) & (high >= 0)) < 0.7


@pytest.mark.parametrize("with_history", [True, False])
def test_draws_of_combined_runs_spread_as_the_errors_say(with_history):
    runs = [run(s, level=np.random.default_rng(s).normal(size=(3, 3))) for s in range(4)]
    if not with_history:
        runs = [Affinity.from_array(r.mean, TASKS, rows="source") for r in runs]
    both = Affinity.combine(runs)
    draws = both.errors.draw(4000, np.random.default_rng(0))
    ratio = np.mean(draws.var(axis=0)) / np.mean(both.standard_error**2)
    assert 0.8 < np.sqrt(ratio) < 1.25


def test_runs_may_come_with_tasks_in_any_order_or_missing():
    one, two = run(1), run(2).subset(("c", "a"))
    both = Affinity.combine([one, two])
    assert both.tasks == TASKS
    np.testing.assert_allclose(both.mean[0, 2], (one.mean[0, 2] + two.mean[1, 0]) / 2)
    assert both.mean[1, 1] == one.mean[1, 1]
    # One run can't say how much runs differ.
    assert np.isnan(both.standard_error[1]).all()
    assert np.isfinite(both.standard_error[np.ix_([0, 2], [0, 2])]).all()


def test_a_single_run_is_refused():
    with pytest.raises(ValueError, match=r"at least two.*Received: 1"):
        Affinity.combine([run(0)])


def test_merged_halves_are_the_whole():
    rng = np.random.default_rng(0)
    probes = rng.normal(size=(400, 3, 3))
    whole = Affinity.from_history(TASKS, recorded(probes, 20))
    halves = [Affinity.from_history(TASKS, recorded(part, 20)) for part in np.split(probes, 2)]
    merged = halves[0].merge(halves[1])
    np.testing.assert_allclose(merged.mean, whole.mean)
    np.testing.assert_array_equal(merged.count, whole.count)
    expected = np.sqrt(sum(half.standard_error**2 for half in halves)) / 2
    np.testing.assert_allclose(merged.standard_error, expected)


def test_histories_are_merged_as_runs():
    one, two = run(1), run(2, tasks=("c", "d"))
    merged = one.merge(two)
    assert merged.tasks == ("a", "b", "c", "d")
    assert merged.history.num_runs == 2
    np.testing.assert_allclose(merged.history.mean()[0], merged.mean)
    late = merged.over(slice(-2, None))
    expected = one.over(slice(-2, None)).merge(two.over(slice(-2, None)))
    np.testing.assert_allclose(late.mean, expected.mean)
    np.testing.assert_allclose(late.standard_error, expected.standard_error)


def test_combined_runs_can_be_looked_at_over_time():
    runs = [run(seed) for seed in range(3)]
    late = Affinity.combine(runs).over(slice(-3, None))
    expected = Affinity.combine([affinity.over(slice(-3, None)) for affinity in runs])
    np.testing.assert_allclose(late.mean, expected.mean)
    np.testing.assert_allclose(late.standard_error, expected.standard_error)
    frame = Affinity.combine(runs).to_epoch_frame()
    assert len(frame) == 3 * 10 * 9


def test_tasks_measured_later_leave_pairs_that_selection_refuses_by_name():
    old = run(1)
    new = run(2, tasks=("a", "d"))
    merged = old.merge(new)
    assert set(merged.unmeasured) == {("b", "d"), ("c", "d"), ("d", "b"), ("d", "c")}
    assert np.isnan(merged.standard_error[1, 3])
    assert np.isfinite(merged.standard_error[0, 3])
    with pytest.raises(ValueError, match=r"'b', 'd'.*subset\(tasks\)"):
        select_groups(merged, 2, score="partners")


def test_a_subset_has_the_errors_it_had():
    whole = run(1)
    part = whole.subset(("c", "a"))
    index = np.ix_([2, 0], [2, 0])
    np.testing.assert_array_equal(part.standard_error, whole.standard_error[index])
    np.testing.assert_allclose(part.history.mean()[0], part.mean)
    np.testing.assert_array_equal(
        part.over(slice(4)).standard_error, whole.over(slice(4)).standard_error[index]
    )


def test_a_table_merged_with_a_measurement_has_no_errors():
    merged = run(1).merge(Affinity.from_array(np.eye(2), ["d", "e"], rows="source"))
    assert np.isnan(merged.standard_error).all()
    assert merged.history is None


def test_merging_tables_is_the_mean_over_all_probes():
    one = Affinity(("a", "b"), [[0.1, np.nan], [0.3, 0.4]], [[1, 0], [3, 1]])
    other = Affinity(("a", "b"), [[0.5, 0.2], [0.7, 0.8]], [[3, 2], [1, 1]])
    pooled = one.merge(other)
    np.testing.assert_allclose(pooled.mean, [[1.6 / 4, 0.2], [1.6 / 4, 0.6]])
    np.testing.assert_array_equal(pooled.count, [[4, 2], [4, 2]])
    assert one.merge(one).unmeasured == [("a", "b")]


def test_merging_many_is_the_mean_over_the_probes_of_all():
    runs = [run(seed, epochs=epochs, level=seed) for seed, epochs in enumerate((2, 3, 5))]
    pooled = runs[0].merge(*runs[1:])
    total = sum(part.history.total.sum(axis=0) for part in runs)
    np.testing.assert_allclose(pooled.mean, total / pooled.count)
    assert (pooled.count == 10 * 20).all()
    assert pooled.history.num_runs == 3
    # Independent measurements: variances of weighted means add up.
    errors = [
        0.1 * epochs * part.standard_error for epochs, part in zip((2, 3, 5), runs, strict=True)
    ]
    np.testing.assert_allclose(pooled.standard_error, np.sqrt(np.square(errors).sum(axis=0)))
    assert runs[0].merge() is runs[0]
