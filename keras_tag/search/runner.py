"""The loop of a search: it reads the folder once, and then trains what is to be trained next."""

import contextlib
import gc
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass, replace
from typing import Any, Literal

import keras

from keras_tag.affinity import Affinity
from keras_tag.search.ledger import Kind, Ledger, Outcome, cost_of
from keras_tag.search.networks import Networks
from keras_tag.search.progress import Progress
from keras_tag.search.proposals import Limits, Problem, warn_of_unusable
from keras_tag.search.training import FitSettings, Result, Training, mirrored, seed_of
from keras_tag.search.workers import Workers

_FAILURES_IN_A_ROW = 3
# So often a training is given to a worker before it is marked as failed, if workers end under it.
_WORKERS = 3


@dataclass(frozen=True)
class Runner:
    """What the loop needs.

    Args:
        ledger: The folder.
        networks: Builds networks.
        settings: Of all trainings: what is searched for, data and arguments of `fit`.
        limits: What it may cost.
        seed: The search's.
        keep: Which weights are kept.
        workers: Run the trainings.
        strategy: "mirrored": all but the joint run use all GPUs that a worker has.
        session: Of the ledger's folder.
    """

    ledger: Ledger
    networks: Networks
    settings: FitSettings
    limits: Limits
    seed: int
    keep: Literal["best", "all"]
    workers: Workers
    strategy: Literal["mirrored"] | None
    session: str

    @property
    def problem(self) -> Problem:
        """What is searched for."""
        return self.settings.problem

    def run(self, verbose: Any) -> None:
        """Search until it is enough, or limits are reached.

        Args:
            verbose: As in `Progress`.

        Raises:
            FolderError: The folder can't be written any more.
            RuntimeError: The joint run failed, three trainings in a row, or the executor broke.
            ValueError: Trainings can't be sent to the workers.
        """
        outcomes = self.ledger.whole_rounds()
        if outcomes and outcomes[0].status == "failed":
            # There is nothing to search without it, so it is tried again from its start.
            outcomes = []
        if not outcomes:
            self._check_objectives()
            outcomes = self.ask(0, "joint", [self.problem.tasks])
        ended = [outcome for outcome in outcomes if outcome.ended]
        allowed = 1 + self.limits.trainings + len(self.problem.tasks) * self.problem.singles
        loop = _Loop(self, ended, Progress(verbose, len(ended), allowed))
        try:
            if not ended:
                # With one like those that will be sent: the joint run never is.
                self.workers.check(self.training(replace(outcomes[0], kind="searched")))
                loop.run(outcomes[:1], Workers(None))
            if loop.ended[0].status == "failed":
                raise RuntimeError(f"The joint run failed: {loop.ended[0].error}")
            affinity = self.ledger.affinity()
            assert affinity is not None
            warn_of_unusable(affinity)
            self.networks.follow(self.ledger.weights_of(loop.ended[0]))
            loop.run(outcomes[1:], self.workers, affinity)
            self.workers.close(wait=True)
        finally:
            loop.stop()
            self.workers.close(wait=False)

    def _check_objectives(self) -> None:
        """Look for the objectives in the logs of one batch, before anything is trained.

        Raises:
            ValueError: Some are not there.
        """
        objectives = self.problem.objectives
        if all(own.name == f"val_{task}_loss" for task, own in objectives.items()):
            return
        keras.utils.set_random_seed(seed_of(self.seed, self.problem.tasks, 0))
        with self.networks.scope():
            model = self.networks.recipe(self.problem.tasks).model()
        x, y, *weight = self.settings.valid.first_batch()
        values = model.evaluate(x, y, sample_weight=(*weight, None)[0], verbose=0, return_dict=True)
        logs = {f"val_{name}": value for name, value in values.items()}
        absent = [own.name for own in objectives.values() if own.name not in logs]
        if absent:
            raise ValueError(
                f"Expected objectives that are in the logs: {sorted(logs)}. Received: {absent}. "
                "Compile the model with these metrics."
            )

    def ask(self, first: int, kind: Kind, groups: Sequence[tuple[str, ...]]) -> list[Outcome]:
        """Write down what is to be trained.

        Args:
            first: The number of the first training.
            kind: Of all.
            groups: Of each.
        """
        asked = [
            Outcome(number, kind, group, "waiting", seed=seed_of(self.seed, group, 0))
            for number, group in enumerate(groups, first)
        ]
        self.ledger.write_round(asked)
        return asked

    def training(self, outcome: Outcome, deadline: float | None = None) -> Training:
        """Return the training of a group; the joint run stays in this process.

        Args:
            outcome: What was asked for.
            deadline: As in `Training`.
        """
        joint = outcome.kind == "joint"
        here, strategy = joint or self.workers.here, None if joint else self.strategy
        without = self.networks.scope if here else contextlib.nullcontext
        return Training(
            outcome,
            self.ledger.folder_of(outcome.number).absolute(),
            self.networks.recipe(outcome.group),
            self.settings,
            deadline,
            without if strategy is None else mirrored,
            None if here else self.session,
            self.networks if joint else None,
        )


class _Loop:
    """What has ended, runs and waits.

    One rule asks for groups: when a worker is free and nothing waits, the next ones are asked for,
    and what runs is believed to reach what is expected of it. A single worker so trains whole
    rounds, and several never wait for one to end.

    Args:
        runner: The search.
        ended: Trainings that ended, in that order.
        shown: Shows it.
    """

    def __init__(self, runner: Runner, ended: list[Outcome], shown: Progress) -> None:
        self.ended = ended
        self._runner = runner
        self._shown = shown
        self._waiting: deque[Outcome] = deque()
        self._running: dict[Future[Result], Outcome] = {}
        self._begun: dict[int, float] = {}
        self._lost: Counter[int] = Counter()
        # Ran when an executor broke, which does not say by which of them: they run alone now.
        self._suspects: set[int] = set()
        self._asked_at: tuple[int, int] | None = None

    def run(
        self, asked: Sequence[Outcome], workers: Workers, affinity: Affinity | None = None
    ) -> None:
        """Train until nothing is left.

        Args:
            asked: What was asked for before.
            workers: Run the trainings.
            affinity: By which further groups are asked for; None: none are.
        """
        self._waiting.extend(outcome for outcome in asked if not outcome.ended)
        while True:
            self._begin(workers, affinity)
            if not self._running:
                return
            done = wait(self._running, return_when=FIRST_COMPLETED).done
            # Results first: an executor that broke may end the search.
            for future in sorted(
                done, key=lambda own: (_error(own) is not None, self._running[own].number)
            ):
                self._end(future, workers)

    def stop(self) -> None:
        """Begin nothing more."""
        for future in self._running:
            future.cancel()
        self._shown.close()

    def _begin(self, workers: Workers, affinity: Affinity | None) -> None:
        """Give the workers that are free something to do, as far as limits allow it."""
        while workers.most is None or len(self._running) < workers.most:
            if not self._waiting and affinity is not None:
                self._ask(workers, affinity)
            if not self._waiting:
                return
            outcome = self._waiting[0]
            if outcome.status == "waiting" and self.ended and not self._room():
                return
            running = {own.number for own in self._running.values()}
            if running and self._suspects & {outcome.number, *running}:
                return
            self._submit(self._waiting.popleft(), workers)

    def _ask(self, workers: Workers, affinity: Affinity) -> None:
        """Ask for the next groups, unless nothing has changed since the last time."""
        problem, running = self._runner.problem, _in_order(self._running.values())
        # An executor that doesn't say how many workers it has: one is free when a training ends.
        state = len(self.ended), 0 if workers.most is None else len(running)
        if state == self._asked_at:
            return
        self._asked_at = state
        groups = problem.next_groups(
            affinity,
            _in_order(self.ended),
            self._runner.limits,
            [outcome.group for outcome in running],
        )
        if groups:
            kind: Kind = "single" if problem.singles and len(groups[0]) == 1 else "searched"
            first = len(self.ended) + len(running)
            self._waiting.extend(self._runner.ask(first, kind, groups))

    def _submit(self, outcome: Outcome, workers: Workers) -> None:
        runner, outcome = self._runner, replace(outcome, status="running")
        self._shown.begin(outcome)
        runner.ledger.write(outcome)
        training = runner.training(outcome, self._deadline(workers))
        self._begun[outcome.number] = time.monotonic()
        self._running[workers.submit(training)] = outcome

    def _end(self, future: "Future[Result]", workers: Workers) -> None:
        """Write down what came of a training."""
        outcome, error = self._running.pop(future), _error(future)
        if isinstance(error, BrokenExecutor):
            self._suspects.add(outcome.number)
            workers.renew(future)
        elif error is not None and not isinstance(error, Exception):
            raise error
        if error is not None:
            self._worker_lost(outcome, f"{type(error).__name__}: {error}")
            return
        result, ledger = future.result(), self._runner.ledger
        found = result.outcome
        if found.status == "failed" and (result.full or not ledger.folder.is_dir()):
            if result.files is not None:
                self._worker_lost(outcome, str(found.error))
                return
            with ledger.writing():
                raise OSError(found.error)
        if found.status == "done":
            self._done(result)
        else:
            self._failed(outcome, found)
        gc.collect()

    def _done(self, result: Result) -> None:
        """Write down what a training reached."""
        ledger, done = self._runner.ledger, result.outcome
        ledger.write_files(done.number, result.files or {})
        if result.affinity is not None:
            ledger.write_affinity(result.affinity)
        done = replace(done, cost=cost_of(done, self.ended[0] if self.ended else done))
        ledger.write(done)
        ledger.forget_backup(done.number)
        self._note(done)

    def _failed(self, outcome: Outcome, found: Outcome) -> None:
        """Try a training again with another seed, or mark it as failed."""
        spent = round(outcome.seconds + found.seconds, 3)
        outcome = replace(outcome, seconds=spent, error=found.error)
        if outcome.attempt >= self._runner.limits.max_retries:  # More were allowed before.
            self._give_up(outcome)
            return
        self._runner.ledger.forget_attempt(outcome.number)
        attempt = outcome.attempt + 1
        again = seed_of(self._runner.seed, outcome.group, attempt)
        self._waiting.appendleft(replace(outcome, attempt=attempt, seed=again))

    def _worker_lost(self, outcome: Outcome, error: str) -> None:
        """Try a training again as it was, in another worker."""
        self._lost[outcome.number] += 1
        if self._lost[outcome.number] < _WORKERS:
            self._waiting.appendleft(outcome)
            return
        text = f"{_WORKERS} workers were lost, or could not write, in this training: {error}"
        self._give_up(replace(outcome, error=text))

    def _give_up(self, outcome: Outcome) -> None:
        """Mark a training as failed."""
        failed = replace(outcome, status="failed")
        self._runner.ledger.forget_attempt(outcome.number)
        self._runner.ledger.write(failed)
        self._note(failed)

    def _note(self, outcome: Outcome) -> None:
        """Go on with one more training that has ended."""
        self.ended.append(outcome)
        ended, problem = _in_order(self.ended), self._runner.problem
        self._shown.end(outcome, problem.best(ended))
        last = self.ended[-_FAILURES_IN_A_ROW:]
        if len(last) == _FAILURES_IN_A_ROW and all(own.status == "failed" for own in last):
            raise RuntimeError(
                f"{_FAILURES_IN_A_ROW} trainings in a row failed; the first of them, of "
                f"{list(last[0].group)}: {last[0].error}"
            )
        for own in ended if self._runner.keep == "best" else ():
            # Its network can't be chosen any more.
            if own.kind == "searched" and problem.beaten(own, ended):
                self._runner.ledger.weights_of(own).unlink(missing_ok=True)

    def _room(self) -> bool:
        left = self._seconds_left()
        room = self._runner.limits.room(self.ended, len(self._running))
        return room > 0 and (left is None or left > 0)

    def _seconds_left(self) -> float | None:
        """Return how many seconds of training are left, those that run counted; None: any."""
        if self._runner.limits.timeout is None:
            return None
        now = time.monotonic()
        running = sum(now - self._begun[own.number] for own in self._running.values())
        return self._runner.limits.timeout - sum(own.seconds for own in self.ended) - running

    def _deadline(self, workers: Workers) -> float | None:
        """Return when a training that begins now is to stop, by `time.time`."""
        left = self._seconds_left()
        if left is None or self._runner.limits.on_timeout != "stop":
            return None
        return time.time() + left / max(workers.most or 1, 1 + len(self._running))


def _error(future: "Future[Result]") -> BaseException | None:
    """Return what ended a training in its worker, if it gave no result."""
    return CancelledError("by the executor") if future.cancelled() else future.exception()


def _in_order(outcomes: Iterable[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda own: own.number)
