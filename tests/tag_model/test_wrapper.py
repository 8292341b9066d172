"""Through the wrapper: layers, inputs, outputs and weights files are the wrapped model's."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from quick import quick
from tag_models import KINDS, LOSS, Subclassed, data, mlp

from keras_tag import TAGModel

ATTRIBUTES = ("inputs", "outputs", "input", "output", "input_shape", "output_shape")


def trained(build=mlp):
    tag = TAGModel(build(), every=1)
    tag.compile("adam", loss=LOSS)
    x, y = data(16, dtype="float32")
    tag.fit(x, y, verbose=0)
    return tag


@pytest.mark.parametrize("build", [KINDS["dict"], KINDS["list"], KINDS["sequential"]])
def test_a_functional_model_shows_through(build):
    model = build()
    tag = TAGModel(model)
    for name in ATTRIBUTES:
        theirs, ours = (keras.tree.flatten(getattr(m, name)) for m in (model, tag))
        assert all(a is b or a == b for a, b in zip(theirs, ours, strict=True)), name
    assert tag.layers == model.layers
    for layer in model.layers:
        assert tag.get_layer(layer.name) is layer
    assert tag.get_layer(index=1) is model.layers[1]
    part = keras.Model(tag.inputs, tag.get_layer(index=1).output)
    x, _ = data(4, dtype="float32")
    assert part(x).shape[0] == 4


def test_what_a_subclassed_model_lacks_the_wrapper_lacks():
    model = Subclassed()
    tag = TAGModel(model)
    assert tag.get_layer(model.trunk.name) is model.trunk
    assert tag.layers == model.layers
    for name in ATTRIBUTES:
        assert hasattr(tag, name) == hasattr(model, name), name


@pytest.mark.parametrize("build", [KINDS["dict"], KINDS["list"], KINDS["sequential"], Subclassed])
def test_weights_files_are_exchangeable_with_the_wrapped_models(build, tmp_path):
    tag = trained(build)
    x, _ = data(16, dtype="float32")
    tag.save_weights(tmp_path / "tag.weights.h5")
    plain = build()
    plain(x)
    plain.load_weights(tmp_path / "tag.weights.h5")
    for ours, theirs in zip(tag.model.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert tag.layers == tag.model.layers
    plain.save_weights(tmp_path / "plain.weights.h5")
    plain.save(tmp_path / "plain.keras")
    for name in ("plain.weights.h5", "plain.keras"):
        other = TAGModel(build(), every=1)
        other(x)
        other.load_weights(tmp_path / name)
        for ours, theirs in zip(other.model.weights, plain.weights, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.slow
def test_a_weights_file_still_brings_back_optimizer_and_affinities(tmp_path):
    tag = trained()
    tag.save_weights(tmp_path / "tag.weights.h5")
    again = TAGModel(mlp(), every=1)
    again.compile("adam", loss=LOSS)
    again.optimizer.build(again.trainable_variables)  # Keras restores a built optimizer only.
    again.load_weights(tmp_path / "tag.weights.h5")
    np.testing.assert_array_equal(again.affinity().mean, tag.affinity().mean)
    assert int(again.optimizer.iterations) == int(tag.optimizer.iterations) > 0
    for ours, theirs in zip(again.optimizer.variables, tag.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    # The same optimizer on the plain model is restored as well.
    plain = mlp()
    plain.compile("adam", loss=LOSS)
    plain.optimizer.build(plain.trainable_variables)
    plain.load_weights(tmp_path / "tag.weights.h5")
    assert int(plain.optimizer.iterations) == int(tag.optimizer.iterations)


@pytest.mark.slow
def test_checkpoints_of_the_best_epoch_load_into_the_plain_model(tmp_path):
    tag = TAGModel(mlp(), every=1)
    tag.compile("adam", loss=LOSS)
    x, y = data(16, dtype="float32")
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.weights.h5", monitor="loss", save_best_only=True, save_weights_only=True
    )
    tag.fit(x, y, epochs=2, verbose=0, callbacks=[best])
    plain = mlp()
    plain.load_weights(tmp_path / "best.weights.h5")
    assert np.isfinite(plain.predict(x, verbose=0)["a"]).all()


def test_one_batch_of_ragged_inputs_is_probed():
    inputs = keras.Input((None,), dtype="int32", ragged=True)
    h = keras.layers.Lambda(
        lambda ids: tf.cast(tf.reduce_mean(ids, axis=1), "float32")[:, None],
        output_shape=(1,),
    )(inputs)
    h = keras.layers.Dense(4, "tanh")(h)
    tag = TAGModel(keras.Model(inputs, {task: keras.layers.Dense(1)(h) for task in "ab"}))
    tag.compile("sgd", loss="mse")
    rows = [[1, 2], [3], [4, 5, 6], [7]]
    y = {task: np.ones((4, 1), "float32") * k for k, task in enumerate("ab")}
    assert np.isfinite(tag.measure_affinity(tf.ragged.constant(rows, dtype="int32"), y)).all()


def test_one_batch_of_sparse_inputs_is_probed_as_the_dense_one():
    inputs = keras.Input((3,), sparse=True)
    h = keras.layers.Dense(4, "tanh")(inputs)
    tag = TAGModel(keras.Model(inputs, {task: keras.layers.Dense(1)(h) for task in "ab"}))
    tag.compile("sgd", loss="mse")
    dense = np.diag([1.0, 0.0, 2.0]).astype("float32")
    y = {task: np.ones((3, 1), "float32") * k for k, task in enumerate("ab")}
    sparse = tag.measure_affinity(tf.sparse.from_dense(dense), y)
    np.testing.assert_allclose(sparse, tag.measure_affinity(dense, y), rtol=1e-5)


@pytest.mark.parametrize("outputs", [2, 3])
def test_outputs_of_one_name_are_refused_when_wrapped(outputs):
    inputs = keras.Input((6,))
    head = keras.layers.Dense(1, name="out")
    branches = [keras.layers.Dense(4)(inputs) for _ in range(outputs)]
    with pytest.raises(ValueError, match="different names"):
        TAGModel(keras.Model(inputs, [head(branch) for branch in branches]))
    # A dict tells them apart, and so does a layer of each its own.
    TAGModel(keras.Model(inputs, {f"t{k}": head(b) for k, b in enumerate(branches)}))
    TAGModel(
        keras.Model(
            inputs, [keras.layers.Identity(name=f"t{k}")(head(b)) for k, b in enumerate(branches)]
        )
    )


def test_one_output_of_several_labels_is_pointed_to_split_outputs():
    inputs = keras.Input((6,))
    tag = TAGModel(keras.Model(inputs, keras.layers.Dense(5, "sigmoid")(inputs)))
    tag.compile("sgd", loss="binary_crossentropy")
    with pytest.raises(ValueError, match=r"keras_tag\.split_outputs"):
        tag.measure_affinity(np.ones((4, 6), "float32"), np.ones((4, 5), "float32"))


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("optimizer", quick(["adam", "rmsprop"], ["adam"]))
@pytest.mark.parametrize("lookahead", ["optimizer", "gradient"])
def test_a_subclassed_model_trains_at_once(built, optimizer, lookahead):
    model = Subclassed()
    x, y = data(16, dtype="float32")
    if built:
        model(x)
    tag = TAGModel(model, every=1, lookahead=lookahead)
    tag.compile(optimizer, loss=LOSS)
    tag.fit(x, y, verbose=0)
    assert not tag.affinity().unmeasured
