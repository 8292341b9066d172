"""Every look-ahead kind and optimizer against steps really taken and reverted, in float64."""

import apply_and_revert
import keras
import numpy as np
import pytest
from quick import quick
from tag_models import L, assert_same, relative, snapshot

from keras_tag import TAGModel

KINDS = ("gradient", "optimizer", "first_order", "cosine")
SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.02, 1, 0.9)
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05),
    "momentum": lambda: keras.optimizers.SGD(0.02, momentum=0.9),
    "nesterov": lambda: keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.005),
    "lion": lambda: keras.optimizers.Lion(0.003),
    "schedule": lambda: keras.optimizers.Adam(SCHEDULE),
    "clipnorm": lambda: keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=0.05),
    "global_clipnorm": lambda: keras.optimizers.Adam(0.01, global_clipnorm=0.05),
    "ema": lambda: keras.optimizers.SGD(0.05, use_ema=True),
    "loss_scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
}


def make_losses():
    """Made inside a test: a Keras loss takes its dtype from `floatx` when it is made."""
    return {
        "label": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "size": keras.losses.MeanSquaredError(),
        "flag": keras.losses.BinaryCrossentropy(from_logits=True),
    }


def heads(h):
    return {
        "label": L.Dense(3, name="label")(h),
        "size": L.Dense(2, name="size")(L.Dense(5, "tanh", name="pre_size")(h)),
        "flag": L.Dense(1, name="flag")(h),
    }


def convolutional():
    inputs = keras.Input((6, 6, 1))
    h = L.Conv2D(4, 3, name="trunk_conv")(inputs)
    h = L.BatchNormalization(name="trunk_norm")(h)
    h = L.Activation("tanh")(h)
    h = L.GlobalAveragePooling2D()(L.Conv2D(6, 2, activation="tanh", name="trunk_conv2")(h))
    return keras.Model(inputs, heads(h))


def transformer(dropout=0.1):
    inputs = keras.Input((5, 4))
    h = L.Dense(8, name="trunk_in")(inputs)
    h = L.LayerNormalization(name="trunk_norm")(
        h + L.MultiHeadAttention(2, 4, dropout=dropout, seed=2, name="trunk_attention")(h, h)
    )
    h = h + L.Dense(8, name="trunk_out")(L.Dense(8, "gelu", name="trunk_mid")(h))
    return keras.Model(inputs, heads(L.GlobalAveragePooling1D()(h)))


NETWORKS = {"convolutional": convolutional, "transformer": transformer}
# Dropout draws other masks in float32 than in float64, so precisions are compared without.
WITHOUT_DROPOUT = {"convolutional": convolutional, "transformer": lambda: transformer(dropout=0.0)}


def batch(model, n=24, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, *model.input_shape[1:])).astype(keras.config.floatx())
    y = {
        "label": rng.integers(0, 3, size=n),
        "size": rng.normal(size=(n, 2)).astype(keras.config.floatx()),
        "flag": (rng.random((n, 1)) > 0.5).astype(keras.config.floatx()),
    }
    return x, y


def trained(network, optimizer, build=None, **kwargs):
    """A model a few steps into training, so that slots and statistics are not at their start."""
    model = (build or NETWORKS[network])()
    tag = TAGModel(model, every=10**9, **kwargs)
    tag.compile(optimizer, loss=make_losses(), run_eagerly=True)
    x, y = batch(model, n=48, seed=2)
    tag.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    return model, tag


def shared_of(model):
    return [v for v in model.trainable_variables if v.path.startswith("trunk")]


@pytest.mark.parametrize(
    ("name", "network"),
    quick(
        [(name, network) for name in OPTIMIZERS for network in NETWORKS],
        chosen=[
            ("momentum", "convolutional"),
            ("schedule", "convolutional"),
            ("ema", "convolutional"),
            ("adam", "transformer"),
            ("clipnorm", "transformer"),
        ],
        # Of the others one network each is left to CI.
        nightly=[
            (name, ("transformer", "convolutional")[number % 2])
            for number, name in enumerate(OPTIMIZERS)
        ],
    ),
)
def test_optimizer_lookahead_is_the_optimizers_real_step(name, network, float64):
    optimizer = OPTIMIZERS[name]()
    model, tag = trained(network, optimizer, lookahead="optimizer")
    x, y = batch(model)
    z = tag.measure_affinity(x, y)
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    expected = apply_and_revert.affinity(model, inner, x, y, make_losses(), shared_of(model))
    assert relative(z, expected) < 1e-6
    assert relative(expected.T, expected) > 1e-2


@pytest.mark.parametrize("network", quick(NETWORKS, ["convolutional"]))
@pytest.mark.parametrize(
    ("kind", "steps"),
    [("gradient", 1), ("gradient", 3), ("optimizer", 3), ("first_order", 1), ("cosine", 1)],
)
def test_every_kind_equals_its_formula(kind, steps, network, float64):
    optimizer = keras.optimizers.SGD(0.03, momentum=0.9)
    model, tag = trained(network, optimizer, lookahead=kind, steps=steps)
    x, y = batch(model)
    z = tag.measure_affinity(x, y)
    expected = apply_and_revert.affinity(
        model, optimizer, x, y, make_losses(), shared_of(model), kind=kind, rate=0.03, steps=steps
    )
    assert relative(z, expected) < 1e-6


@pytest.mark.parametrize(
    ("kind", "network"),
    quick(
        [(kind, network) for kind in KINDS for network in NETWORKS],
        chosen=[("gradient", "transformer"), ("optimizer", "convolutional")],
    ),
)
def test_float32_agrees_to_its_resolution(kind, network, float64):
    build = WITHOUT_DROPOUT[network]
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    model, tag = trained(network, keras.optimizers.SGD(0.5), build, lookahead=kind)
    x, y = batch(model)
    z = tag.measure_affinity(x, y)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    wide, optimizer = build(), keras.optimizers.SGD(0.5)
    for mine, theirs in zip(wide.variables, model.variables, strict=True):
        mine.assign(theirs.numpy())
    optimizer.build(wide.trainable_variables)
    x, y = x.astype("float64"), {k: v.astype("float64") for k, v in y.items()}
    expected = apply_and_revert.affinity(
        wide, optimizer, x, y, make_losses(), shared_of(wide), kind=kind, rate=0.5
    )
    assert relative(z, expected) < 2e-4


def test_gradient_and_optimizer_agree_for_plain_sgd(float64):
    zs = []
    for kind in ("gradient", "optimizer"):
        keras.utils.set_random_seed(1)
        model, tag = trained("convolutional", keras.optimizers.SGD(0.05), lookahead=kind)
        zs.append(tag.measure_affinity(*batch(model)))
    assert relative(*zs) < 1e-6


def test_momentum_is_part_of_the_step(float64):
    """The velocity of the joint run enters: 0.9 of it, by the formula of SGD with momentum."""
    optimizer = keras.optimizers.SGD(0.02, momentum=0.9)
    model, tag = trained("convolutional", optimizer, lookahead="optimizer")
    x, y = batch(model)
    z = tag.measure_affinity(x, y)
    shared = shared_of(model)
    velocity = dict(
        zip([v.path for v in model.trainable_variables], optimizer.variables[2:], strict=True)
    )

    class ByHand:
        variables = ()

        def apply_gradients(self, pairs):
            for g, v in pairs:
                v.assign(v + 0.9 * velocity[v.path] - 0.02 * g)

    expected = apply_and_revert.affinity(model, ByHand(), x, y, make_losses(), shared)
    assert relative(z, expected) < 1e-6
    plain = apply_and_revert.affinity(
        model, ByHand(), x, y, make_losses(), shared, kind="gradient", rate=0.02
    )
    assert relative(z, plain) > 0.1


@pytest.mark.parametrize("kind", ["gradient", "optimizer"])
def test_a_probe_leaves_everything_as_it_was(kind):
    model, tag = trained("transformer", keras.optimizers.Adam(0.01), lookahead=kind)
    before = snapshot(tag, tag.optimizer)
    tag.measure_affinity(*batch(model))
    assert_same(before, snapshot(tag, tag.optimizer))


def test_probe_data_measures_on_another_batch(float64):
    optimizer = keras.optimizers.SGD(0.05)
    model, tag = trained("convolutional", optimizer)
    x, y = batch(model)
    query = batch(model, seed=9)
    losses = make_losses()
    on_query = TAGModel(model, probe_data=query)
    on_query.compile(optimizer, loss=losses)
    z = on_query.measure_affinity(x, y)

    class StepOnSupport:
        """The step comes from the support batch, whatever batch is measured on."""

        variables = ()
        source = 0

        def apply_gradients(self, pairs):
            import tensorflow as tf

            task = list(losses)[StepOnSupport.source]
            StepOnSupport.source += 1
            state = [(v, np.copy(v.numpy())) for v in model.non_trainable_variables]
            with tf.GradientTape() as tape:
                loss = losses[task](y[task], model(x, training=True)[task])
            for v, value in state:
                v.assign(value)
            shared = shared_of(model)
            for g, v in zip(tape.gradient(loss, [v.value for v in shared]), shared, strict=True):
                v.assign(v - 0.05 * g)

    expected = apply_and_revert.affinity(model, StepOnSupport(), *query, losses, shared_of(model))
    assert relative(z, expected) < 1e-6
    assert relative(z, tag.measure_affinity(x, y)) > 1e-2


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"lookahead": "optimizer", "steps": 2}, marks=pytest.mark.slow),
        pytest.param({"lookahead": "first_order"}, marks=pytest.mark.slow),
        pytest.param({"lookahead": "cosine"}, marks=pytest.mark.slow),
        {"reuse_gradients": True},
        pytest.param({"probe_data": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_compiled_probe_of_fit_is_the_one_measured(options, float64):
    model = convolutional()
    x, y = batch(model, n=16)
    if "probe_data" in options:
        options = {"probe_data": batch(model, seed=9)}
    tag = TAGModel(model, every=1, **options)
    tag.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss=make_losses())
    measured = tag.measure_affinity(x, y)
    tag.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    assert tag.affinity().count.min() == 1
    assert relative(tag.affinity().mean, measured) < 1e-9
