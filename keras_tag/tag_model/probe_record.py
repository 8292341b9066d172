"""Sums and counts of the affinities of a run, saved with the weights."""

import copy
import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_tag.affinity.history import AffinityHistory, HistoryRecorder


@dataclass(frozen=True, eq=False)
class _State:
    """All that a record holds.

    Args:
        step: How many training steps were taken.
        last_counted: The latest step that was counted.
        next_source: The task that is the next probe's first source, if probes take some of them.
        tasks: The tasks whose affinities are summed; empty before they are known.
        recorder: Of their affinities; None before they are known.
        epoch: The epoch in progress, if there is one.
        measured_with: JSON, the settings of the latest probes.
        noted: Whether these were noted in this epoch.
        parts: JSON, the first row of every part, and its settings.
    """

    step: int = 0
    last_counted: Any = None
    next_source: int = 0
    tasks: tuple[str, ...] = ()
    recorder: HistoryRecorder | None = None
    epoch: int | None = None
    measured_with: str = "{}"
    noted: bool = False
    parts: str = "[]"


class ProbeRecord(keras.layers.Layer):
    """Affinities, summed and kept by epoch on the host, and the number of steps.

    All of it is written with the weights, so that a restored run goes on with the affinities that
    it had. Nothing of it is a variable: the graph of a training step stays Keras's own.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        # An object, because Keras would copy a list or tuple set on a layer. It is replaced as a
        # whole: a signal can raise between any two lines, and comes before or after all of it.
        self._state = _State()
        # Nothing here depends on an input, so there is no build step to wait for.
        self.built = True

    def _change(self, record: Callable[[HistoryRecorder], Any] | None = None, **new: Any) -> None:
        """Replace some of the state, and the recorder, if there is one, by a copy.

        Args:
            record: What the copy is to do.
            **new: Fields of the state.
        """
        if record is not None and self._state.recorder is not None:
            new["recorder"] = copy.copy(self._state.recorder)
            record(new["recorder"])
        self._state = dataclasses.replace(self._state, **new)

    @property
    def step(self) -> int:
        """How many training steps were taken."""
        return self._state.step

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks whose affinities are summed; empty before `prepare`."""
        return self._state.tasks

    @property
    def probes(self) -> int:
        """How many probes were made."""
        return int(self.history().probes.sum()) if self.tasks else 0

    def prepare(self, tasks: Sequence[str]) -> None:
        """Make the `[num_tasks, num_tasks]` sums, or check that they belong to these tasks.

        Args:
            tasks: The task names.

        Raises:
            ValueError: Affinities were measured, of other tasks.
        """
        if self.tasks == tuple(tasks):
            return
        if self.tasks:
            raise ValueError(
                f"Expected the same tasks for the whole run: affinities of {list(self.tasks)} were "
                f"measured. Received: tasks {list(tasks)}. Wrap the model in a new TAGModel to "
                "measure other tasks."
            )
        recorder = HistoryRecorder(len(tasks))
        if self._state.epoch is not None:
            recorder.begin_epoch(self._state.epoch)
        self._change(tasks=tuple(tasks), recorder=recorder)

    @property
    def measured_with(self) -> dict[str, Any]:
        """The settings that `note` last kept; empty before."""
        return dict(json.loads(self._state.measured_with))

    def note(self, describe: Callable[[], dict[str, Any]]) -> None:
        """Keep the settings of the present probes, once per epoch.

        Args:
            describe: Returns plain JSON types.
        """
        if not self._state.noted:
            self._change(measured_with=json.dumps(describe()), noted=True)

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The parts of the record: the history's "row" that each begins with, and its "settings".

        Empty before the first probe.
        """
        return list(json.loads(self._state.parts))

    def separate(self) -> None:
        """Close what was recorded so far, so that the next probe can begin a part."""

        def apart(recorder: HistoryRecorder) -> None:
            recorder.end_epoch()
            if self._state.epoch is not None:
                recorder.begin_epoch(self._state.epoch)

        self._change(apart)

    @property
    def part_is_empty(self) -> bool:
        """Whether the last part has no probe, once `separate` was called."""
        recorder, parts = self._state.recorder, self.parts
        return recorder is not None and bool(parts) and parts[-1]["row"] == recorder.row

    def describe_part(self, settings: dict[str, Any]) -> None:
        """Replace the settings of the last part: a file of an earlier version has fewer."""
        *others, last = self.parts
        if last["settings"] != settings:
            self._change(parts=json.dumps([*others, {**last, "settings": settings}]))

    @property
    def next_source(self) -> int:
        """The task that is the next probe's first source, if probes take some of them."""
        return self._state.next_source

    def counted(self, step: Any) -> bool:
        """Return whether a step was the latest that was counted."""
        return self._state.last_counted is step

    def add(
        self,
        step: Any,
        steps: int,
        probe: np.ndarray | None = None,
        sources: int = 0,
        part: dict[str, Any] | None = None,
    ) -> None:
        """Count training steps and their probe, if there was one.

        Args:
            step: An object that stands for them, for `counted`.
            steps: How many training steps.
            probe: The affinity, `[num_tasks, num_tasks]`; entries that are not finite are not
                counted.
            sources: How many tasks the probe took as sources, if not all.
            part: The settings, plain JSON types, of the part that this probe begins, the first
                since `separate`; None if it is one of the last part.
        """
        counted: dict[str, Any] = {"step": self.step + steps, "last_counted": step}
        if probe is None:
            self._change(**counted)
        else:
            source = (self.next_source + sources) % len(self.tasks)
            if part is not None:
                counted["parts"] = self._with_part(part)
            self._change(lambda of: of.add_probe(probe), next_source=source, **counted)

    def _with_part(self, settings: dict[str, Any]) -> str:
        """Return JSON, the parts and one more that begins with the next probe."""
        assert self._state.recorder is not None
        parts = self.parts
        # In a file of before there were parts, the first one begins with the first row.
        row = self._state.recorder.row if parts else 0
        kept = parts[:-1] if self.part_is_empty else parts
        return json.dumps([*kept, {"row": row, "settings": settings}])

    def history(self, *, all_parts: bool = True) -> AffinityHistory:
        """Return all blocks, the present unfinished one included.

        Args:
            all_parts: Whether blocks of all parts are wanted, or those of the last part only.
        """
        assert self._state.recorder is not None
        history = self._state.recorder.history()
        parts = self.parts
        if all_parts or len(parts) < 2:
            return history
        first = parts[-1]["row"]
        last = history.part(history.row >= first)
        return dataclasses.replace(last, row=last.row - first)

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch of `fit`; see `HistoryRecorder.begin_epoch`."""
        self._change(lambda of: of.begin_epoch(epoch), epoch=epoch, noted=False)

    def end_epoch(self) -> None:
        """End the epoch, and its last block with it."""
        self._change(HistoryRecorder.end_epoch, epoch=None)

    def reset(self) -> None:
        """Forget the affinities; the step counter stays."""
        parts = [{**part, "row": 0} for part in self.parts[-1:]]
        self._change(HistoryRecorder.clear, parts=json.dumps(parts))

    def save_own_variables(self, store: Any) -> None:
        """Write everything, under names."""
        state = self._state
        store["step"] = np.array(state.step, "int64")
        store["next_source"] = np.array(state.next_source, "int64")
        if state.recorder is not None:
            texts = {"tasks": json.dumps(state.tasks), "parts": state.parts}
            for name, text in {**texts, "measured_with": state.measured_with}.items():
                store[name] = np.frombuffer(text.encode("utf-8"), "uint8")
            for name, array in state.recorder.state().items():
                store[name] = array

    def load_own_variables(self, store: Any) -> None:
        """Read what `save_own_variables` wrote, the names of the tasks among it."""
        step, source = (int(np.asarray(store[name])) for name in ("step", "next_source"))
        self._change(step=step, next_source=source, last_counted=None)
        if "tasks" not in store:
            self.reset()
            return

        def text(name: str) -> str:
            return bytes(np.asarray(store[name])).decode("utf-8") if name in store else ""

        self.prepare(json.loads(text("tasks")))
        # Both are empty in files that were written before they were kept.
        parts, settings = text("parts") or "[]", text("measured_with") or "{}"
        self._change(lambda of: of.restore(store), parts=parts, measured_with=settings)
