"""Training steps of a `TAGModel`: Keras's train function, and a probe before some of its steps.

The choice is made in Python, not in the graph: a collective inside `tf.cond` fails under a
distribution strategy, and convolutions in it are many times slower. A probe is a function of its
own, not a part of the training step: TensorFlow's graph rewriter rounds some layers otherwise when
the graph around them changes, and a probe that raises must move nothing.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import tensorflow as tf

from keras_tag.tag_model.early_variables import make_early
from keras_tag.tag_model.probe_record import ProbeRecord
from keras_tag.tag_model.schedule import OFTEN, OverheadClock


@contextmanager
def announced(what: str, verbose: bool) -> Iterator[None]:
    """Print a line that says what is done inside, and when it is done how long it took."""
    begun = time.perf_counter()
    if verbose:
        print(f"\nkeras_tag: {what} (once) ...", end="", flush=True)
    yield
    if verbose:
        print(f" {time.perf_counter() - begun:.0f} s", flush=True)


@dataclass
class ProbeSwitch:
    """The choices that the host makes and that a traced function reads.

    Args:
        paused: No step is probed.
        every: How often the present or latest `fit` probes, where the model's own `every` is None.
        brief: That `fit` is known to end with its first execution.
        complete: No label is missing in the data of the function that runs, as the host has seen.
        probing: `train_step` runs a probe.
        reuses: The training step that is traced takes its joint gradient from its probe.
        gradient: That gradient, one tensor per trainable variable.
        last_step_probed: The latest step was probed.
        verbose: The `fit` that runs tells what it does.
    """

    paused: bool = False
    every: int = OFTEN
    brief: bool = False
    complete: bool = False
    probing: bool = False
    reuses: bool = False
    gradient: Any = None
    last_step_probed: bool = False
    verbose: bool = False
    _coming: bool = False

    @contextmanager
    def data(self, complete: bool) -> Iterator[None]:
        """Tell the functions that begin inside whether labels are complete."""
        self._coming = complete
        try:
            yield
        finally:
            self._coming = False

    def take_complete(self) -> bool:
        """Return what `data` told, once: False for a function that begins otherwise."""
        complete, self._coming = self._coming, False
        return complete


class SameBatch:
    """A `tf.data` iterator that yields the batches that it is given, one by one.

    Keras's train function takes a step's batch from an iterator inside of its graph. The batch of
    a probed step was taken out already, and comes back in through this one, so that the graph is
    that of every other step.

    Args:
        spec: The `element_spec` of the iterator that the batches come from, of dense tensors.
    """

    def __init__(self, spec: Any) -> None:
        leaves = tf.nest.flatten(spec)
        # A queue runs without Python, which `from_generator` calls for every batch.
        self._queue = queue = tf.queue.FIFOQueue(1, [leaf.dtype for leaf in leaves])

        def take(_: tf.Tensor) -> Any:
            taken = tf.nest.flatten(queue.dequeue())
            for tensor, leaf in zip(taken, leaves, strict=True):
                tensor.set_shape(leaf.shape)
            return tf.nest.pack_sequence_as(spec, taken)

        # Nothing may be fetched before it is given.
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False
        options.autotune.enabled = False
        data = tf.data.Dataset.from_tensors(0).repeat().map(take)
        self._iterator = iter(data.with_options(options))

    def of(self, batch: Any) -> Any:
        """Return the iterator, about to yield this batch."""
        if self._queue.size() > 0:
            self._queue.dequeue()  # The step that it was given for failed before it took it.
        self._queue.enqueue(tf.nest.flatten(batch))
        return self._iterator


class Probing(Protocol):
    """What `TrainFunctions` asks of a `Prober`."""

    def probe(self, batch: Any, like: Any) -> tuple[Any, list[tf.Tensor] | None]:
        """Return the affinity at a batch, and the joint gradient if it is reused."""

    def describe(self) -> dict[str, Any]:
        """Return what probes are made with, as plain JSON types."""

    def new_part(self) -> dict[str, Any] | None:
        """Return the settings of the part that the first probe begins, if it begins one."""


class StepFunctions:
    """Keras's function for a step, once for data with complete labels, once for all other data.

    Labels are complete when the host has seen that none is missing. Then the graph is Keras's own;
    otherwise it looks for missing labels.

    Args:
        switch: Its `complete` is set while a step runs, or is traced.
        make: Makes Keras's function anew.
    """

    def __init__(self, switch: ProbeSwitch, make: Callable[[], Any]) -> None:
        self._switch = switch
        self._make = make
        self._functions: dict[Any, Any] = {}
        self._complete = False

    def begin(self) -> None:
        """Begin to run on other data."""
        self._complete = self._switch.take_complete()

    def __call__(self, iterator: Any) -> Any:
        """Run one step, or `steps_per_execution` of them."""
        self._switch.complete = self._complete
        try:
            return self._run(iterator)
        finally:
            self._switch.complete = False

    def _run(self, iterator: Any) -> Any:
        return self._function()(iterator)

    def _function(self, *more: Any) -> Any:
        key = (self._complete, *more)
        if key not in self._functions:
            self._functions[key] = self._make()
        return self._functions[key]


class TrainFunctions(StepFunctions):
    """The function that Keras calls for every training step of a `TAGModel`.

    Args:
        model: The compiled `TAGModel`; its `every` is set when it is "auto" and the clock has
            timed enough steps.
        record: Where its steps and probes are counted.
        switch: Read and set as its attributes say.
        make: Makes Keras's train function anew.
        prober: Probes a batch.
    """

    def __init__(
        self,
        model: Any,
        record: ProbeRecord,
        switch: ProbeSwitch,
        make: Callable[[], Any],
        prober: Probing,
    ) -> None:
        super().__init__(switch, make)
        self._model = model
        self._record = record
        self._prober = prober
        self._same_batch: dict[str, SameBatch] = {}
        self._has_begun = False
        self._has_probed = False
        self._clock = OverheadClock(
            model.overhead, lambda: keras.ops.convert_to_numpy(model.optimizer.iterations)
        )

    def _run(self, iterator: Any) -> Any:
        model, clock = self._model, self._clock
        if model.every != "auto" or self._switch.paused:
            return self._step(iterator)
        with clock.timed():
            logs = self._step(iterator)
        if clock.every is not None:
            model.every = clock.every
            print(
                f"keras_tag: every={model.every} keeps probing below {model.overhead:.0%} of "
                "training. Give that number instead of 'auto' to repeat this run."
            )
        return logs

    def _step(self, iterator: Any) -> Any:
        executed = self._model.steps_per_execution
        probes = self._switch.last_step_probed = self._probes(self._record.step)
        if not self._has_begun:
            self._has_begun = True
            make_early(self._model, iterator)
        train = self._function()
        if not probes:
            return self._counted(executed, lambda: train(iterator))
        logs = None
        for _ in range(executed):
            try:
                batch = next(iterator)
            except StopIteration:
                if logs is None and isinstance(iterator, tf.data.Iterator):
                    train(iterator)  # Keras decides what the end of the data changes.
                if logs is None:
                    raise
                break
            logs = self._probed(train, batch, iterator)
        return logs

    def _probed(self, train: Callable[[Any], Any], batch: Any, iterator: Any) -> Any:
        """Probe one batch and train on it."""
        part = None
        if self._has_probed:
            affinity, gradient = self._prober.probe(batch, iterator)
        else:
            self._record.separate()
            with announced("building the probe", self._switch.verbose):
                affinity, gradient = self._prober.probe(batch, iterator)
            # The record takes the probe and its part at once, after the step.
            part = self._prober.new_part()
        if gradient is None:
            batches = self._batches(batch, iterator)
            logs = self._counted(1, lambda: train(batches), affinity, part)
        else:
            reusing = self._function("reuses")
            self._switch.reuses = True
            try:
                batches = iter([(batch, gradient)])
                logs = self._counted(1, lambda: reusing(batches), affinity, part)
            finally:
                self._switch.reuses = False
        self._record.note(self._prober.describe)
        self._has_probed = True
        return logs

    def _counted(
        self, steps: int, train: Callable[[], Any], affinity: Any = None, part: Any = None
    ) -> Any:
        """Train, and count the steps and their probe.

        A signal can raise between any two lines of Python, also when the step has been taken and
        not been counted; and a compiled step can raise and have been taken. Then the optimizer's
        own counter tells, except where Keras counts a step before it has data for it.
        """
        optimizer = self._model.optimizer
        # With gradient accumulation it is no variable. A copy does not wait for the step before.
        before = tf.identity(keras.ops.convert_to_tensor(optimizer.iterations))
        step = object()
        sources = self._model.sources_per_probe or 0
        try:
            logs = train()
            if steps > 1 and _counts_every_step(optimizer):
                # The end of the data may have cut the execution short.
                steps = int(keras.ops.convert_to_numpy(optimizer.iterations)) - int(before)
            self._record.add(step, steps, affinity, sources, part)
        except StopIteration:
            raise
        except BaseException as error:
            no_data = affinity is None and "IteratorGetNext" in str(error)
            now = keras.ops.convert_to_numpy(optimizer.iterations)
            taken = min(steps, int(now) - int(before))
            if taken > 0 and not no_data and not self._record.counted(step):
                self._record.add(step, taken, affinity, sources, part)
            raise
        return logs

    def _batches(self, batch: Any, iterator: Any) -> Any:
        """Return an iterator over one batch, for Keras's train function."""
        plain = isinstance(iterator, tf.data.Iterator) and self._model.steps_per_execution == 1
        if not plain:
            return iter([batch])
        spec = iterator.element_spec
        if not all(isinstance(leaf, tf.TensorSpec) for leaf in tf.nest.flatten(spec)):
            return iter([batch])
        key = repr(spec)  # A dict and a list of the same leaves may have them in another order.
        if key not in self._same_batch:
            self._same_batch[key] = SameBatch(spec)
        return self._same_batch[key].of(batch)

    def _probes(self, step: int) -> bool:
        if self._switch.paused:
            return False
        if self._model.every == "auto":
            return self._clock.probes_next()
        # The first step comes at once: its probe, which has to be built, is made at the second, if
        # one is to come.
        every, executed = self._model.probes_every, self._model.steps_per_execution
        if step <= executed < every:
            return step == (0 if self._switch.brief else executed)
        # Of the steps of this execution, which may begin anywhere after one that the end of the
        # data cut short.
        return -step % every < executed


def _counts_every_step(optimizer: Any) -> bool:
    """Return whether an optimizer counts every training step.

    One that accumulates gradients does not, nor one that leaves out steps at which float16
    overflows.
    """
    scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return not scales and not optimizer.gradient_accumulation_steps
