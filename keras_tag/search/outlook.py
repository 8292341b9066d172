"""The gain over the joint run that there is to find, told before any group is trained and after.

How much grouping matters differs between data sets far more than the gain model's prior allows:
on some, no groups gain 1 %. Here the size of all effects is one more unknown, with a wide prior,
and so is the size of the noise. Effects of tasks on each other are drawn from what is believed
after the trainings so far; the exact optimum of every draw is a gain that there may be to find,
without the luck of networks.

This module knows arrays only. It never imports TensorFlow.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.search.ledger import Outcome
from keras_tag.search.proposals import Problem
from keras_tag.search.verdict import believed, luck, measured, unlikely
from keras_tag.selection.arguments.choice import Choice, GroupArguments
from keras_tag.selection.draws import DrawnChoice, Networks
from keras_tag.selection.few_trainings.gain_model import (
    Cells,
    Prior,
    covariance,
    expected,
)
from keras_tag.selection.problem import build_problem
from keras_tag.selection.task_masks import bits
from keras_tag.wording import counted

# The gain that is worth a search: below it, serve the joint run.
LITTLE = 0.1
# Of what tasks do to each other; fewer where each takes 20 ms and more.
_DRAWS, _MANY_TASKS, _DRAWS_OF_MANY = 100, 12, 25
# How large the effects and the noise of a data set may be, as factors of the prior's: what is
# expected of the factors' logarithms, and their standard deviations. The prior is that of sets on
# which grouping matters for the most part; of seven families of data it hardly did on four.
_SIZES, _EXPECTED_SIZE, _SPREAD_OF_SIZES = np.geomspace(0.01, 4.0, 17), -1.0, 1.6
_NOISES = np.geomspace(0.25, 3.0, 7)


@dataclass(frozen=True)
class Outlook:
    """The gain that the best groups are believed to have over the joint run, without luck.

    Args:
        expected: The median, as a share of the joint run's total loss.
        low: The lower end of the 90 % interval.
        high: The upper end.
        trained: How many networks beside the joint run that was estimated from.
    """

    expected: float
    low: float
    high: float
    trained: int

    @property
    def little(self) -> bool:
        """Whether the joint run may as well be served, because `high` is below `LITTLE`."""
        return self.high < LITTLE

    def __str__(self) -> str:
        trained = f"after {counted(self.trained, 'training')}"
        when = trained if self.trained else "before any group is trained"
        text = (
            f"Gain over the joint run that there is to find, {when}: {self.expected:.1%} of the "
            f"loss, 90 % interval {self.low:.1%} to {self.high:.1%}."
        )
        if self.little:
            text += f" Less than {LITTLE:.0%}: more trainings are hardly worth it."
        return text


def outlook(problem: Problem, affinity: Affinity, outcomes: Sequence[Outcome]) -> Outlook | None:
    """Return the gain that there is to find.

    Args:
        problem: Tasks, objectives, budget and constraints.
        affinity: As measured.
        outcomes: Trainings, the joint run first.

    Returns:
        The gain; None where there are too many tasks to choose again for every draw.
    """
    tasks = tuple(sorted(problem.tasks))
    done = [outcome for outcome in outcomes if outcome.status == "done"]
    joint, scales = done[0].objective, problem.scales(done)
    worth = [problem.weights[t] * scales[t].worth(joint[t]) for t in tasks]
    linear = np.array([scales[task].kind == "exponential" for task in tasks])

    asked = {**problem.constraints, "weights": dict(zip(tasks, worth, strict=True))}
    choice = Choice.of("outlook", asked, GroupArguments)
    anything = Affinity.from_array(np.ones((len(tasks), len(tasks))), tasks, rows="source")
    judge = DrawnChoice(build_problem(anything, choice)[0], choice, problem.budget)
    if not judge.resamples_quickly:
        return None

    shares, _, seen, observed = measured(problem, affinity, done, tasks)
    draws = _draws(problem.prior or Prior(), shares, seen, observed)
    # The score "members" of 1 - T is one minus what company costs a task, to first order.
    scores = [judge.scores(1.0 - draw) for draw in draws]
    usable = [(draw, score) for draw, score in zip(draws, scores, strict=True) if score is not None]
    chosen = judge.choose([score for _, score in usable])
    found = [
        _gain(draw, networks, worth, linear)
        for (draw, _), (networks, _) in zip(usable, chosen, strict=True)
    ]
    low, middle, high = np.quantile(found, [0.05, 0.5, 0.95])
    return Outlook(float(middle), float(low), float(high), len(done) - 1)


def _gain(
    costs: np.ndarray, networks: Networks, worth: Sequence[float], linear: np.ndarray
) -> float:
    """Return what networks gain over the joint run, as a share of its loss; at least 0.

    Tasks gain very unequally, so each task's logarithm of a loss becomes a loss by itself.

    Args:
        costs: `[num_tasks, num_tasks]`: what company costs, rows source.
        networks: The chosen ones.
        worth: Each task's share in the loss of the joint run, in any unit.
        linear: By task: whether its objective changes in proportion to the logarithm.
    """
    joint, changes = costs.mean(axis=0), np.zeros(len(costs))
    for trained, served in networks:
        tasks = list(bits(served))
        changes[tasks] = costs[np.ix_(list(bits(trained)), tasks)].mean(axis=0) - joint[tasks]
    gains = -np.where(linear, changes, np.expm1(changes))
    return max(float(np.average(gains, weights=worth)), 0.0)


def _draws(prior: Prior, shares: np.ndarray, seen: Cells, observed: np.ndarray) -> np.ndarray:
    """Return `[num_draws, num_tasks, num_tasks]`: T of the gain model, rows source."""
    count = len(shares)
    draw = np.random.default_rng(0)
    source, target = np.nonzero(~np.eye(count, dtype=bool))
    ones = np.ones(len(source))
    pairs = Cells(source, target, np.eye(count)[source], ones, shares[source, target])
    draws = _DRAWS if count <= _MANY_TASKS else _DRAWS_OF_MANY
    found = np.zeros((draws, count, count))
    row = 0
    chosen = draw.choice(len(_SIZES) * len(_NOISES), draws, p=_likely(prior, seen, observed))
    for index, times in zip(*np.unique(chosen, return_counts=True), strict=True):
        size, noise = divmod(int(index), len(_NOISES))
        scaled = _scaled(prior, _SIZES[size], _NOISES[noise])
        mean, spread = believed(scaled, seen, observed, pairs)
        values, vectors = np.linalg.eigh(spread)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        drawn = mean + draw.normal(size=(times, len(mean))) @ root.T
        found[row : row + times, source, target] = drawn
        row += times
    return found


def _likely(prior: Prior, seen: Cells, observed: np.ndarray) -> np.ndarray:
    """Return the probability of every size of effects and of noise, flat, sizes first."""
    structure, noise = covariance(prior, seen, seen), luck(prior, seen)
    middle = expected(prior, seen)
    fit = [
        unlikely(size**2 * structure, noise, level, observed - size * middle)
        + ((np.log(size) - _EXPECTED_SIZE) / _SPREAD_OF_SIZES) ** 2
        for size in _SIZES
        for level in _NOISES
    ]
    likely = np.exp((min(fit) - np.array(fit)) / 2)
    return likely / likely.sum()


def _scaled(prior: Prior, size: float, noise: float) -> Prior:
    return replace(
        prior,
        stranger=prior.stranger * size,
        friend=prior.friend * size,
        stranger_spread=prior.stranger_spread * size,
        friend_spread=prior.friend_spread * size,
        task_spread=prior.task_spread * size,
        pair_spread=prior.pair_spread * size,
        network_noise=prior.network_noise * noise,
        noise=prior.noise * noise,
    )
