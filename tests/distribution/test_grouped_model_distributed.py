"""`GroupedModel` on replicas and workers, and its groups shared out to processes."""

import numpy as np
import pytest
from fresh_process import run_alone
from test_replicas import TWO_REPLICAS
from workers import run_workers, script

BOTH_SCOPES = """
    from keras_tag import GroupedModel, Grouping, build_from
    from tag_models import relative

    def build(tasks):
        inputs = keras.Input((6,))
        hidden = keras.layers.Dense(8, "tanh", kernel_regularizer="l2")(inputs)
        activation = {"b": "sigmoid"}
        return keras.Model(inputs, {
            task: keras.layers.Dense(1, activation.get(task))(hidden) for task in tasks})

    def ends_as_on_one_device(strategy):
        one_device.use("float64")
        x, y = one_device.data(96)
        grouping = Grouping.from_groups([("a", "b"), ("b", "c")])
        ends = []
        for scope in one_device.scopes(strategy):
            keras.utils.set_random_seed(0)
            with scope:
                served = GroupedModel(grouping, build_from(build("abc"), verbose=False))
                served.compile(keras.optimizers.Adam(0.01), metrics={"a": ["mae"]},
                               loss_weights={"a": 1.0, "b": 0.5, "c": 3.0},
                               loss={"a": "mse", "b": "binary_crossentropy", "c": "mae"})
            history = served.fit(x, y, batch_size=24, epochs=2, shuffle=False, verbose=0,
                                 validation_data=(x, y))
            weights = np.concatenate([w.ravel() for w in served.get_weights()])
            ends.append((weights, history.history))
        (weights, history), (weights2, history2) = ends
        assert relative(weights2, weights) < 1e-9, relative(weights2, weights)
        assert history.keys() == history2.keys()
        for name, values in history.items():
            # Keras's metrics sum in float32.
            np.testing.assert_allclose(history2[name], values, rtol=1e-5, err_msg=name)
"""


@pytest.mark.slow
def test_two_replicas_end_as_one_device():
    run_alone(TWO_REPLICAS, BOTH_SCOPES, "ends_as_on_one_device(strategy)")


@pytest.mark.slow
def test_two_workers_end_as_one_process_and_save_together(tmp_path):
    program = script(
        tmp_path,
        """
    import os
    import keras, numpy as np, tensorflow as tf
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    import one_device
    """,
        BOTH_SCOPES,
        """
    import keras_tag
    ends_as_on_one_device(strategy)
    one_device.use("float32")
    x, y = one_device.data(48)
    tag = one_device.made(strategy.scope(), "adam", every=1)
    tag.fit(x, y, batch_size=24, verbose=0)
    path = keras_tag.worker_path("joint.keras")
    tag.save(path)
    loaded = keras.saving.load_model(path)
    np.testing.assert_array_equal(loaded.affinity().mean, tag.affinity().mean)
    tag.affinity().save(keras_tag.worker_path("affinity.npz"))
    print("saved at", os.path.abspath(path))
    """,
    )
    texts = run_workers(2, [program], tmp_path)
    assert (tmp_path / "joint.keras").exists()
    assert (tmp_path / "affinity.npz").exists()
    places = {text.rsplit("saved at ", 1)[1].strip() for text in texts}
    assert len(places) == 2, places


SHARED_OUT = """
    import sys
    import keras, numpy as np
    from tag_models import data, mlp
    from keras_tag import GroupedModel, Grouping

    def build(tasks):
        model = mlp()
        return keras.Model(model.inputs, {task: model.output[task] for task in tasks})

    keras.utils.set_random_seed(0)
    x, y = data(32)
    served = GroupedModel(Grouping.from_groups([("a",), ("b", "a"), ("c", "a")]), build)
    served.compile("adam", loss={"a": "mse", "b": "binary_crossentropy", "c": "mae"})
    fit = dict(batch_size=8, epochs=2, shuffle=False, verbose=0)
"""


@pytest.mark.slow
def test_groups_trained_by_processes_of_their_own_are_put_together(tmp_path):
    worker = script(
        tmp_path,
        SHARED_OUT,
        """
    import json, os
    task = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    histories = served.fit_groups("run", x, y, networks=range(task, 3, 2), **fit)
    assert [bool(h) for h in histories] >= [index % 2 == task for index in range(3)]
    """,
    )
    run_workers(2, [worker], tmp_path)
    together = script(
        tmp_path,
        SHARED_OUT,
        """
    import os
    if os.path.exists("run"):
        def never(*args, **kwargs):
            raise AssertionError("trained again")
        GroupedModel.fit = never
        histories = served.fit_groups("run", x, y, **fit)
    else:
        histories = served.fit_groups("alone", x, y, **fit)
    np.savez(f"end_{os.path.exists('run')}.npz", *served.get_weights())
    """,
    )
    run_workers(1, [together], tmp_path)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    run_workers(1, [together], tmp_path)
    ends = [np.load(tmp_path / f"end_{name}.npz") for name in (True, False)]
    for name in ends[0]:
        np.testing.assert_allclose(ends[0][name], ends[1][name], rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_an_index_of_no_network_is_refused(tmp_path):
    run_alone(
        SHARED_OUT,
        f"""
    try:
        served.fit_groups({str(tmp_path)!r}, x, y, networks=[3], **fit)
    except ValueError as error:
        assert "0 to 2" in str(error), error
    else:
        raise AssertionError
    """,
    )
