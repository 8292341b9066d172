"""`StopWhenStable`: the end of probing, or of training, once the choice of groups is stable."""

from typing import Any, Unpack

import keras
import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.callbacks.tag_models import check_tag_model
from keras_tag.resampling import Stability, stability
from keras_tag.selection.arguments.choice import Choice, ChoiceArguments, lists_arguments
from keras_tag.selection.grouping import Grouping


class StopWhenStable(keras.callbacks.Callback):
    """Callback that ends probing once more probes would hardly change the chosen groups.

    After every epoch the groups are chosen for the affinities so far, and again for affinities
    drawn from within their errors (see `keras_tag.stability`). The choice has settled
    when, `patience` epochs in a row, it is as good as the best one in at least `confidence` of the
    draws, up to a loss of `tolerance`; and when the choice of the first of these epochs is still as
    good by the affinities of the last, because errors know nothing of drift.

    The decision follows from the model's history of affinities alone, with seeded draws: every
    worker of a distribution strategy comes to the same one, and so does a run that was interrupted
    and goes on.

    Args:
        budget: How many networks may be served, as for `select_groups`.
        confidence: In which share of the draws the choice must be good, in (0, 1].
        tolerance: How much may be lost, as a share of what choosing gains over random groups.
        min_probes: Before so many probes nothing is decided.
        patience: How many epochs with probes must agree, at least 1.
        stop_training: End `fit`. Otherwise only probing is paused, and training goes on at the
            speed of the wrapped model; `tag.resume_probing()` takes it up again.
        replicates: How many draws.
        seed: Of the draws.
        verbose: 1 says when it has settled.
        **choice: The other arguments of `select_groups`: `score`, `alone`, `overlap`, ...

    Attributes:
        stopped_epoch: The epoch after which the choice had settled; None as long as it has not.
        stability: The latest `Stability`, None where none could be told.
        grouping: The latest choice.

    Raises:
        ValueError: An argument out of its range; in `fit`, a model that is no `TAGModel`.

    Example:
        >>> stop = keras_tag.callbacks.StopWhenStable(budget=3)
        >>> tag.fit(train, epochs=100, callbacks=[stop])
        >>> stop.stopped_epoch, stop.grouping
    """

    @lists_arguments(ChoiceArguments)
    def __init__(
        self,
        budget: float,
        *,
        confidence: float = 0.95,
        tolerance: float = 0.05,
        min_probes: int = 30,
        patience: int = 3,
        stop_training: bool = False,
        replicates: int = 100,
        seed: int = 0,
        verbose: int = 0,
        **choice: Unpack[ChoiceArguments],
    ) -> None:
        super().__init__()
        if not 0 < confidence <= 1:
            raise ValueError(f"Expected 0 < `confidence` <= 1. Received: {confidence!r}.")
        if not tolerance >= 0:
            raise ValueError(f"Expected `tolerance` >= 0. Received: {tolerance!r}.")
        for name, number in (("min_probes", min_probes), ("patience", patience)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ValueError(f"Expected `{name}` to be an integer >= 1. Received: {number!r}.")
        self.budget = budget
        self.confidence = confidence
        self.tolerance = tolerance
        self.min_probes = min_probes
        self.patience = patience
        self.stop_training = stop_training
        self.verbose = verbose
        score = Choice.of("StopWhenStable", choice).score
        if not isinstance(score, str):
            raise ValueError(
                "Expected `score` to be 'members' or 'partners'. Received: a function, which does "
                "not read the affinities, so nothing about it is unsure."
            )
        self._score = score
        self.replicates = replicates
        self.seed = seed
        self._choice = choice
        self.on_train_begin()

    @property
    def grouping(self) -> Grouping | None:
        """The latest choice; None as long as there is none."""
        return None if self.stability is None else self.stability.grouping

    def on_train_begin(self, logs: Any = None) -> None:
        """Forget what an earlier `fit` has found."""
        self.stopped_epoch: int | None = None
        self.stability: Stability | None = None
        # What was found after so many probes.
        self._found: dict[int, Stability] = {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Decide, at the first epoch, about what a restored run has measured before."""
        # Not at `on_train_begin`: there another callback may be about to restore it.
        check_tag_model(self.model, "StopWhenStable")
        if not self._found:
            self._decide(epoch - 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Decide whether the choice has settled."""
        if self.stopped_epoch is None:
            self._decide(epoch)

    def _decide(self, epoch: int) -> None:
        if not self.model.probes:
            return
        affinity = self.model.affinity()
        if not self._settled(affinity):
            return
        self.stopped_epoch = epoch
        self.model.pause_probing()
        if self.stop_training:
            self.model.stop_training = True
        if self.verbose:
            print(f"Epoch {epoch + 1}: the choice of groups has settled.\n{self.stability}")

    def _settled(self, affinity: Affinity) -> bool:
        self.stability = self._stability(affinity)
        if affinity.history is None or len(np.unique(affinity.history.row)) < self.patience:
            return False
        earlier = [affinity.over(slice(None, -back)) for back in range(1, self.patience)]
        latest = [self.stability, *map(self._stability, earlier)]
        sure = [s for s in latest if s and s.confidence(self.tolerance) >= self.confidence]
        if len(sure) < self.patience:
            return False
        # Negative where the earlier choice is the better one, which rounding may make it.
        lost = sure[0].regret_of(sure[-1].grouping)
        return lost <= self.tolerance * max(sure[0].gain, 0.0)

    def _stability(self, affinity: Affinity) -> Stability | None:
        """Return the stability, or None where it can't be told yet."""
        assert affinity.history is not None
        probes = int(affinity.history.probes.sum())
        if probes < self.min_probes or not _can_be_told(affinity, self._score):
            return None
        if probes not in self._found:
            self._found[probes] = stability(
                affinity, self.budget, replicates=self.replicates, seed=self.seed, **self._choice
            )
        return self._found[probes]


def _can_be_told(affinity: Affinity, score: str) -> bool:
    """Return whether every pair that the score reads has an error, and can be divided by."""
    known = np.isfinite(affinity.standard_error)
    if score == "partners":
        return bool((known | np.eye(len(known), dtype=bool)).all())
    return bool(known.all() and (np.diagonal(affinity.mean) > 0).all())
