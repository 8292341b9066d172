"""Losses and layers that read what they have just assigned: a probe sees and changes nothing."""

import apply_and_revert
import keras
import numpy as np
import pytest
import tensorflow as tf
from fresh_process import run_alone
from quick import quick
from tag_models import L, assert_same, relative

from keras_tag import GroupedModel, Grouping, TAGModel, build_from


class Normalised(keras.losses.Loss):
    """The squared error divided by its own moving average."""

    def __init__(self, make=keras.Variable):
        super().__init__(name="normalised")
        # Without trainable=False, as people write it.
        options = {} if make is tf.Variable else {"aggregation": "mean"}
        self.average = make(1.0, name="average", dtype=keras.config.floatx(), **options)

    def call(self, y_true, y_pred):
        values = keras.ops.mean(keras.ops.square(y_pred - y_true), axis=-1)
        self.average.assign(0.7 * self.average + 0.3 * keras.ops.mean(values))
        return values / self.average


class Centred(L.Layer):
    """Subtracts a moving average, to which the batch was added."""

    def build(self, input_shape):
        self.mean = self.add_weight(
            shape=input_shape[1:], initializer="zeros", trainable=False, aggregation="mean"
        )

    def call(self, inputs):
        self.mean.assign(0.5 * self.mean + 0.5 * keras.ops.mean(inputs, axis=0))
        return inputs - self.mean


def network(centred=False, noise=0.0):
    inputs = keras.Input((4,))
    h = L.Dense(6, "tanh", name="trunk")(inputs)
    if centred:
        h = Centred(name="centred")(h)
    h = L.Dropout(noise, seed=1)(h)
    return keras.Model(inputs, {t: L.Dense(1, name=t)(h) for t in "ab"})


def batch(n=24):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 4)).astype(keras.config.floatx())
    return x, {"a": x[:, :1] * 3, "b": x[:, 1:2] - 1}


def losses():
    return {"a": Normalised(), "b": Normalised()}


def fitted(wrap, data, **compiled):
    keras.utils.set_random_seed(0)
    model, loss = network(noise=0.2), losses()
    outer = wrap(model)
    outer.compile("adam", loss=loss, **compiled)
    logs = outer.fit(**data, epochs=2, shuffle=False, verbose=0).history
    state = [own.average.numpy() for own in loss.values()]
    return [*[v.numpy() for v in model.variables], *state], logs


def arrays():
    x, y = batch()
    return {"x": x, "y": y, "batch_size": 8}


def dataset():
    return {"x": tf.data.Dataset.from_tensor_slices(batch()).batch(8)}


@pytest.mark.parametrize(
    ("kind", "data"),
    quick(
        [("gradient", arrays), ("gradient", dataset), ("optimizer", dataset), ("cosine", arrays)],
        [("gradient", dataset)],
    ),
)
def test_training_with_probes_is_plain_training(kind, data):
    """Of a dataset it is not known whether labels are missing: the graph looks for them."""
    plain, logs = fitted(lambda model: model, data())
    probed, ours = fitted(lambda model: TAGModel(model, every=1, lookahead=kind), data())
    assert_same(plain, probed)
    assert ours == logs


@pytest.mark.slow
def test_training_with_probes_is_plain_training_under_xla():
    run_alone(
        """
        import sys; sys.path.insert(0, PATH)
        from test_losses_that_keep_state import *
        plain, logs = fitted(lambda model: model, arrays(), jit_compile=True)
        probed, ours = fitted(lambda model: TAGModel(model, every=1), arrays(), jit_compile=True)
        assert_same(plain, probed)
        """.replace("PATH", repr(__file__.rsplit("/", 1)[0]))
    )


class PutBack:
    """A loss whose state is put back after every call, for the oracle."""

    def __init__(self, loss):
        self.loss = loss

    def __call__(self, y_true, y_pred):
        before = self.loss.average.numpy()
        value = self.loss(y_true, y_pred)
        self.loss.average.assign(before)
        return value


@pytest.mark.parametrize(
    ("centred", "stateful", "kind", "steps"),
    quick(
        [
            (False, True, "gradient", 1),
            (True, False, "gradient", 1),
            (True, True, "gradient", 2),
            (True, True, "first_order", 1),
        ],
        [(True, True, "gradient", 2)],
    ),
)
def test_affinity_is_that_of_steps_taken_and_reverted(centred, stateful, kind, steps, float64):
    """In a training step no gradient flows through a variable that was assigned."""
    model, optimizer = network(centred), keras.optimizers.SGD(0.1)
    tag = TAGModel(model, lookahead=kind, steps=steps)
    loss = losses() if stateful else dict.fromkeys("ab", keras.losses.MeanSquaredError())
    tag.compile(optimizer, loss=loss)
    x, y = batch()
    measured = tag.measure_affinity(x, y)
    restored = {task: PutBack(own) if stateful else own for task, own in loss.items()}
    expected = apply_and_revert.affinity(
        model, optimizer, x, y, restored, tag.shared_variables, kind=kind, rate=0.1, steps=steps
    )
    assert relative(measured, expected) < 1e-6


def test_a_step_of_length_zero_changes_no_loss():
    tag = TAGModel(network(centred=True, noise=0.3), every=1, lookahead_rate=0.0)
    tag.compile("sgd", loss=losses())
    tag.fit(*batch(), batch_size=8, verbose=0)
    assert tag.affinity().count.min() == 3
    np.testing.assert_array_equal(tag.affinity().mean, np.zeros((2, 2)))


@pytest.mark.slow
def test_two_replicas_keep_one_state():
    run_alone(
        """
        import contextlib, sys; sys.path.insert(0, PATH)
        import keras, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
        keras.config.set_floatx("float64"); keras.config.set_dtype_policy("float64")
        from test_losses_that_keep_state import *
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        ends, found = [], []
        for wrap in (lambda model: model, lambda model: TAGModel(model, every=1)):
            with strategy.scope():
                keras.utils.set_random_seed(0)
                model, loss = network(centred=True), losses()
                outer = wrap(model)
                outer.compile("sgd", loss=loss)
            x, y = batch()
            outer.fit(x, y, batch_size=8, shuffle=False, verbose=0)
            ends.append([v.numpy() for v in [*model.variables, loss["a"].average]])
        assert_same(*ends)
        for scope in (contextlib.nullcontext(), strategy.scope()):
            with scope:
                keras.utils.set_random_seed(0)
                tag = TAGModel(network(centred=True))
                tag.compile("sgd", loss=losses())
            found.append(tag.measure_affinity(x, y))
        np.testing.assert_allclose(found[1], found[0], rtol=1e-9)
        """.replace("PATH", repr(__file__.rsplit("/", 1)[0]))
    )


@pytest.mark.parametrize("data", quick([arrays, dataset], [dataset]))
def test_a_state_that_keras_does_not_see_is_refused_before_a_probe(data):
    """The step before it is plain Keras's."""
    loss = {"a": Normalised(tf.Variable), "b": "mse"}
    model = network()
    tag = TAGModel(model, every=2)
    tag.compile("sgd", loss=loss)
    with pytest.raises(ValueError, match=r"TensorFlow variables that are written at .*normalised"):
        tag.check(*batch(8))
    assert loss["a"].average.numpy() == 1.0
    weights = model.get_weights()
    with pytest.raises(ValueError, match=r"TensorFlow variables that are written at .*normalised"):
        tag.fit(**data(), shuffle=False, verbose=0)
    after, state = model.get_weights(), loss["a"].average.numpy()
    plain = network()
    plain.set_weights(weights)
    loss = {"a": Normalised(tf.Variable), "b": "mse"}
    plain.compile("sgd", loss=loss)
    plain.fit(**data(), shuffle=False, verbose=0, steps_per_epoch=1)
    assert_same(after, plain.get_weights())
    assert state == loss["a"].average.numpy()
    tag.pause_probing()
    tag.fit(**data(), verbose=0)


class Drawing(L.Layer):
    """Draws as TensorFlow does."""

    def __init__(self, draw, **kwargs):
        super().__init__(**kwargs)
        self.draw = draw

    def call(self, inputs):
        return inputs + self.draw(tf.shape(inputs))


def drawing(draw):
    inputs = keras.Input((4,))
    h = Drawing(draw)(L.Dense(6)(inputs))
    tag = TAGModel(keras.Model(inputs, {t: L.Dense(1, name=t)(h) for t in "ab"}), every=1)
    tag.compile("sgd", loss="mse")
    return tag


def test_draws_that_no_keras_seed_makes_are_told_or_refused():
    with pytest.raises(ValueError, match="SeedGenerator"):
        drawing(tf.random.Generator.from_seed(1).normal).fit(*batch(), verbose=0)
    with pytest.warns(UserWarning, match="that no Keras seed makes"):
        drawing(tf.random.normal).fit(*batch(), verbose=0)


def test_a_network_trains_with_its_losses_state_as_it_does_alone():
    plain, _ = fitted(lambda model: model, dataset())
    keras.utils.set_random_seed(0)
    model, loss = network(noise=0.2), losses()
    build = build_from(model, start="all", verbose=False)
    grouped = GroupedModel(Grouping.from_groups([("a", "b")]), build)
    keras.utils.set_random_seed(0)
    grouped.compile("adam", loss=loss)
    grouped.fit(**dataset(), epochs=2, verbose=0)
    ours = [v.numpy() for v in grouped.networks[0].variables]
    ours += [own.average.numpy() for own in loss.values()]
    assert_same(plain, ours)


def test_networks_that_would_share_a_losses_state_are_refused():
    build = build_from(network(), verbose=False)
    one = Normalised()
    apart = Grouping.from_groups([("a",), ("b",)])
    helped = Grouping((("a", "b"), ("b",)), {"a": 0, "b": 1})
    for grouping, loss in ((helped, losses()), (apart, {"a": one, "b": one})):
        grouped = GroupedModel(grouping, build)
        grouped.compile("sgd", loss=loss)
        with pytest.raises(ValueError, match="every network trains as it would alone"):
            grouped.fit(**dataset(), verbose=0)
    grouped = GroupedModel(apart, build)
    grouped.compile("sgd", loss=losses())
    grouped.fit(**dataset(), verbose=0)
