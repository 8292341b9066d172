"""Standard errors of mean affinities, from probes that follow each other in time.

What is estimated is the *run's* mean: the mean, over the steps of this training run, of what a
probe at that step would give on average. Affinities drift while the model learns; this drift is
part of the mean and no error of it. The error is that only some batches were probed.

Probes of neighbouring steps are correlated, so the usual s / sqrt(count) is wrong. We use
orthonormal cosine series (see Lazarus et al.): the run is cut into strata of whole epochs, each
stratum's own mean is subtracted (and with it the drift between strata), and the rest is projected
on the slowest cosine of the stratum. The squared projections are nearly independent estimates of
the noise at low frequencies, which is what the error of a mean is made of, whatever the
correlation. So the error follows Student's t with about as many degrees of freedom as there are
projections. They are few on purpose: many would reach into frequencies where correlated noise is
weaker, and intervals would be too short.

Reference:
    Lazarus, Lewis, Stock, Watson, "HAR Inference: Recommendations for Practice", Journal of
    Business & Economic Statistics 36, 2018 (the estimator EWC). Welch, "The generalization of
    'Student's' problem when several different population variances are involved", Biometrika 34,
    1947 (degrees of freedom). Schmeiser, "Batch size effects in the analysis of simulation
    output", Operations Research 30, 1982 (why few).

This module knows arrays only. It never imports TensorFlow.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_tag.affinity.history import AffinityHistory

# With fewer probes of a pair its standard error is NaN.
FEWEST_PROBES = 8
# About this many projections; more only where every stratum is long.
_PROJECTIONS = 8
# A stratum of this many probes is long enough for noise that is correlated over some ten probes.
_LONG_STRATUM = 100
# A stratum is never shorter, unless the run is.
_SHORT_STRATUM = 8
# About this many pieces of time are kept for the bootstrap.
_PIECES = 64


@dataclass(frozen=True, eq=False)
class SamplingErrors:
    """Standard errors of mean affinities, and pieces to draw other possible means from.

    Args:
        standard_error: `[num_tasks, num_tasks]`, rows = source, columns = target; NaN where too
            few probes were made.
        freedom: `[num_tasks, num_tasks]`, degrees of freedom for Student's t; 0 where it is NaN.
        pieces: `[num_pieces, num_tasks, num_tasks]`: how far each piece of time moves the means.
            The means plus the pieces, each times an independent standard normal number, are other
            means that might have been measured. Pairs err together as they did in the probes.
    """

    standard_error: np.ndarray
    freedom: np.ndarray
    pieces: np.ndarray

    @classmethod
    def of_run(cls, history: AffinityHistory) -> "SamplingErrors":
        """Return the errors of the mean over all probes of one run.

        Args:
            history: Blocks of one run.

        Returns:
            The errors of `sum(total) / sum(count)`.
        """
        shape = history.total.shape[1:]
        blocks = _Blocks.of(history)
        strata = list(_strata(blocks))
        probes = blocks.size.sum()
        projections = max(1, int(np.clip(probes / 12, 3, _PROJECTIONS) / max(1, len(strata))))
        # A stratum of an eighth of a run or more contains drift. Short runs have too few
        # projections to spare one for it.
        drifting = len(strata) < _PROJECTIONS and probes >= _LONG_STRATUM
        variance = np.zeros(shape[0] * shape[1])
        squares, sure = np.zeros_like(variance), np.zeros_like(variance)
        for stratum in strata:
            noise, number = stratum.low_frequency_noise(projections, drifting)
            part = noise * stratum.count.sum(axis=0)
            variance += part
            squares += part**2 / (number + 2)
            sure += number
        whole = blocks.count.sum(axis=0)
        known = (whole >= FEWEST_PROBES) & (sure >= 2)
        # Welch's own formula: its correction matters where the variance of every part is this
        # uncertain.
        freedom = np.divide(variance**2, squares, out=sure + 2, where=squares > 0) - 2
        freedom = np.where(known, np.maximum(freedom, 1.0), 0.0)
        error = np.full(len(variance), np.nan)
        error[known] = np.sqrt(variance[known]) / whole[known]
        pieces = _pieces(strata, known, whole, error)
        return cls(error.reshape(shape), freedom.reshape(shape), pieces.reshape(-1, *shape))

    def take(self, index: np.ndarray) -> "SamplingErrors":
        """Return the errors of some of the tasks, in this order."""
        where = np.ix_(index, index)
        pieces = self.pieces[:, index][:, :, index]
        return SamplingErrors(self.standard_error[where], self.freedom[where], pieces)

    def draw(self, number: int, generator: np.random.Generator) -> np.ndarray:
        """Draw random errors.

        Args:
            number: How many draws.
            generator: The source of randomness.

        Returns:
            `[number, num_tasks, num_tasks]`, to be added to the means.
        """
        multipliers = generator.standard_normal((number, len(self.pieces)))
        return np.tensordot(multipliers, self.pieces, axes=1)


def t_quantile(confidence: float, freedom: np.ndarray) -> np.ndarray:
    """Return the half-width of a two-sided interval in standard errors; NaN where freedom is 0."""
    from scipy.special import stdtrit

    quantile: np.ndarray = stdtrit(np.where(freedom > 0, freedom, np.nan), (1 + confidence) / 2)
    return quantile


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Successive blocks with all pairs in one axis: `total` and `count` are `[blocks, pairs]`.

    `size` is the number of probes.
    """

    row: np.ndarray
    total: np.ndarray
    count: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, history: AffinityHistory) -> "_Blocks":
        made = history.part(history.probes > 0)
        flat = (len(made.row), made.total.shape[1] * made.total.shape[2])
        count = made.count.reshape(flat).astype("float64")
        return cls(made.row, made.total.reshape(flat), count, made.probes.astype("float64"))

    def part(self, where: slice) -> "_Blocks":
        return _Blocks(self.row[where], self.total[where], self.count[where], self.size[where])

    def residuals(self) -> np.ndarray:
        """Return the sums without the mean, `[blocks, pairs]`."""
        count = self.count.sum(axis=0)
        mean = np.divide(self.total.sum(axis=0), count, out=np.zeros(len(count)), where=count > 0)
        return self.total - mean * self.count

    def low_frequency_noise(
        self, projections: int, drifting: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the noise of a probe at the lowest frequencies, and the number of projections.

        Both are per pair. The noise is the variance of a probe, were probes independent and the
        means as uncertain as they are.
        """
        time = (np.cumsum(self.size) - self.size / 2) / self.size.sum()
        noise, number = np.zeros(self.total.shape[1]), np.zeros(self.total.shape[1])
        known = [np.ones_like(time), time] if drifting else [np.ones_like(time)]
        # Drift is as slow as the slowest cosine, which would measure little else.
        first = len(known)
        for frequency in range(first, min(first + projections, len(time))):
            contrast = self._without(known, np.cos(np.pi * frequency * time))
            norm = (self.count * contrast**2).sum(axis=0)
            # A smaller norm is rounding.
            seen = norm > 0.25
            square = (self.total * contrast).sum(axis=0) ** 2
            noise += np.divide(square, norm, out=np.zeros_like(noise), where=seen)
            number += seen
        return np.divide(noise, number, out=noise, where=number > 0), number

    def _without(self, known: list[np.ndarray], contrast: np.ndarray) -> np.ndarray:
        """Return a contrast, orthogonal to the known vectors by each pair's counts.

        `[blocks, pairs]`.
        """
        kept = np.repeat(contrast[:, None], self.total.shape[1], axis=1)
        basis: list[np.ndarray] = []
        for vector in known:
            direction = np.repeat(vector[:, None], kept.shape[1], axis=1)
            for earlier in basis:
                direction = direction - self._along(earlier, direction)
            basis.append(direction)
            kept = kept - self._along(direction, kept)
        return kept

    def _along(self, direction: np.ndarray, vector: np.ndarray) -> np.ndarray:
        norm = (self.count * direction**2).sum(axis=0)
        product = (self.count * direction * vector).sum(axis=0)
        return direction * np.divide(product, norm, out=np.zeros_like(norm), where=norm > 1e-9)


def _strata(blocks: _Blocks) -> Iterator[_Blocks]:
    """Yield strata: whole epochs, with at least an eighth of the probes or `_LONG_STRATUM`.

    An epoch is never cut. Between two epochs the affinities may have changed for good.
    """
    length = float(np.clip(blocks.size.sum() / _PROJECTIONS, _SHORT_STRATUM, _LONG_STRATUM))
    ends = np.flatnonzero(np.diff(blocks.row, append=-1)) + 1
    first, left = 0, float(blocks.size.sum())
    for end in ends.tolist():
        inside = float(blocks.size[first:end].sum())
        # A rest that is too short for a stratum is added to the last one.
        if end == len(blocks.size) or (
            inside >= 0.99 * length and left - inside >= 0.5 * length and end - first > 1
        ):
            yield blocks.part(slice(first, end))
            first, left = end, left - inside


def _pieces(
    strata: list[_Blocks], known: np.ndarray, whole: np.ndarray, error: np.ndarray
) -> np.ndarray:
    """Return the residuals of short stretches of time, scaled to the standard errors.

    They are more than the projections, so that the errors of different pairs can differ as they
    did. Short stretches miss slow noise; one factor for all pairs makes up for it.
    """
    pieces = [np.zeros((0, len(known)))]
    each = max(2, _PIECES // max(1, len(strata)))
    for stratum in strata:
        residuals = stratum.residuals()
        cuts = np.unique(np.linspace(0, len(residuals), each + 1).astype(int)[:-1])
        parts = np.add.reduceat(residuals, cuts, axis=0)
        if len(parts) > 1:
            pieces.append(parts * np.sqrt(len(parts) / (len(parts) - 1)))
    stacked = np.concatenate(pieces)
    stacked = np.divide(stacked, whole, out=np.zeros_like(stacked), where=known)
    short = (stacked**2).sum(axis=0)
    seen = known & (short > 0)
    scale = np.sqrt(np.mean(error[seen] ** 2 / short[seen])) if seen.any() else 1.0
    return stacked * scale
