"""Two replicas measure what one device measures: in a fresh process, whose devices can be set."""

import pytest
from fresh_process import run_alone

SETUP = """
    import contextlib, keras, numpy as np, tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    from tag_models import data, mlp, relative
    from keras_tag import TAGModel
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    LOSS = {"a": "mse", "b": "binary_crossentropy", "c": keras.losses.Huber()}
    OPTIMIZERS = {
        "sgd": lambda: keras.optimizers.SGD(0.1),
        "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
        "adam": lambda: keras.optimizers.Adam(0.01),
    }

    def made(scope, optimizer, **kwargs):
        keras.utils.set_random_seed(0)
        with scope:
            model = mlp()
            tag = TAGModel(model, **kwargs)
            tag.compile(OPTIMIZERS[optimizer](), loss=LOSS)
        return tag
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gradient", "optimizer", "first_order", "cosine"])
def test_a_run_on_two_replicas_ends_as_on_one(kind):
    """Weights and affinity of a whole run, even batches, every label there."""
    run_alone(
        SETUP,
        f"""
    x, y = data(64)
    for optimizer in OPTIMIZERS:
        runs = []
        for scope in (contextlib.nullcontext(), strategy.scope()):
            tag = made(scope, optimizer, every=2, lookahead={kind!r})
            tag.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
            assert tag.affinity().count.min() == 4
            runs.append((tag.affinity().mean, tag.model.get_weights()))
        (z, weights), (z2, weights2) = runs
        assert relative(z2, z) < 1e-9, (optimizer, relative(z2, z))
        for a, b in zip(weights, weights2):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    """,
    )


@pytest.mark.slow
def test_a_probe_of_an_uneven_batch_with_gaps_and_weights_is_that_of_one_device():
    run_alone(
        SETUP,
        """
    x, y = data(27)
    y["a"][::3] = np.nan
    y["c"][:9] = np.nan
    weight = {k: np.random.default_rng(0).random(27) for k in "abc"}
    for kind in ("gradient", "optimizer", "first_order", "cosine"):
        zs = []
        for scope in (contextlib.nullcontext(), strategy.scope()):
            tag = made(scope, "momentum", lookahead=kind)
            with tag.distribute_strategy.scope():
                tag.optimizer.build(tag.trainable_variables)
            before = [v.numpy() for v in (*tag.model.variables, *tag.optimizer.variables)]
            zs.append(tag.measure_affinity(x, y, weight))
            after = [v.numpy() for v in (*tag.model.variables, *tag.optimizer.variables)]
            for a, b in zip(before, after):
                np.testing.assert_array_equal(a, b)
        assert relative(*zs) < 1e-9, (kind, relative(*zs))
    """,
    )
