"""`ModelCheck`: what a preflight of a `TAGModel` found."""

import dataclasses
import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_WIDTH = 100
_ANSWERS = {True: "yes", False: "no", None: "partly"}


@dataclass(frozen=True)
class TaskCheck:
    """One task and its labels in the batch.

    Args:
        task: Its name.
        loss: The name of its loss.
        loss_weight: Its loss weight; None where it is a variable.
        label_shape: Of its labels, with the examples in axis 0.
        label_dtype: Of its labels.
        labelled: How many examples have a label that counts: not missing, not hidden by a Keras
            mask, of a weight that is not 0.
        missing: How many labels are missing.
        masked: How many labels a Keras mask hides.
        loss_value: Its loss on the batch, before the loss weight.
        own_step: The affinity of the task for itself: the share of its loss that its own look-ahead
            takes away. NaN where that was not measured.
        shared_parameters: How many numbers of the shared weights its loss depends on.
        own_parameters: How many trainable numbers its loss alone depends on.
    """

    task: str
    loss: str
    loss_weight: float | None
    label_shape: tuple[int, ...]
    label_dtype: str
    labelled: int
    missing: int
    masked: int
    loss_value: float
    own_step: float
    shared_parameters: int
    own_parameters: int


@dataclass(frozen=True)
class SharedWeights:
    """The weights that a set of tasks shares.

    Args:
        tasks: The tasks whose losses depend on them.
        weights: The paths of the variables.
        parameters: How many numbers they hold.
    """

    tasks: tuple[str, ...]
    weights: tuple[str, ...]
    parameters: int


@dataclass(frozen=True)
class Promise:
    """Something that holds for this model and its data, or does not.

    Args:
        name: What it is.
        holds: True, False, or None: partly, as `why` says.
        why: The reason.
        way_out: What to do where it does not hold; empty where it does.
    """

    name: str
    holds: bool | None
    why: str
    way_out: str = ""


@dataclass(frozen=True)
class ProbeCost:
    """What a probe will take, from counts.

    Args:
        lookahead: As in `TAGModel`.
        rate: The rate of the gradient steps on this batch; None where there are none.
        step: What a look-ahead does, in words.
        forward: Forward passes of a batch.
        backward: Backward passes of a batch.
        plain_steps: What a probed step costs, in training steps that are not probed.
        every: How often is probed, and what training then costs as a multiple of its cost without
            probes: pairs.
        steps_per_epoch: Training steps of an epoch; None if that is not known.
        copies: Bytes of the copies of weights and slots, and of gradients, that a probe holds.
    """

    lookahead: str
    rate: float | None
    step: str
    forward: int
    backward: int
    plain_steps: float
    every: tuple[tuple[int, float], ...]
    steps_per_epoch: int | None
    copies: int


@dataclass(frozen=True, repr=False)
class ModelCheck:
    """What `TAGModel.check` found on one batch. It prints as text.

    Args:
        batch_size: How many examples the batch has.
        tasks: One `TaskCheck` per task, in the order of `TAGModel.tasks`.
        shared: Which weights are shared by which tasks: one `SharedWeights` per set of tasks.
        trainable_parameters: How many trainable numbers the model has.
        frozen_parameters: How many other numbers it has.
        promises: What holds for this model: one `Promise` each.
        probe: What a probe will take.
        suggestions: What to do: the way out for everything that does not hold, and for what the
            batch shows. Empty if nothing was found.

    Example:
        >>> found = tag.check(x, y)
        >>> [task.labelled for task in found.tasks]
        [32, 32, 32]
        >>> found.promise("build_from").holds
        True
        >>> print(found)
    """

    batch_size: int
    tasks: tuple[TaskCheck, ...]
    shared: tuple[SharedWeights, ...]
    trainable_parameters: int
    frozen_parameters: int
    promises: tuple[Promise, ...]
    probe: ProbeCost
    suggestions: tuple[str, ...]

    def promise(self, name: str) -> Promise:
        """Return a promise by its name.

        Args:
            name: Such as "build_from"; `promises` has them all.

        Raises:
            ValueError: There is none of this name.
        """
        named = {promise.name: promise for promise in self.promises}
        if name not in named:
            raise ValueError(f"Expected one of {list(named)}. Received: {name!r}.")
        return named[name]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as dicts, lists, strings and numbers; NaN where not measured."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    def __str__(self) -> str:
        lines = [self._title(), "", "Tasks"]
        lines += _columns([_TASK_HEAD, *map(_task_cells, self.tasks)])
        lines += ["", "Shared weights", *_wrapped(self._sharing())]
        lines += ["", "Promises"]
        for promise in self.promises:
            lines += _wrapped([f"{_answer(promise)}: {promise.why}"])
        lines += ["", "Probe", *_wrapped(self._probe())]
        lines += ["", "Suggestions"]
        numbered = [f"{k}. {text}" for k, text in enumerate(self.suggestions, 1)]
        return "\n".join([*lines, *_wrapped(numbered or ["none"])])

    __repr__ = __str__

    def _title(self) -> str:
        return f"Check of {len(self.tasks)} tasks on one batch of {self.batch_size} examples"

    def _sharing(self) -> list[str]:
        lines = []
        for part in self.shared:
            everyone = len(part.tasks) == len(self.tasks)
            who = "all tasks" if everyone else listed(part.tasks)
            lines.append(f"{who}: {part.parameters:,} numbers in {len(part.weights)} weights")
        own = sum(task.own_parameters for task in self.tasks)
        lines.append(
            f"of {self.trainable_parameters:,} trainable numbers ({own:,} are of one task alone) "
            f"and {self.frozen_parameters:,} that are not trained"
        )
        return lines

    def _probe(self) -> list[str]:
        probe = self.probe
        lines = [
            f"lookahead={probe.lookahead!r}: {probe.step}",
            f"{probe.forward} forward and {probe.backward} backward passes; a probed step costs "
            f"about {probe.plain_steps:.3g} plain ones",
            "training takes about "
            + ", ".join(f"{cost:.2f} times as long at every={k}" for k, cost in probe.every)
            + " (the defaults of short and of long runs)" * (len(probe.every) > 1),
        ]
        if not probe.every:
            lines[-1] = "every='auto' keeps training below its `overhead`"
        elif probe.steps_per_epoch is not None:
            steps = probe.steps_per_epoch
            counts = ", ".join(f"{steps / k:.3g} at every={k}" for k, _ in probe.every)
            lines.append(f"an epoch is {steps:,} steps; probes per epoch: {counts}")
        lines.append(f"memory: {_size(probe.copies)} of copies, besides activations")
        return lines


_TASK_HEAD = ("task", "loss", "weight", "labels", "labelled", "loss now", "own step")


def _task_cells(task: TaskCheck) -> tuple[str, ...]:
    labelled = f"{task.labelled} of {task.label_shape[0]}"
    details = [f"{task.missing} missing"] * bool(task.missing)
    details += [f"{task.masked} masked"] * bool(task.masked)
    if details:
        labelled += f" ({', '.join(details)})"
    return (
        task.task,
        task.loss,
        "variable" if task.loss_weight is None else f"{task.loss_weight:g}",
        f"{task.label_dtype} {list(task.label_shape)}",
        labelled,
        f"{task.loss_value:.4g}",
        f"{task.own_step:+.3g}",
    )


def _answer(promise: Promise) -> str:
    return f"[{_ANSWERS[promise.holds]}] {promise.name}"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _wrapped(texts: Sequence[str]) -> list[str]:
    lines = []
    for text in texts:
        lines += textwrap.wrap(
            text, _WIDTH, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False
        )
    return lines


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def listed(names: Sequence[str]) -> str:
    """Return names as a list for reading, of which the end is left out if they are many."""
    if len(names) <= 5:
        return ", ".join(names)
    return f"{', '.join(names[:4])} and {len(names) - 4} more"
