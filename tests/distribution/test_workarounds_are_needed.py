"""Says when Keras needs `keras_tag/training/distributed_model.py` no longer."""

import pytest
from workers import run_workers, script


@pytest.mark.slow
def test_plain_keras_still_fails_across_workers(tmp_path):
    """If this fails, a work-around can go: the message says which."""
    program = script(
        tmp_path,
        """
    import keras, numpy as np, tensorflow as tf
    import keras_tag.training.distributed_model
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    x = np.ones((8, 2), "float32")
    y = {"a": x[:, :1], "b": x[:, :1]}

    def made(kind):
        with strategy.scope():
            inputs = keras.Input((2,))
            model = kind(inputs, {name: keras.layers.Dense(1)(inputs) for name in y})
            model.compile("sgd", loss={"a": "mse", "b": "mse"})
        return model

    class ScalarLogs(keras_tag.training.distributed_model.DistributedModel):
        def reducible(self, logs):
            return logs

    def fails(kind, expected):
        try:
            made(kind).fit(x, y, batch_size=4, verbose=0)
        except Exception as error:
            assert expected in f"{type(error).__name__}: {error}", error
            return
        raise SystemExit(f"Keras {keras.__version__} needs no work-around for {expected!r} now.")

    fails(keras.Model, "PerReplica")
    fails(ScalarLogs, "reduction dimension 0")
    """,
    )
    run_workers(2, [program], tmp_path)
