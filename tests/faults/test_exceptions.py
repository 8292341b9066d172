"""An exception from anywhere in `fit` leaves the state after a whole step, and `fit` can go on.

One model for all: its steps are traced once, and every test begins from the same file of weights.
"""

import keras
import numpy as np
import pytest
import runs
import tensorflow as tf

from keras_tag import TAGModel

END = 2 * runs.STEPS


class Faulty(keras.losses.Loss):
    """Squared error that raises in the compiled step, at its `fail_at`-th evaluation."""

    def __init__(self):
        super().__init__(name="faulty")
        self.calls = 0
        self.fail_at = None
        self.error = RuntimeError("a loss broke")

    def call(self, y_true, y_pred):
        def count(values):
            self.calls += 1
            if self.calls == self.fail_at:
                raise self.error
            return values

        values = tf.reduce_mean((y_true - y_pred) ** 2, axis=-1)
        same = tf.py_function(count, [tf.stop_gradient(values)], values.dtype)
        same.set_shape(values.shape)
        # Nobody's gradient needs what came back, so only we can make the update wait for it.
        return values + tf.stop_gradient(same - values)

    def arm(self, calls, error=None):
        self.fail_at = self.calls + calls
        self.error = error or RuntimeError("a loss broke")


class Run:
    """A model at its first step, and what an unbroken run of it comes to."""

    def __init__(self, folder):
        self.loss = Faulty()
        self.tag = runs.compiled({"a": "mse", "b": self.loss, "c": "mse"})
        self.tag.fit(runs.batches(0, 2), verbose=0)  # Makes all that a file of it can hold.
        self.start = runs.Start(folder, runs.compiled({"a": "mse", "b": self.loss, "c": "mse"}))
        self.reset()
        log = runs.Log()
        self.tag.fit(runs.batches(0, END), callbacks=[log], verbose=0)
        self.states, self.affinity = log.states, self.tag.affinity()
        assert sorted(self.states) == list(range(END + 1))

    def reset(self):
        self.loss.fail_at = None
        self.start.put_into(self.tag)
        self.tag.resume_probing()

    def assert_whole(self, at=None):
        """The state is the unbroken run's after as many steps; every probe counts or none of it."""
        reached = runs.step(self.tag)
        assert at is None or reached == at
        for ours, theirs in zip(runs.weights(self.tag), self.states[reached], strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert self.tag.probes == runs.probes_of(reached)
        if self.tag.probes:
            np.testing.assert_array_equal(self.tag.affinity().count, self.tag.probes)

    def assert_goes_on(self):
        """From here to the end, and there it is what the unbroken run is."""
        self.tag.fit(runs.batches(runs.step(self.tag), END), verbose=0)
        self.assert_whole(at=END)
        np.testing.assert_allclose(self.tag.affinity().mean, self.affinity.mean, rtol=1e-12)


@pytest.fixture(scope="module")
def the_run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run(the_run):
    the_run.reset()
    return the_run


def test_a_run_can_be_cut_and_go_on(run):
    """The yardstick itself: no fault at all."""
    run.tag.fit(runs.batches(0, 5), verbose=0)
    run.assert_whole(at=5)
    run.assert_goes_on()


# A probed step evaluates the loss of b once before and once after every task's step: 4 times; an
# unprobed one once. Steps 1, 2, 4, ... are probed.
@pytest.mark.parametrize("evaluation", range(1, 12))
def test_a_loss(run, evaluation):
    run.loss.arm(evaluation)
    with pytest.raises(Exception, match="a loss broke"):
        run.tag.fit(runs.batches(0, END), verbose=0)
    run.assert_whole()
    run.assert_goes_on()


@pytest.mark.parametrize("evaluation", [2, 3, 4])
def test_a_probe_that_runs_out_of_memory(run, evaluation):
    run.tag.fit(runs.batches(0, 4), verbose=0)
    # What TensorFlow makes of it in a compiled step is what an allocator raises.
    run.loss.arm(evaluation, MemoryError("OOM when allocating tensor"))
    with pytest.raises(tf.errors.ResourceExhaustedError, match="OOM"):
        run.tag.fit(runs.batches(4, END), verbose=0)
    run.assert_whole(at=4)
    # Training needs no look-ahead: without probes it goes on in the memory that there is.
    run.tag.pause_probing()
    run.tag.fit(runs.batches(4, END), verbose=0)
    for ours, theirs in zip(runs.weights(run.tag), run.states[END], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert run.tag.probes == runs.probes_of(4)


def generator(at, error):
    """Batches from a Python generator that raises before batch `at`."""
    spec = runs.batches(0, 1).element_spec

    def broken():
        for number, batch in enumerate(runs.batches(0, END)):
            if number == at:
                raise error
            yield batch

    return tf.data.Dataset.from_generator(broken, output_signature=spec)


def mapped(at, error):
    """`tf.data` whose own graph raises at batch `at`."""

    def check(number, batch):
        with tf.control_dependencies([tf.debugging.assert_less(number, at, "the data broke")]):
            return tf.nest.map_structure(tf.identity, batch)

    at = tf.constant(at, "int64")
    return runs.batches(0, END).enumerate().map(check)


class Broken(keras.utils.PyDataset):
    """Batches by index, of which one can't be had."""

    def __init__(self, at, error):
        super().__init__()
        self.at, self.error = at, error
        self.batches = list(runs.batches(0, END).as_numpy_iterator())

    def __len__(self):
        return END

    def __getitem__(self, index):
        if index == self.at:
            raise self.error
        return self.batches[index]


def plain(at, error):
    """What Keras calls a generator."""
    for number, batch in enumerate(runs.batches(0, END).as_numpy_iterator()):
        if number == at:
            raise error
        yield batch


SOURCES = [generator, mapped, Broken, plain]


@pytest.mark.parametrize("source", SOURCES)
def test_the_data_of_a_probed_step(run, source):
    data = source(4, RuntimeError("the data broke"))
    with pytest.raises(Exception, match="the data broke"):
        run.tag.fit(data, steps_per_epoch=END, shuffle=False, verbose=0)
    run.assert_whole(at=4)
    run.assert_goes_on()


@pytest.mark.parametrize("source", SOURCES)
def test_the_data_of_an_unprobed_step(run, source):
    """It is Keras's own, which counts a step, and draws its seed, before it has data for it."""
    data = source(7, RuntimeError("the data broke"))
    with pytest.raises(Exception, match="the data broke"):
        run.tag.fit(data, steps_per_epoch=END, shuffle=False, verbose=0)
    for ours, theirs in zip(runs.weights(run.tag), run.states[7], strict=True):
        if ours.dtype.kind == "f":
            np.testing.assert_array_equal(ours, theirs)
    assert run.tag.probes == runs.probes_of(7)
    run.tag.fit(runs.batches(7, END), verbose=0)
    assert run.tag.probes == runs.probes_of(END)
    np.testing.assert_array_equal(run.tag.affinity().count, run.tag.probes)


def test_the_data_are_interrupted(run):
    with pytest.raises((KeyboardInterrupt, tf.errors.OpError)):
        run.tag.fit(generator(6, KeyboardInterrupt()), verbose=0)
    run.assert_whole(at=6)
    run.assert_goes_on()


HOOKS = [
    f"on_{what}_{when}"
    for what in ("train", "epoch", "train_batch", "test", "test_batch")
    for when in ("begin", "end")
]


class Raises(keras.callbacks.Callback):
    """Raises in one hook, when it was called so often."""

    def __init__(self, hook, error, calls):
        super().__init__()
        self.left = calls
        self.error = error
        setattr(self, hook, self.hook)

    def hook(self, *args, **kwargs):
        self.left -= 1
        if not self.left:
            raise self.error


@pytest.mark.parametrize("error", [ValueError("broke"), KeyboardInterrupt("broke")], ids=repr)
@pytest.mark.parametrize("hook", HOOKS)
def test_a_callback(run, hook, error):
    calls = 5 if "batch" in hook else 1
    kwargs = {"validation_data": runs.batches(0, 8)} if "test" in hook else {}
    raises = Raises(hook, error, calls)
    with pytest.raises(type(error), match="broke"):
        run.tag.fit(runs.batches(0, runs.STEPS), callbacks=[raises], verbose=0, **kwargs)
    assert not raises.left
    run.assert_whole()
    run.assert_goes_on()


def test_an_eager_loss(tmp_path):
    """The same with `run_eagerly=True`, where an exception can come between any two lines."""
    loss = Faulty()
    tag = TAGModel(runs.network(), every=1)
    tag.compile("adam", loss={"a": "mse", "b": loss, "c": "mse"}, run_eagerly=True)
    tag.fit(runs.batches(0, 2), verbose=0)
    before = runs.weights(tag)
    for evaluation in range(1, 5):
        loss.arm(evaluation)
        with pytest.raises(Exception, match="a loss broke"):
            tag.fit(runs.batches(2, 4), verbose=0)
        for ours, theirs in zip(runs.weights(tag), before, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert tag.probes == 2
