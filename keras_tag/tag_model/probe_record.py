"""Sums and counts of the affinities of a run, saved with the weights."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_tag.affinity.history import AffinityHistory, HistoryRecorder

# Names that the present block is saved under.
_BLOCK = ("block_total", "block_count", "block_probes")


@dataclass(frozen=True, eq=False)
class Counts:
    """The step counter and the present block of probes.

    Args:
        step: How many training steps were taken.
        next_source: The task that is the next probe's first source, if probes take some of them.
        block: The present block, as `HistoryRecorder.add` takes it; empty before the tasks are
            known.
        last_counted: The latest step that was counted.
    """

    step: int = 0
    next_source: int = 0
    block: tuple[Any, ...] = ()
    last_counted: Any = None

    @property
    def probes(self) -> int:
        """How many probes the present block holds."""
        return int(self.block[2]) if self.block else 0

    def empty(self, num_tasks: int) -> "Counts":
        """Return the same step with a block of no probes."""
        pairs = (num_tasks, num_tasks)
        return dataclasses.replace(self, block=(np.zeros(pairs), np.zeros(pairs, "int64"), 0))

    def add(self, affinity: np.ndarray) -> "Counts":
        """Return the counts with one probe more; see `ProbeRecord.add`."""
        total, count, probes = self.block
        finite = np.isfinite(affinity)
        block = (total + np.where(finite, affinity, 0), count + finite, probes + 1)
        return dataclasses.replace(self, block=block)


class ProbeRecord(keras.layers.Layer):
    """Affinities, summed and kept by epoch on the host, and the number of steps.

    All of it is written with the weights, so that a restored run goes on with the affinities that
    it had. Nothing of it is a variable: the graph of a training step stays Keras's own.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        # An object, because Keras would copy a list or tuple set on a layer. It is replaced as a
        # whole: a signal can raise between any two lines, and comes before or after all of it.
        self._counts = Counts()
        # A string, for the first of these reasons.
        self._task_names = ""
        self._recorder: HistoryRecorder | None = None
        self._epoch: int | None = None
        # JSON, for the same reason; and whether it was written in this epoch.
        self._measured_with = ""
        self._noted = False
        # JSON: the first row of every part, and its settings.
        self._parts = ""
        # Nothing here depends on an input, so there is no build step to wait for.
        self.built = True

    @property
    def step(self) -> int:
        """How many training steps were taken."""
        return self._counts.step

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks whose affinities are summed; empty before `prepare`."""
        return tuple(json.loads(self._task_names)) if self._task_names else ()

    @property
    def probes(self) -> int:
        """How many probes were made."""
        return 0 if self._recorder is None else int(self.history().probes.sum())

    def prepare(self, tasks: Sequence[str]) -> None:
        """Make the `[num_tasks, num_tasks]` sums, or check that they belong to these tasks.

        Args:
            tasks: The task names.

        Raises:
            ValueError: Affinities were measured, of other tasks.
        """
        tasks = tuple(tasks)
        if self._recorder is None:
            self._counts = self._counts.empty(len(tasks))
            self._recorder = HistoryRecorder(len(tasks))
            if self._epoch is not None:
                self._recorder.begin_epoch(self._epoch)
        elif self.tasks != tasks:
            raise ValueError(
                f"Expected the same tasks for the whole run: affinities of {list(self.tasks)} were "
                f"measured. Received: tasks {list(tasks)}. Wrap the model in a new TAGModel to "
                "measure other tasks."
            )
        self._task_names = json.dumps(tasks)

    @property
    def measured_with(self) -> dict[str, Any]:
        """The settings that `note` last kept; empty before."""
        return json.loads(self._measured_with) if self._measured_with else {}

    def note(self, describe: Callable[[], dict[str, Any]]) -> None:
        """Keep the settings of the present probes, once per epoch.

        Args:
            describe: Returns plain JSON types.
        """
        if not self._noted:
            self._measured_with = json.dumps(describe())
            self._noted = True

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The parts of the record: the history's "row" that each begins with, and its "settings".

        Empty before the first `begin_part`.
        """
        return list(json.loads(self._parts)) if self._parts else []

    def separate(self) -> None:
        """Close what was recorded so far, so that the next probe can begin a part."""
        if self._recorder is not None:
            self._close_block()
            self._recorder.end_epoch()
            if self._epoch is not None:
                self._recorder.begin_epoch(self._epoch)

    def begin_part(self, settings: dict[str, Any]) -> dict[str, Any] | None:
        """Begin a part of the record if the settings are not those of the last part.

        Args:
            settings: The settings of the probes since `separate`, plain JSON types.

        Returns:
            The settings of the part before; None if no part begins that has one before it.
        """
        assert self._recorder is not None
        parts = self.parts
        before = parts[-1] if parts else None
        if before is not None and before["settings"] == settings:
            return None
        # In a file of before there were parts, the first one begins with the first row.
        row = self._recorder.row if before is not None else 0
        if before is not None and before["row"] == row:
            parts, before = parts[:-1], None  # It has no probes.
        self._parts = json.dumps([*parts, {"row": row, "settings": settings}])
        return None if before is None else dict(before["settings"])

    @property
    def next_source(self) -> int:
        """The task that is the next probe's first source, if probes take some of them."""
        return self._counts.next_source

    def counted(self, step: Any) -> bool:
        """Return whether a step was the latest that was counted."""
        return self._counts.last_counted is step

    def add(
        self,
        step: Any,
        steps: int,
        probe: np.ndarray | None = None,
        sources: int = 0,
    ) -> None:
        """Count training steps and their probe, if there was one.

        Args:
            step: An object that stands for them, for `counted`.
            steps: How many training steps.
            probe: The affinity, `[num_tasks, num_tasks]`, entries that are not finite are not
                counted.
            sources: How many tasks the probe took as sources, if not all.
        """
        now = self._counts
        new = dataclasses.replace(now, step=now.step + steps, last_counted=step)
        if probe is not None:
            source = (now.next_source + sources) % len(probe)
            new = dataclasses.replace(new, next_source=source).add(probe)
        self._counts = new

    def history(self, *, all_parts: bool = True) -> AffinityHistory:
        """Return all blocks, the present unfinished one included.

        Args:
            all_parts: Whether blocks of all parts are wanted, or those of the last part only.
        """
        assert self._recorder is not None
        self.finish_closing()
        history = self._recorder.history(*self._block())
        parts = self.parts
        if all_parts or len(parts) < 2:
            return history
        first = parts[-1]["row"]
        last = history.part(history.row >= first)
        return dataclasses.replace(last, row=last.row - first)

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch of `fit`; see `HistoryRecorder.begin_epoch`."""
        self._epoch = epoch
        self._noted = False
        if self._recorder is not None:
            self._close_block()
            self._recorder.begin_epoch(epoch)

    def end_epoch(self) -> None:
        """End the epoch, and its last block with it."""
        self._epoch = None
        if self._recorder is not None:
            self._close_block()
            self._recorder.end_epoch()

    def close_full_block(self) -> None:
        """Close the present block if it is full."""
        if self._recorder is not None and self._counts.probes >= self._recorder.block_size:
            self._close_block()

    def reset(self) -> None:
        """Forget the affinities; the step counter stays."""
        if self._recorder is not None:
            self._recorder.clear()
            self._empty_block()
            self._parts = json.dumps([{**part, "row": 0} for part in self.parts[-1:]])

    def save_own_variables(self, store: Any) -> None:
        """Write everything, under names."""
        store["step"] = np.array(self.step, "int64")
        store["next_source"] = np.array(self.next_source, "int64")
        if self._recorder is not None:
            self.finish_closing()
            store["tasks"] = np.frombuffer(self._task_names.encode("utf-8"), "uint8")
            store["parts"] = np.frombuffer(self._parts.encode("utf-8"), "uint8")
            store["measured_with"] = np.frombuffer(self._measured_with.encode("utf-8"), "uint8")
            for name, array in zip(_BLOCK, self._block(), strict=True):
                store[name] = array
            for name, array in self._recorder.state().items():
                store[name] = array

    def load_own_variables(self, store: Any) -> None:
        """Read what `save_own_variables` wrote, the names of the tasks among it."""
        counts = Counts(int(np.asarray(store["step"])), int(np.asarray(store["next_source"])))
        self._counts = counts.empty(len(self.tasks))
        if "tasks" not in store:
            self.reset()
            return
        self.prepare(json.loads(bytes(np.asarray(store["tasks"])).decode("utf-8")))
        assert self._recorder is not None
        self._measured_with = _text(store, "measured_with")
        self._parts = _text(store, "parts")
        counts = counts.empty(len(self.tasks))
        block = tuple(np.asarray(store[name]) for name in _BLOCK)
        self._counts = dataclasses.replace(counts, block=block)
        self._recorder.restore(store)

    def _block(self) -> tuple[Any, ...]:
        """Return the present block as `HistoryRecorder.add` takes it."""
        return self._counts.block

    def _close_block(self) -> None:
        assert self._recorder is not None
        self.finish_closing()
        block = self._block()
        if block[2]:
            self._recorder.expect(*block)
            self.finish_closing()

    def finish_closing(self) -> None:
        """Hand on the block that is being closed; completes what an interrupt left."""
        if self._recorder is not None and self._recorder.expects:
            self._empty_block()
            self._recorder.receive()

    def _empty_block(self) -> None:
        self._counts = self._counts.empty(len(self.tasks))


def _text(store: Any, name: str) -> str:
    """Return a text of a file; empty if the file was written before it was kept."""
    return bytes(np.asarray(store[name])).decode("utf-8") if name in store else ""
