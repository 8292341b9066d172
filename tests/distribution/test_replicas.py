"""Replicas measure what one device measures: in a fresh process where devices are set."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from fresh_process import run_alone
from tag_models import LOSS, data, mlp

from keras_tag import TAGModel

TWO_REPLICAS = """
    import keras, numpy as np, tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    import one_device
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
"""


@pytest.mark.parametrize(
    "kind",
    [
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("gradient", "optimizer")),
        *(pytest.param(kind, marks=pytest.mark.nightly) for kind in ("first_order", "cosine")),
    ],
)
def test_a_run_ends_as_on_one_device(kind):
    run_alone(
        TWO_REPLICAS,
        f"""
    one_device.use("float64")
    one_device.whole_runs_agree(strategy, 1e-9, [{kind!r}])
    """,
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        pytest.param("float64", 1e-9, marks=pytest.mark.slow),
        pytest.param("float32", 2e-4, marks=pytest.mark.nightly),
    ],
)
def test_a_probe_of_an_uneven_batch_with_gaps_and_weights_is_that_of_one_device(dtype, tolerance):
    run_alone(
        TWO_REPLICAS,
        f"""
    one_device.use({dtype!r})
    one_device.probes_agree(strategy, {tolerance})
    one_device.uneven_fit_counts_every_probe(strategy)
    """,
    )


@pytest.mark.slow
def test_float32_runs_differ_by_rounding_only():
    run_alone(TWO_REPLICAS, 'one_device.whole_runs_agree(strategy, 1e-3, optimizers=["adam"])')


@pytest.mark.slow
def test_synchronised_batch_norm_sees_the_global_batch():
    run_alone(
        TWO_REPLICAS,
        """
    from tag_models import heads, relative

    def build():
        inputs = keras.Input((6,))
        h = keras.layers.Dense(8, "tanh")(inputs)
        return keras.Model(inputs, heads(keras.layers.BatchNormalization(synchronized=True)(h)))

    one_device.use("float64")
    x, y = one_device.data(64)
    for kind in one_device.KINDS:
        zs, weights = [], []
        for scope in one_device.scopes(strategy):
            tag = one_device.made(scope, "momentum", build, every=1, lookahead=kind)
            zs.append(tag.measure_affinity(x[:16], {k: v[:16] for k, v in y.items()}))
            tag.fit(x, y, batch_size=16, shuffle=False, verbose=0)
            zs.append(tag.affinity().mean)
            weights.append(np.concatenate([w.ravel() for w in tag.model.get_weights()]))
        assert relative(zs[2], zs[0]) < 1e-9, kind
        assert relative(zs[3], zs[1]) < 1e-9, kind
        assert relative(*weights) < 1e-9, kind
    """,
    )


@pytest.mark.slow
def test_layers_may_reduce_over_the_replicas_also_where_there_is_one():
    run_alone(
        """
    import keras, numpy as np, tensorflow as tf
    import one_device
    from tag_models import heads, relative
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    """,
        """
    def build():
        inputs = keras.Input((6,))
        h = keras.layers.Dense(8, "tanh")(inputs)
        return keras.Model(inputs, heads(keras.layers.BatchNormalization(synchronized=True)(h)))

    one_device.use("float64")
    x, y = one_device.data(32)
    affinities = []
    for scope in one_device.scopes(strategy):
        tag = one_device.made(scope, "sgd", build, every=1)
        tag.fit(x, y, batch_size=16, shuffle=False, verbose=0)
        affinities.append(tag.affinity().mean)
    assert relative(*affinities) < 1e-9
    """,
    )


def test_a_probe_outside_of_training_runs_where_a_strategy_has_one_replica():
    """As `MirroredStrategy()` has on a machine with one GPU or none."""
    x, y = data(16, dtype="float32")

    def probed(scope):
        with scope:
            keras.utils.set_random_seed(0)
            tag = TAGModel(mlp(norm=True))
            tag.compile("adam", loss=LOSS)
        return tag.measure_affinity(x, y), [task.own_step for task in tag.check(x, y).tasks]

    plain, own_steps = probed(contextlib.nullcontext())
    mirrored, mirrored_steps = probed(tf.distribute.MirroredStrategy(["CPU:0"]).scope())
    np.testing.assert_allclose(mirrored, plain, rtol=1e-5)
    np.testing.assert_allclose(mirrored_steps, own_steps, rtol=1e-5)
