"""Sums and counts of the affinities of a run, saved with the weights."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.affinity.history import AffinityHistory, HistoryRecorder

# Names that the present block is saved under. Files of earlier versions have no losses.
_BLOCK = ("block_total", "block_count", "block_probes", "block_loss_total", "block_loss_count")


class ProbeRecord(keras.layers.Layer):
    """Affinities, summed in variables by the training step and kept by epoch on the host.

    A Keras metric would be reset by `evaluate`; plain non-trainable variables are not. They hold
    the sums of the present block of probes; `close_full_block` moves them to the host. Both are
    written with the weights, so that a restored run goes on with the affinities that it had.

    The variables are made when the number of tasks is known: before the first probe, or from a
    file.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trainable=False, dtype="float64", **kwargs)
        self.step = self._variable("step", (), "int64")
        self.next_source = self._variable("next_source", (), "int64")
        self.probes_in_block = self._variable("probes", (), "int64")
        # Counts the probed steps that ran to their end; not saved.
        self.finished = self._variable("finished", (), "int64")
        # A string, because Keras would copy a list or tuple set on a layer.
        self._task_names = ""
        self.total: Any = None
        self.count: Any = None
        self.loss_total: Any = None
        self.loss_count: Any = None
        self._recorder: HistoryRecorder | None = None
        self._epoch: int | None = None
        # JSON, for the same reason; and whether it was written in this epoch.
        self._measured_with = ""
        self._noted = False
        self._steps_in_block = 0
        # Nothing here depends on an input, so there is no build step to wait for.
        self.built = True

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
            shape = (len(tasks), len(tasks))
            self.total = self._variable("total", shape, "float64")
            self.count = self._variable("count", shape, "int64")
            self.loss_total = self._variable("loss_total", shape[:1], "float64")
            self.loss_count = self._variable("loss_count", shape[:1], "int64")
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

    def sources(self, count: int) -> list[tf.Tensor]:
        """Return the next source tasks in turn, within the training step.

        Args:
            count: How many.

        Returns:
            Scalar int64 tensors, all different; the first task follows the last.
        """
        num_tasks = len(self.tasks)
        first = self.next_source.value + 0
        self.next_source.assign((first + count) % num_tasks)
        return [(first + k) % num_tasks for k in range(count)]

    def add(self, affinity: tf.Tensor, losses: tf.Tensor) -> None:
        """Add one probe, within the training step; entries that are not finite are not counted.

        Args:
            affinity: `[num_tasks, num_tasks]`.
            losses: `[num_tasks]`, before the look-ahead; 0 where a task has no labels.
        """
        affinity = tf.cast(affinity, self.total.dtype)
        finite = tf.math.is_finite(affinity)
        with tf.control_dependencies([affinity]):
            self.probes_in_block.assign_add(1)
        self.total.assign_add(tf.where(finite, affinity, tf.zeros_like(affinity)))
        self.count.assign_add(tf.cast(finite, self.count.dtype))
        losses = tf.cast(losses, self.loss_total.dtype)
        known = tf.math.is_finite(losses) & (losses != 0)
        self.loss_total.assign_add(tf.where(known, losses, tf.zeros_like(losses)))
        self.loss_count.assign_add(tf.cast(known, self.loss_count.dtype))

    def finish(self, after: Sequence[Any]) -> None:
        """Count the probed step as whole, within the training step.

        Args:
            after: The variables that the step trains; it is whole when they are updated.
        """
        with tf.control_dependencies([tf.identity(variable.value) for variable in after]):
            self.finished.assign_add(1)

    def history(self) -> AffinityHistory:
        """Return all blocks, the present unfinished one included."""
        assert self._recorder is not None
        self.finish_closing()
        return self._recorder.history(*self._block())

    # Called by the host, between steps.

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch of `fit`; see `HistoryRecorder.begin_epoch`."""
        self._epoch = epoch
        self._noted = False
        if self._recorder is not None:
            self._close_block()
            self._recorder.begin_epoch(epoch)

    def end_epoch(self) -> None:
        """End the epoch, and its last block with it.

        So between epochs the variables are 0, and callbacks that put back the weights of an
        earlier epoch (`EarlyStopping`) put back no sums.
        """
        self._epoch = None
        if self._recorder is not None:
            self._close_block()
            self._recorder.end_epoch()

    def close_full_block(self, steps: int) -> None:
        """Close the present block if it is full.

        Args:
            steps: How many steps have been probed since the last call.
        """
        # Counted on the host, so that it waits for an accelerator only when a block is full.
        self._steps_in_block += steps
        if self._recorder is not None and self._steps_in_block >= self._recorder.block_size:
            self._close_block()

    def reset(self) -> None:
        """Forget the affinities; the step counter stays."""
        if self._recorder is not None:
            self._recorder.clear()
            self._empty_block()

    def save_own_variables(self, store: Any) -> None:
        """Write everything, under names."""
        store["step"] = self.step.numpy()
        store["next_source"] = self.next_source.numpy()
        if self._recorder is not None:
            self.finish_closing()
            store["tasks"] = np.frombuffer(self._task_names.encode("utf-8"), "uint8")
            store["measured_with"] = np.frombuffer(self._measured_with.encode("utf-8"), "uint8")
            for name, array in zip(_BLOCK, self._block(), strict=True):
                store[name] = array
            for name, array in self._recorder.state().items():
                store[name] = array

    def load_own_variables(self, store: Any) -> None:
        """Read what `save_own_variables` wrote, the names of the tasks among it."""
        self.step.assign(np.asarray(store["step"]))
        self.next_source.assign(np.asarray(store["next_source"]))
        if "tasks" not in store:
            self.reset()
            return
        self.prepare(json.loads(bytes(np.asarray(store["tasks"])).decode("utf-8")))
        assert self._recorder is not None
        # Older files do not have it.
        noted = store["measured_with"] if "measured_with" in store else np.zeros(0, "uint8")
        self._measured_with = bytes(np.asarray(noted)).decode("utf-8")
        self._empty_block()
        for name, variable in zip(_BLOCK, self._block_variables(), strict=True):
            if name in store:
                variable.assign(np.asarray(store[name]))
        self._steps_in_block = int(self.probes_in_block.numpy())
        self._recorder.restore(store)

    def _block_variables(self) -> tuple[Any, ...]:
        """Return the variables of the present block, in the order of `_BLOCK`."""
        return self.total, self.count, self.probes_in_block, self.loss_total, self.loss_count

    def _block(self) -> tuple[Any, ...]:
        """Return the present block as `HistoryRecorder.add` takes it."""
        return tuple(variable.numpy() for variable in self._block_variables())

    def _close_block(self) -> None:
        assert self._recorder is not None
        self.finish_closing()
        block = self._block()
        if block[2]:
            self._recorder.expect(*block)
            self.finish_closing()

    def finish_closing(self) -> None:
        """Move the block that is being closed to the host; completes what an interrupt left."""
        if self._recorder is not None and self._recorder.expects:
            self._empty_block()
            self._recorder.receive()

    def _empty_block(self) -> None:
        self._steps_in_block = 0
        for variable in self._block_variables():
            variable.assign(np.zeros(variable.shape, variable.dtype))

    def _variable(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        # Every replica holds the same affinity: the first replica's counts it once.
        return self.add_weight(
            shape=shape,
            initializer="zeros",
            dtype=dtype,
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )
