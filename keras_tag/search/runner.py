"""The loop of a search: read the folder, do the next step."""

import gc
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import keras

from keras_tag.search.data import Source
from keras_tag.search.ledger import Kind, Ledger, Outcome
from keras_tag.search.networks import Networks
from keras_tag.search.progress import Progress
from keras_tag.search.proposals import Limits, Problem, warn_of_unusable
from keras_tag.search.training import Callbacks, Training, seed_of

_FAILURES_IN_A_ROW = 3


@dataclass(frozen=True)
class Runner:
    """What the loop needs.

    Args:
        ledger: The folder.
        networks: Builds networks.
        problem: What is searched for.
        limits: What it may cost.
        train: Training data.
        valid: Validation data.
        fit: Arguments of `fit`.
        callbacks: The user's.
        seed: The search's.
        max_retries: How often a training is tried again.
        on_timeout: Whether a training that has begun is finished, or stopped at an epoch's end.
        keep: Which weights are kept.
        probe_data: Where the joint run measures affinities.
    """

    ledger: Ledger
    networks: Networks
    problem: Problem
    limits: Limits
    train: Source
    valid: Source
    fit: Mapping[str, Any]
    callbacks: Callbacks
    seed: int
    max_retries: int
    on_timeout: Literal["finish", "stop"]
    keep: Literal["best", "all"]
    probe_data: Any = None

    def run(self, progress: Callable[[int, int], Progress]) -> None:
        """Search until it is enough, or limits are reached.

        Args:
            progress: Makes the `Progress` from the trainings done and those allowed.

        Raises:
            FolderError: The folder can't be written any more.
            RuntimeError: The joint run failed, or three trainings in a row.
        """
        problem, ledger = self.problem, self.ledger
        outcomes = ledger.whole_rounds()
        if outcomes and outcomes[0].status == "failed":
            # There is nothing to search without it, so it is tried again from its start.
            outcomes = []
        if not outcomes:
            self._check_objectives()
            outcomes = self._asked(0, "joint", [problem.tasks])
        ended = [outcome for outcome in outcomes if outcome.ended]
        allowed = 1 + self.limits.trainings + len(problem.tasks) * problem.singles
        shown = progress(len(ended), allowed)
        try:
            self._train_round(outcomes[:1], ended, shown)
            if ended[0].status == "failed":
                raise RuntimeError(f"The joint run failed: {ended[0].error}")
            affinity = ledger.affinity()
            assert affinity is not None
            warn_of_unusable(affinity)
            self._follow(ended[0])
            asked = outcomes[1:]
            while self._train_round(asked, ended, shown):
                groups = problem.next_groups(affinity, ended, self.limits)
                if not groups:
                    break
                kind: Kind = "single" if problem.singles and len(groups[0]) == 1 else "searched"
                asked = self._asked(len(ended), kind, groups)
        finally:
            shown.close()

    def _train_round(self, asked: list[Outcome], ended: list[Outcome], shown: Progress) -> bool:
        """Train what has not ended, as long as limits allow it; tell whether all was trained."""
        for outcome in asked:
            if outcome.ended:
                continue
            if outcome.status == "waiting" and ended and not self.limits.room(ended):
                return False
            ended.append(self._train(replace(outcome, status="running"), ended, shown))
            self._stop_after_failures(ended)
            if self.keep == "best":
                self._prune(ended)
        return True

    def _check_objectives(self) -> None:
        """Look for the objectives in the logs of one batch, before anything is trained.

        Raises:
            ValueError: Some are not there.
        """
        objectives = self.problem.objectives
        if all(own.name == f"val_{task}_loss" for task, own in objectives.items()):
            return
        keras.utils.set_random_seed(self.seed)
        with self.networks.scope():
            model = self.networks.group(self.problem.tasks)
        x, y, *weight = self.valid.first_batch()
        values = model.evaluate(x, y, sample_weight=(*weight, None)[0], verbose=0, return_dict=True)
        logs = {f"val_{name}": value for name, value in values.items()}
        absent = [own.name for task, own in objectives.items() if own.read(logs, task) is None]
        if absent:
            raise ValueError(
                f"Expected objectives that are in the logs: {sorted(logs)}. Received: {absent}. "
                "Compile the model with these metrics."
            )

    def _asked(self, first: int, kind: Kind, groups: Sequence[tuple[str, ...]]) -> list[Outcome]:
        """Write down a round."""
        asked = [
            Outcome(number, kind, group, "waiting", seed=seed_of(self.seed, group, 0))
            for number, group in enumerate(groups, first)
        ]
        self.ledger.write_round(asked)
        return asked

    def _train(self, outcome: Outcome, ended: list[Outcome], shown: Progress) -> Outcome:
        """Train a group, again if it fails, and write down what came of it."""
        shown.begin(outcome)
        while outcome.status == "running":
            self.ledger.write(outcome)
            outcome = self._attempt(outcome, ended)
        shown.end(outcome, self._best([*ended, outcome]))
        return outcome

    def _attempt(self, outcome: Outcome, ended: list[Outcome]) -> Outcome:
        begun = time.monotonic()
        try:
            done, network, affinity = self._training(outcome, ended).run()
        except Exception as error:
            if self.ledger.is_broken(error):
                with self.ledger.writing():
                    raise OSError(str(error)) from error
            return self._failed(outcome, error, time.monotonic() - begun)
        if affinity is not None:
            self.ledger.write_affinity(affinity)
        done = replace(done, cost=cost_of(done, done if done.kind == "joint" else ended[0]))
        self.ledger.write(done)
        self.ledger.forget_backup(done.number)
        del network
        gc.collect()
        return done

    def _failed(self, outcome: Outcome, error: Exception, seconds: float) -> Outcome:
        self.ledger.forget_attempt(outcome.number)
        text = "".join(traceback.format_exception_only(error)).strip()
        spent = outcome.seconds + seconds
        if outcome.attempt < self.max_retries:
            attempt = outcome.attempt + 1
            again = seed_of(self.seed, outcome.group, attempt)
            return replace(outcome, attempt=attempt, seed=again, seconds=spent, error=text)
        failed = replace(outcome, status="failed", seconds=spent, error=text)
        self.ledger.write(failed)
        return failed

    def _training(self, outcome: Outcome, ended: list[Outcome]) -> Training:
        deadline = None
        if self.limits.timeout is not None and self.on_timeout == "stop":
            deadline = time.time() + self.limits.timeout - sum(o.seconds for o in ended)
        return Training(
            outcome,
            self.ledger.folder_of(outcome.number),
            self.networks,
            self.train,
            self.valid,
            self.fit,
            self.problem.objectives,
            self.problem.constraints.get("weights") or {},
            self.callbacks,
            self.probe_data,
            deadline,
        )

    def _follow(self, joint: Outcome) -> None:
        """Networks may start from what the joint run has learnt."""
        if self.networks.start in ("trunk", "all"):
            weights = self.ledger.weights_of(joint)
            self.networks.follow(self.networks.trained(joint.group, weights))

    def _best(self, outcomes: list[Outcome]) -> float | None:
        try:
            return float(self.problem.choose(outcomes).objective)
        except ValueError:
            return None

    def _stop_after_failures(self, ended: list[Outcome]) -> None:
        last = ended[-_FAILURES_IN_A_ROW:]
        if len(last) == _FAILURES_IN_A_ROW and all(o.status == "failed" for o in last):
            raise RuntimeError(
                f"{_FAILURES_IN_A_ROW} trainings in a row failed; the first of them, of "
                f"{list(last[0].group)}: {last[0].error}"
            )

    def _prune(self, ended: list[Outcome]) -> None:
        """Remove the weights of networks that can't be chosen any more."""
        for outcome in ended:
            if outcome.kind == "searched" and self.problem.beaten(outcome, ended):
                self.ledger.weights_of(outcome).unlink(missing_ok=True)


def cost_of(done: Outcome, joint: Outcome) -> float:
    """Return what a training costs, in joint runs.

    Seconds would say it more exactly, but they differ from run to run, and a search that was
    killed would go on in another way than one that was not.

    Args:
        done: A training that is done.
        joint: The joint run.

    Returns:
        Its epochs times the multiply-adds of its network, relative to those of the joint run; only
        epochs where multiply-adds are not known, which is the most that it can be.
    """
    work = 1.0
    if done.multiply_adds and joint.multiply_adds:
        work = done.multiply_adds / joint.multiply_adds
    return round(work * done.epochs / joint.epochs, 6)
