"""A probe that raises half-way leaves weights, slots, statistics and counts as they were."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tag_models import assert_same, data, mlp, snapshot

from keras_tag import TAGModel


@keras.saving.register_keras_serializable(package="tests")
class FailsAtCall(keras.losses.Loss):
    """Squared error that raises at its n-th evaluation, inside the graph."""

    def __init__(self):
        super().__init__(name="fails")
        self.calls = 0
        self.fail_at = None

    def call(self, y_true, y_pred):
        def count(values):
            self.calls += 1
            if self.calls == self.fail_at:
                raise RuntimeError("this loss was told to fail")
            return values

        values = tf.reduce_mean((y_true - y_pred) ** 2, axis=-1)
        counted = tf.py_function(count, [tf.stop_gradient(values)], values.dtype)
        counted.set_shape(values.shape)
        return values + 0.0 * counted


@pytest.mark.parametrize("kind", ["gradient", pytest.param("optimizer", marks=pytest.mark.slow)])
@pytest.mark.parametrize("eager", [False, True], ids=["compiled", "eager"])
def test_a_loss_that_raises_in_a_look_ahead(kind, eager):
    x, y = data(32, dtype="float32")
    loss = FailsAtCall()
    model = mlp(norm=True, dropout=0.2)
    tag = TAGModel(model, every=2, lookahead=kind)
    tag.compile(
        keras.optimizers.Adam(0.01),
        loss={"a": loss, "b": "binary_crossentropy", "c": "mse"},
        run_eagerly=eager,
    )
    tag.fit(x, y, batch_size=16, shuffle=False, verbose=0)  # steps 0 and 1; step 2 is a probe
    first = {k: v[:16] for k, v in y.items()}
    tag.measure_affinity(x[:16], first)
    calls = loss.calls
    tag.measure_affinity(x[:16], first)
    per_probe = loss.calls - calls
    tag.reset_metrics()  # As `train_on_batch` does first.
    before = snapshot(tag, tag.optimizer)
    loss.fail_at = loss.calls + per_probe - 1  # among the last look-aheads
    # One step, so that nothing but the failed one is between the two snapshots.
    with pytest.raises(Exception, match="told to fail"):
        tag.train_on_batch(x[:16], first)
    assert_same(before, snapshot(tag, tag.optimizer))
    # And training goes on.
    tag.fit(x, y, batch_size=16, verbose=0)
    assert np.isfinite(tag.affinity().mean).all()


@pytest.mark.parametrize("kind", ["gradient", "optimizer", "first_order"])
def test_measuring_with_a_loss_that_raises_changes_nothing(kind):
    x, y = data(16, dtype="float32")
    loss = FailsAtCall()
    tag = TAGModel(mlp(norm=True, dropout=0.2), lookahead=kind)
    tag.compile("adam", loss={"a": loss, "b": "mse", "c": "mse"})
    tag.measure_affinity(x, y)
    calls = loss.calls
    tag.measure_affinity(x, y)
    for fail_after in range(1, loss.calls - calls + 1):
        before = snapshot(tag, tag.optimizer)
        loss.fail_at = loss.calls + fail_after
        with pytest.raises(Exception, match="told to fail"):
            tag.measure_affinity(x, y)
        assert_same(before, snapshot(tag, tag.optimizer))


def test_what_is_not_finite_is_left_out_and_counted():
    """A step that overflows gives no number; it must not poison the mean of the others."""
    x, y = data(32, dtype="float32")
    tag = TAGModel(mlp(), every=1, lookahead_rate=0.1)
    tag.compile(keras.optimizers.SGD(0.0), loss={"a": "mse", "b": "mse", "c": "mse"})
    z = tag.measure_affinity(x[:16], {k: v[:16] for k, v in y.items()})
    spoilt = {k: v.copy() for k, v in y.items()}
    spoilt["a"][16:] = np.inf  # the second batch: the loss of a is infinite, and so is its step
    tag.fit(x, spoilt, batch_size=16, shuffle=False, verbose=0)
    assert tag.probes == 2
    row = column = tag.tasks.index("a")
    left_out = tag.probes - tag.affinity().count
    assert left_out[row].all()
    assert left_out[:, column].all()
    assert not np.delete(np.delete(left_out, row, 0), column, 1).any()
    np.testing.assert_allclose(tag.affinity().mean[row], z[row], rtol=1e-3, atol=1e-6)


def test_the_data_are_drawn_once_per_step():
    drawn = []

    def batches():
        for i in range(5):
            drawn.append(i)
            x, y = data(8, seed=i, dtype="float32")
            yield x, y

    _, y = data(8, dtype="float32")
    spec = (
        tf.TensorSpec((8, 6)),
        {k: tf.TensorSpec(v.shape) for k, v in y.items()},
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=spec)
    tag = TAGModel(mlp(), every=2)
    tag.compile("sgd", loss="mse")
    tag.fit(dataset, verbose=0)
    assert drawn == [0, 1, 2, 3, 4]
    assert tag.affinity().count.max() == 3
