"""Networks have what training would not make anew, and `start` decides about the rest."""

import functools
import pickle
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from grouped_networks import dict_network
from quick import quick

import keras_tag
from keras_tag import GroupedModel, Grouping, build_from

L = keras.layers
GROUPS = Grouping.from_groups([("a", "b"), ("c",)])


def joint_with(*layers, shape=(6,), dtype=None):
    """A joint model of three tasks with some layers below a dense trunk."""
    inputs = hidden = keras.Input(shape, dtype=dtype)
    for layer in layers:
        hidden = layer(hidden)
    hidden = L.Dense(5, "tanh", name="trunk")(hidden)
    return keras.Model(inputs, {task: L.Dense(1, name=task)(hidden) for task in "abc"})


def weights(model, layer="trunk"):
    return [np.asarray(w.value) for w in model.get_layer(layer).weights]


def equal(ours, theirs):
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def normalised(data):
    layer = L.Normalization(name="state")
    layer.adapt(data)
    return layer


NUMBERS = (1000 + 50 * np.random.default_rng(0).normal(size=(64, 6))).astype("float32")
WORDS = np.array([["red"], ["blue"], ["green"], ["red"]])


def adapted(layer, data):
    layer.adapt(data)
    return layer


@keras.saving.register_keras_serializable(package="keras_tag_tests")
def shouted(text):
    return keras.ops.convert_to_tensor(tf.strings.upper(text))


def nested(layer, shape, dtype=None):
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, layer(inputs))


def crossed():
    inputs = keras.Input((1,), dtype="string")
    hidden = L.HashedCrossing(5, output_mode="one_hot")((inputs, inputs))
    hidden = L.Dense(5, "tanh", name="trunk")(hidden)
    return keras.Model(inputs, {task: L.Dense(1, name=task)(hidden) for task in "abc"})


COUNTS = np.random.default_rng(1).integers(0, 9, size=(16, 3))
PREPROCESSING = {
    "given numbers": lambda: (
        joint_with(L.Normalization(mean=[1e3] * 6, variance=[9.0] * 6)),
        NUMBERS,
    ),
    "inverse, nested": lambda: (
        joint_with(
            nested(adapted(L.Normalization(), NUMBERS), (6,)),
            L.Dense(6),
            adapted(L.Normalization(invert=True), NUMBERS),
        ),
        NUMBERS,
    ),
    "categories": lambda: (
        joint_with(
            adapted(L.IntegerLookup(), COUNTS),
            L.CategoryEncoding(12, output_mode="count"),
            shape=(3,),
            dtype="int64",
        ),
        COUNTS,
    ),
    "hashing": lambda: (
        joint_with(
            L.Hashing(6, salt=3), L.Embedding(6, 2), L.Flatten(), shape=(1,), dtype="string"
        ),
        WORDS,
    ),
    "crossing": lambda: (crossed(), WORDS),
    "a given vocabulary": lambda: (
        joint_with(
            L.StringLookup(vocabulary=["red", "blue"], num_oov_indices=2, output_mode="one_hot"),
            shape=(1,),
            dtype="string",
        ),
        WORDS,
    ),
    "own words, nested": lambda: (
        joint_with(
            nested(
                adapted(
                    L.TextVectorization(
                        standardize=shouted, ngrams=2, output_mode="tf_idf", max_tokens=9
                    ),
                    WORDS[:, 0],
                ),
                (1,),
                "string",
            ),
            shape=(1,),
            dtype="string",
        ),
        WORDS,
    ),
    "normalization": lambda: (joint_with(adapted(L.Normalization(), NUMBERS)), NUMBERS),
    "discretization": lambda: (
        joint_with(adapted(L.Discretization(num_bins=4), NUMBERS), L.Embedding(4, 3), L.Flatten()),
        NUMBERS,
    ),
    "lookup": lambda: (
        joint_with(
            adapted(L.StringLookup(), WORDS),
            L.Embedding(5, 3),
            L.Flatten(),
            shape=(1,),
            dtype="string",
        ),
        WORDS,
    ),
    "integers": lambda: (
        joint_with(
            adapted(L.IntegerLookup(output_mode="multi_hot"), np.array([[7], [9], [40]])),
            shape=(1,),
            dtype="int64",
        ),
        np.array([[7], [40], [8]]),
    ),
    "text": lambda: (
        joint_with(
            adapted(L.TextVectorization(output_mode="tf_idf"), WORDS[:, 0]),
            shape=(1,),
            dtype="string",
        ),
        WORDS,
    ),
    "nested": lambda: (
        joint_with(
            keras.Sequential([keras.Input((6,)), adapted(L.Normalization(), NUMBERS), L.Dense(4)])
        ),
        NUMBERS,
    ),
}


ALWAYS = ["normalization", "discretization", "lookup", "integers", "text", "nested"]


@pytest.mark.parametrize("kind", quick(PREPROCESSING, ALWAYS))
def test_adapted_preprocessing_comes_through_and_is_saved(tmp_path, kind):
    joint, x = PREPROCESSING[kind]()
    if x.dtype.kind == "U":
        x = keras.ops.convert_to_tensor(x.tolist(), dtype="string")
    served = GroupedModel(GROUPS, build_from(joint, start="all", verbose=False))
    right = joint(x)
    for task, output in served(x).items():
        np.testing.assert_array_equal(output, right[task])
    served.save(tmp_path / "served.keras")
    loaded = keras.models.load_model(tmp_path / "served.keras")
    for task, output in loaded(x).items():
        np.testing.assert_array_equal(output, right[task])
    # Fresh weights on the same preprocessing: with the joint weights it is the joint model.
    fresh = build_from(joint, verbose=False)("abc")
    assert not equal(weights(fresh), weights(joint))
    fresh.set_weights([np.asarray(w.value) for w in joint.weights])
    for task, output in fresh(x).items():
        np.testing.assert_array_equal(output, right[task])


def test_frozen_layers_keep_weights_and_statistics_and_others_begin_anew():
    frozen, norm = L.Dense(6, name="frozen"), L.BatchNormalization(name="frozen_norm")
    joint = joint_with(frozen, norm, L.BatchNormalization(name="norm"))
    for name in ("frozen_norm", "norm"):
        joint.get_layer(name).moving_mean.assign(np.arange(6.0))
    frozen.trainable = norm.trainable = False
    network = build_from(joint, verbose=False)(("a", "c"))
    for name in ("frozen", "frozen_norm"):
        assert not network.get_layer(name).trainable
        assert equal(weights(network, name), weights(joint, name))
    assert equal([network.get_layer("norm").moving_mean], [np.zeros(6)])
    assert network.get_layer("norm").trainable


@keras.saving.register_keras_serializable(package="keras_tag_tests")
class Block(L.Layer):
    """Layers within a layer: flags of its parts are no part of its configuration."""

    def build(self, shape):
        self.first, self.second = L.Dense(6), L.Dense(6)
        self.first.build(shape)
        self.second.build(shape)
        self.scale = self.add_weight(shape=(6,), initializer="ones", trainable=False, name="scale")

    def call(self, inputs):
        return self.second(self.first(inputs)) * self.scale


def test_flags_of_inner_layers_and_lora_come_through_and_are_saved(tmp_path):
    block = Block(name="block")
    joint = joint_with(block, L.Dense(6, name="adapted"))
    block.first.trainable = False
    block.scale.assign(np.arange(6.0))
    block.second.enable_lora(2)
    joint.get_layer("adapted").enable_lora(3, lora_alpha=1.5)
    network = build_from(joint, verbose=False)("abc")
    assert [w.shape for w in network.trainable_weights] == [
        w.shape for w in joint.trainable_weights
    ]
    inside = network.get_layer("block")
    assert equal([inside.scale], [np.arange(6.0)])
    assert equal([inside.first.kernel], [block.first.kernel])
    assert equal([inside.second._kernel], [block.second._kernel])
    assert network.get_layer("adapted").lora_alpha == 1.5
    served = GroupedModel(GROUPS, build_from(joint, start="all", verbose=False))
    served.save(tmp_path / "served.keras")
    loaded = keras.models.load_model(tmp_path / "served.keras")
    x = np.random.default_rng(0).normal(size=(8, 6))
    y = {task: x[:, :1] for task in "abc"}
    for model in (served, loaded):
        assert [w.shape for w in model.networks[0].trainable_weights] == [
            w.shape for w in joint.trainable_weights[:-2]
        ]
        np.testing.assert_allclose(model(x)["a"], joint(x)["a"], rtol=1e-5)
    loaded.compile("sgd", loss="mse")
    factor = loaded.networks[0].get_layer("adapted").lora_kernel_b
    loaded.fit(x, y, verbose=0)
    assert np.any(factor.numpy() != 0)
    loaded.save_weights(tmp_path / "served.weights.h5")
    right = loaded(x)["a"]
    loaded.load_weights(tmp_path / "served.weights.h5")
    np.testing.assert_allclose(loaded(x)["a"], right, rtol=1e-5)
    assert np.any(loaded.networks[0].get_layer("adapted").lora_kernel_a.numpy() != 0)


@pytest.mark.slow
def test_keras_still_loads_lora_as_zeros_which_restart_lora_is_for(tmp_path):
    model = joint_with(L.Dense(6, name="adapted"))
    model.get_layer("adapted").enable_lora(2)
    model.save(tmp_path / "model.keras")
    layer = keras.models.load_model(tmp_path / "model.keras").get_layer("adapted")
    assert not np.any(layer.lora_kernel_a.numpy()), "restart_lora is needed no more"


@keras.saving.register_keras_serializable(package="keras_tag_tests")
class Heads(L.Layer):
    """Two heads in one layer."""

    def build(self, shape):
        self.left, self.right = L.Dense(1), L.Dense(1)
        self.left.build(shape)
        self.right.build(shape)

    def call(self, inputs):
        return self.left(inputs), self.right(inputs)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 1), (*shape[:-1], 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["layer", "nested"])
def test_trunk_is_what_two_outputs_depend_on_not_what_stands_in_one_layer(kind):
    inputs = keras.Input((6,))
    hidden = L.Dense(4, name="trunk")(inputs)
    if kind == "layer":
        a, b = Heads(name="heads")(hidden)
    else:
        inner = keras.Input((4,))
        a, b = keras.Model(inner, [L.Dense(1)(inner), L.Dense(1)(inner)], name="heads")(hidden)
    joint = keras.Model(inputs, {"a": a, "b": b})
    network = build_from(joint, start="trunk", verbose=False)("ab")
    assert equal(weights(network), weights(joint))
    ours, theirs = weights(network, "heads"), weights(joint, "heads")
    assert not np.array_equal(ours[0], theirs[0])
    assert not np.array_equal(ours[2], theirs[2])


def test_trunk_includes_moving_averages_and_none_of_a_heads():
    joint = joint_with(L.BatchNormalization(name="norm", center=False, scale=False))
    hidden = L.BatchNormalization(name="b_norm")(joint.get_layer("trunk").output)
    joint = keras.Model(joint.input, {"a": joint.output["a"], "b": L.Dense(1, name="b")(hidden)})
    for name, size in (("norm", 6), ("b_norm", 5)):
        joint.get_layer(name).moving_mean.assign(np.arange(float(size)))
    network = build_from(joint, start="trunk", verbose=False)("ab")
    assert equal([network.get_layer("norm").moving_mean], [np.arange(6.0)])
    assert equal([network.get_layer("b_norm").moving_mean], [np.zeros(5)])


def test_every_start_is_what_it_says():
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 6)), {task: rng.normal(size=(32, 1)) for task in "abc"}
    joint = joint_with()
    before = joint.get_weights()
    tag = keras_tag.TAGModel(joint, every=4)
    early = build_from(tag, start="initial", verbose=False)
    tag.compile("sgd", loss="mse")
    tag.fit(x, y, verbose=0)
    trained = joint.get_weights()
    build = {s: build_from(tag, start=s, verbose=False) for s in ("fresh", "trunk", "all")}
    made = {start: builder("abc") for start, builder in build.items()}
    assert equal(made["all"].get_weights(), trained)
    assert equal(weights(made["trunk"]), weights(joint))
    for task in "abc":
        assert not np.array_equal(*(m.get_layer(task).kernel for m in (made["trunk"], joint)))
    assert not np.array_equal(made["fresh"].get_layer("trunk").kernel, trained[0])
    for late in (early, build_from(tag, start="initial", verbose=False)):
        assert equal(late("abc").get_weights(), before)
    assert not equal(before, trained)


def test_the_builder_keeps_its_own_copy_and_can_be_pickled():
    joint = dict_network("abc")
    builder = build_from(joint, start="all", verbose=False)
    before = joint.get_weights()
    joint.set_weights([0 * w for w in before])
    for same in (builder, pickle.loads(pickle.dumps(builder))):
        assert equal(same("abc").get_weights(), before)
    assert builder.tasks == ("a", "b", "c")
    assert builder.output_names == ["a", "b", "c"]


def test_fresh_weights_follow_the_seed_and_differ_between_networks():
    builder = build_from(dict_network("abc"), verbose=False)
    draws = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        draws.append([builder("abc").get_weights() for _ in range(2)])
    assert equal(draws[0][0], draws[1][0])
    assert equal(draws[0][1], draws[1][1])
    assert not equal(draws[0][0], draws[0][1])


def test_says_once_what_networks_start_with(capsys):
    GroupedModel(GROUPS, build_from(dict_network("abc")))
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "start='fresh'" in printed
    GroupedModel(GROUPS, build_from(dict_network("abc"), verbose=False))
    assert not capsys.readouterr().out


def test_refuses_what_it_cannot_cut_or_does_not_know():
    with pytest.raises(ValueError, match=r"`start` to be one of"):
        build_from(dict_network("abc"), start="warm")
    joint = joint_with(L.Lambda(lambda x: x + 1, name="shift"))
    with pytest.raises(ValueError, match=r"Lambda layer 'shift'"):
        build_from(joint)
    inputs, head = keras.Input((6,)), L.Dense(1, name="out")
    twice = keras.Model(inputs, [head(inputs), head(L.Dense(6)(inputs))])
    with pytest.raises(ValueError, match=r"several of the names \['out'\]"):
        build_from(twice)


class NoConfig(L.Layer):
    def __init__(self, needed):
        super().__init__()
        self.needed = needed

    def call(self, inputs):
        return inputs * self.needed


@keras.saving.register_keras_serializable(package="keras_tag_tests")
class Table(L.Layer):
    table = None

    def call(self, inputs):
        return inputs if self.table is None else inputs * self.table


def test_names_a_layer_without_config_and_state_outside_of_weights():
    with pytest.raises(ValueError, match=r"NoConfig"):
        build_from(joint_with(NoConfig(3.0)))
    for name, value in (
        ("table", np.arange(6.0)),
        ("table", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        ("names", {"red": 1, "blue": 2}),
        ("_means", np.arange(6.0)),
        ("_names", ["red", "blue"]),
    ):
        layer = Table(name="lookup")
        setattr(layer, name, value)
        with pytest.warns(UserWarning, match=rf"\['lookup.{name}'\]"):
            build_from(joint_with(layer))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_from(joint_with(Block(), Table()), verbose=False)


@pytest.mark.parametrize("mode", ["int8", pytest.param("int4", marks=pytest.mark.slow)])
def test_quantised_layers_come_through_and_are_saved(tmp_path, mode):
    keras.utils.set_random_seed(0)
    model = joint_with(L.Dense(16, "relu", name="wide"))
    for name in ("wide", "trunk"):
        model.get_layer(name).quantize(mode)
    right = model(NUMBERS, training=False)
    for start in ("all", "fresh"):
        served = GroupedModel(GROUPS, build_from(model, start=start, verbose=False))
        for network in served.networks:
            assert network.get_layer("wide").quantization_mode == mode
            # Quantised kernels are not trained, so that they are kept.
            kernels = (np.asarray(net.get_layer("wide")._kernel) for net in (network, model))
            np.testing.assert_array_equal(*kernels)
    same = GroupedModel(GROUPS, build_from(model, start="all", verbose=False))
    same.save(tmp_path / "served.keras")
    for made in (same, keras.models.load_model(tmp_path / "served.keras")):
        for task, output in made(NUMBERS, training=False).items():
            np.testing.assert_allclose(output, right[task], rtol=1e-6)


def embedded(*layers):
    return joint_with(L.Embedding(9, 4), *layers, L.Flatten(), shape=(3,), dtype="int64")


def with_settings(kind):
    """A model of which a part of a layer is frozen, adapted or quantised."""
    if kind == "half of a bidirectional layer":
        model = embedded(L.Bidirectional(L.LSTM(3, return_sequences=True)))
        model.layers[2].forward_layer.trainable = False
    elif kind == "inside of a wrapper":
        model = embedded(L.TimeDistributed(L.Dense(3)))
        model.layers[2].layer.trainable = False
    elif kind == "one weight":
        model = embedded(L.Dense(4))
        model.layers[2].bias.trainable = False
        model.layers[2].bias.assign(np.arange(4.0))
    else:
        model = embedded(L.EinsumDense("abc,cd->abd", (3, 6)))
        for layer in model.layers[1:3]:
            if kind == "int8":
                layer.quantize("int8")
            else:
                layer.enable_lora(2)
                for weight in layer.trainable_weights:
                    weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    return model


KINDS = ("half of a bidirectional layer", "inside of a wrapper", "one weight", "int8", "lora")


@pytest.mark.parametrize("kind", quick(KINDS, ["one weight"]))
def test_parts_of_layers_come_through_and_are_saved(tmp_path, kind):
    keras.utils.set_random_seed(0)
    joint = with_settings(kind)
    right = joint(COUNTS, training=False)
    served = GroupedModel(GROUPS, build_from(joint, start="all", verbose=False))
    fresh = build_from(joint, verbose=False)("abc")
    assert [w.trainable for w in fresh.weights] == [w.trainable for w in joint.weights]
    for ours, theirs in zip(fresh.weights, joint.weights, strict=True):
        if not theirs.trainable:
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    served.save(tmp_path / "served.keras")
    loaded = keras.models.load_model(tmp_path / "served.keras")
    for made in (served, loaded):
        for task, output in made(COUNTS, training=False).items():
            np.testing.assert_allclose(output, right[task], rtol=1e-4, atol=1e-5)
    for one, other in zip(served.networks, loaded.networks, strict=True):
        assert len(one.trainable_weights) == len(other.trainable_weights)


def test_float8_is_refused():
    model = joint_with(L.Dense(16, name="wide"))
    model.get_layer("wide").quantize("float8")
    with pytest.raises(ValueError, match="float8"):
        build_from(model, verbose=False)
    tag = keras_tag.TAGModel(model)
    tag.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match="float8"):
        tag.fit(NUMBERS, {task: NUMBERS[:, :1] for task in "abc"}, verbose=0)


def times(factor):
    def multiplied(x):
        return x * factor if factor else multiplied(x)  # A function that is inside of itself.

    return multiplied


class Applied(keras.layers.Layer):
    """A layer that applies functions of which its configuration says nothing."""

    def __init__(self, fn=keras.ops.tanh, kept="fn", inner=None, **kwargs):
        super().__init__(**kwargs)
        initializer = keras.initializers.RandomNormal()
        self.drawn = lambda shape: initializer(shape)
        setattr(self, kept, fn)
        self.kept = kept
        self.inner = inner or keras.layers.Activation("tanh")
        self.method = self.call  # Of the copy's own.

    def call(self, x):
        found = getattr(self, self.kept)
        for fn in found if isinstance(found, list) else [found]:
            x = fn(x)
        return self.inner(x)

    def get_config(self):
        return {**super().get_config(), "kept": self.kept}


@pytest.mark.parametrize(
    ("arguments", "lost"),
    [
        ({"fn": keras.ops.abs}, "fn"),
        ({"fn": keras.ops.abs, "kept": "_fn"}, "_fn"),
        ({"fn": keras.ops.abs, "kept": "other"}, "other"),
        ({"fn": [keras.ops.tanh, keras.ops.abs]}, "fn"),
        ({"fn": times(2.0)}, "fn"),
        ({"fn": functools.partial(keras.ops.add, 2.0)}, "fn"),
        ({"inner": keras.layers.Activation("relu")}, "inner"),
    ],
)
def test_names_functions_and_layers_that_a_configuration_does_not_have(arguments, lost):
    with pytest.warns(UserWarning, match=rf"\['applied.{lost}'"):
        build_from(joint_with(Applied(name="applied", **arguments)), start="all", verbose=False)


class Scaled(Applied):
    def __init__(self, fn=None, **kwargs):
        super().__init__(fn or times(3.0), **kwargs)


ADDED, MULTIPLIED = (functools.partial(fn) for fn in (lambda x: x + 2.0, lambda x: x * 2.0))


class Added(Applied):
    def __init__(self, fn=ADDED, **kwargs):
        super().__init__(fn, **kwargs)


def test_functions_of_one_name_are_told_apart_by_their_code():
    with pytest.warns(UserWarning, match=r"\['applied.fn'\]"):
        build_from(joint_with(Added(MULTIPLIED, name="applied")), start="all", verbose=False)


class Sure(keras.layers.Dense):
    """A layer with a constructor of Keras, some of whose arguments are in no configuration."""


def test_equal_functions_and_layers_are_not_named():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inner = keras.layers.Activation("tanh")
        layers = [
            Applied(keras.ops.tanh),
            Applied(inner=inner),
            Scaled(),
            Scaled(times(3.0)),
            Added(),
        ]
        build_from(joint_with(*layers, Sure(6)), start="all", verbose=False)


class Marked(keras.layers.Layer):
    """A layer that makes its attributes itself, of which some are not a number."""

    def __init__(self, mark=np.nan, **kwargs):
        super().__init__(**kwargs)
        self.mark, self.marks, self.bounds = mark, [0.0, mark], np.array([0.0, mark])

    def call(self, x):
        return x


def test_nan_is_equal_to_itself_and_to_nothing_else():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_from(joint_with(Marked()), start="all", verbose=False)
    layer = Marked(name="marked")
    layer.mark, layer.marks, layer.bounds = 1.0, [0.0, 1.0], np.array([0.0, 1.0])
    names = r"\['marked.mark', 'marked.marks', 'marked.bounds'\]"
    with pytest.warns(UserWarning, match=names):
        build_from(joint_with(layer), start="all", verbose=False)


class Parts(Applied):
    """A layer that makes an array of arrays."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = np.array([np.ones(2), np.ones(3)], object)


def test_arrays_of_arrays_are_compared_and_nothing_is_lost_of_what_is_empty():
    layer = Parts(name="holds")
    layer.cache = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_from(joint_with(layer), start="all", verbose=False)
    layer.parts = np.array([np.ones(2), np.zeros(3)], object)
    with pytest.warns(UserWarning, match=r"\['holds.parts'\]"):
        build_from(joint_with(layer), start="all", verbose=False)


class Inner(keras.layers.Layer):
    """Keras can't tell the configuration of a layer that is given a function."""

    def __init__(self, fn, **kwargs):
        super().__init__(**kwargs)
        self.fn = fn

    def call(self, x):
        return self.fn(x)


class Around(Applied):
    def __init__(self, inner=None, **kwargs):
        super().__init__(inner=inner or Inner(keras.ops.tanh), **kwargs)


def test_an_argument_that_keras_cannot_tell_the_configuration_of_is_named():
    layer = Around(Inner(keras.ops.abs), name="applied")
    with pytest.warns(UserWarning, match=r"\['applied.inner'"):
        build_from(joint_with(layer), start="all", verbose=False)


class Outer(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = Inner(keras.ops.tanh)

    def call(self, x):
        return self.inner(x)


def test_a_layer_that_another_one_makes_needs_no_configuration():
    joint = joint_with(Outer())
    network = build_from(joint, start="all", verbose=False)(tuple(joint.output))
    for task, values in joint.predict(NUMBERS, verbose=0).items():
        np.testing.assert_array_equal(network.predict(NUMBERS, verbose=0)[task], values)
