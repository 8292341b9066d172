"""Standard errors, against streams whose mean and correlation are known."""

import numpy as np
import pytest
from streams import autoregressive, recorded

from keras_tag.affinity import Affinity
from keras_tag.affinity.standard_errors import FEWEST_PROBES

N = 36  # 1296 independent streams in one matrix: a coverage is known to about 0.6 %.
NAMES = [f"t{i:02d}" for i in range(N)]


def affinity_of(probes, per_epoch, counted=None):
    n = probes.shape[1]
    return Affinity.from_history(NAMES[:n], recorded(probes, per_epoch, counted))


def coverage(affinity, truth):
    low, high = affinity.interval(0.95)
    return float(np.mean((low <= truth) & (truth <= high)))


@pytest.mark.parametrize("phi", [-0.4, 0.0, 0.6, 0.8])
@pytest.mark.parametrize(
    ("epochs", "per_epoch"), [(1, 2000), (5, 100), (10, 100), (30, 20), (100, 10), (40, 64)]
)
def test_intervals_cover_the_mean_of_correlated_streams(epochs, per_epoch, phi):
    rng = np.random.default_rng([epochs, int(10 * phi + 10)])
    probes = autoregressive(rng, epochs * per_epoch, N * N, phi).reshape(-1, N, N) + 3.0
    assert 0.92 <= coverage(affinity_of(probes, per_epoch), 3.0) <= 0.97


@pytest.mark.parametrize(("epochs", "per_epoch"), [(1, 4000), (20, 300)])
def test_also_with_strong_correlation_where_the_run_is_long(epochs, per_epoch):
    probes = autoregressive(np.random.default_rng(5), epochs * per_epoch, N * N, 0.9)
    affinity = affinity_of(probes.reshape(-1, N, N), per_epoch)
    assert 0.92 <= coverage(affinity, 0.0) <= 0.97


def test_short_runs_of_independent_probes_are_covered_too():
    probes = np.random.default_rng(0).normal(size=(24, N, N))
    assert 0.92 <= coverage(affinity_of(probes, 4), 0.0) <= 0.97


def test_a_formula_for_independent_probes_would_not_cover():
    # So that the coverages above say something.
    probes = autoregressive(np.random.default_rng(1), 1000, N * N, 0.6)
    naive = 1.96 * probes.std(axis=0, ddof=1) / np.sqrt(1000)
    assert np.mean(np.abs(probes.mean(axis=0)) <= naive) < 0.75


def test_missing_labels_are_covered():
    rng = np.random.default_rng(2)
    probes = autoregressive(rng, 1000, N * N, 0.5).reshape(-1, N, N)
    counted = rng.random(probes.shape) < rng.uniform(0.2, 1.0, size=(N, N))
    affinity = affinity_of(probes, 100, counted)
    np.testing.assert_array_equal(affinity.count, counted.sum(axis=0))
    assert 0.92 <= coverage(affinity, 0.0) <= 0.97


def test_drift_between_epochs_is_no_error():
    rng = np.random.default_rng(3)
    probes = rng.normal(size=(1000, 5, 5))
    levels = np.repeat(rng.normal(scale=100.0, size=(10, 5, 5)), 100, axis=0)
    still, drifting = affinity_of(probes, 100), affinity_of(probes + levels, 100)
    np.testing.assert_allclose(drifting.standard_error, still.standard_error, rtol=1e-6)
    np.testing.assert_allclose(drifting.mean, still.mean + levels.mean(axis=0))


def test_steady_drift_within_a_single_epoch_is_no_error():
    probes = np.random.default_rng(4).normal(size=(2000, N, N))
    slope = np.linspace(-3.0, 3.0, 2000)[:, None, None]
    assert 0.92 <= coverage(affinity_of(probes + slope, 2000), 0.0) <= 0.97


@pytest.mark.parametrize("probes", [1, 2, FEWEST_PROBES - 1])
def test_too_few_probes_say_nothing(probes):
    affinity = affinity_of(np.random.default_rng(0).normal(size=(probes, 2, 2)), 3)
    assert np.isnan(affinity.standard_error).all()
    assert np.isnan(affinity.interval()[0]).all()
    assert (affinity.count == probes).all()


def test_a_pair_with_too_few_measurements_has_no_error_and_harms_no_other():
    probes = np.random.default_rng(0).normal(size=(200, 2, 2))
    counted = np.ones(probes.shape, bool)
    counted[3:, 0, 1] = False
    affinity, full = affinity_of(probes, 20, counted), affinity_of(probes, 20)
    assert np.isnan(affinity.standard_error).tolist() == [[False, True], [False, False]]
    others = ~np.isnan(affinity.standard_error)
    np.testing.assert_array_equal(affinity.standard_error[others], full.standard_error[others])


def test_affinities_that_never_vary_have_no_error():
    affinity = affinity_of(np.full((100, 2, 2), 0.25), 10)
    np.testing.assert_allclose(affinity.standard_error, 0.0, atol=1e-12)
    np.testing.assert_allclose(affinity.interval(), 0.25)


def test_errors_scale_with_the_affinities_and_ignore_a_constant():
    probes = np.random.default_rng(0).normal(size=(300, 3, 3))
    one, other = affinity_of(probes, 30), affinity_of(-1e-6 * probes + 4e-6, 30)
    np.testing.assert_allclose(other.standard_error, 1e-6 * one.standard_error, rtol=1e-6)


def test_a_wider_interval_is_asked_for_by_more_confidence():
    affinity = affinity_of(np.random.default_rng(0).normal(size=(300, 3, 3)), 30)
    widths = [np.subtract(*affinity.interval(c)[::-1]) for c in (0.5, 0.9, 0.99)]
    assert (widths[0] < widths[1]).all()
    assert (widths[1] < widths[2]).all()
    with pytest.raises(ValueError, match=r"0 < `confidence` < 1.*1\.0"):
        affinity.interval(1.0)


def test_draws_spread_as_the_errors_say_and_err_together_as_the_probes_did():
    rng = np.random.default_rng(0)
    probes = rng.normal(size=(2000, 3, 3))
    probes[:, 0, 1] = 0.9 * probes[:, 0, 0] + np.sqrt(1 - 0.81) * probes[:, 0, 1]
    affinity = affinity_of(probes, 100)
    draws = affinity.errors.draw(4000, rng)
    ratio = draws.std(axis=0) / affinity.standard_error
    assert 0.9 < np.sqrt(np.mean(ratio**2)) < 1.1
    assert np.corrcoef(draws[:, 0, 0], draws[:, 0, 1])[0, 1] == pytest.approx(0.9, abs=0.07)
    assert np.corrcoef(draws[:, 0, 0], draws[:, 2, 2])[0, 1] == pytest.approx(0.0, abs=0.3)
