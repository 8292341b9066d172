"""A probe makes the forward and backward passes that the page counts, and no others."""

import keras
import pytest
import tensorflow as tf
from tag_models import LOSS, data, heads

from keras_tag import TAGModel

N = 3


class Counter(keras.layers.Layer):
    """The identity, which counts how often it is passed, either way."""

    forward = backward = 0

    def call(self, inputs):
        @tf.custom_gradient
        def counted(x):
            self.forward += 1

            def backward(gradient):
                self.backward += 1
                return gradient

            return x, backward

        return counted(inputs)


def model_and_counter():
    inputs = keras.Input((6,))
    counter = Counter()
    h = counter(keras.layers.Dense(8, "tanh", name="trunk")(inputs))
    return keras.Model(inputs, heads(h)), counter


@pytest.mark.parametrize(
    ("kwargs", "forward", "backward"),
    [
        # With Adam, one more backward pass finds the rate.
        ({}, N, N + 1),
        ({"lookahead_rate": 0.01}, N, N),
        ({"lookahead": "optimizer"}, N, N),
        ({"steps": 2}, 2 * N, 2 * N + 1),
        ({"lookahead": "first_order"}, 0, N + 1),
        ({"lookahead": "first_order", "lookahead_rate": 0.01}, 0, N),
        ({"lookahead": "cosine"}, 0, N),
        ({"sources_per_probe": 1}, 1, 2),
        ({"sources_per_probe": 2, "lookahead": "optimizer"}, 2, 2),
        ({"reuse_gradients": True}, N, N),  # The joint step's own pass is saved.
    ],
    ids=str,
)
def test_a_probed_step_adds_the_passes_of_its_kind(kwargs, forward, backward):
    x, y = data(16)
    model, counter = model_and_counter()
    tag = TAGModel(model, every=2, **kwargs)
    tag.compile("adam", loss=LOSS, run_eagerly=True)
    passes = []
    for _ in range(4):
        counter.forward = counter.backward = 0
        tag.train_on_batch(x, y)
        passes.append((counter.forward, counter.backward))
    # Plain, probed, probed, plain; the first one of either kind may look around. A probe's forward
    # pass is its own.
    assert passes[3] == (1, 1)
    assert passes[2] == (1 + 1 + forward, 1 + backward)
    cost = tag.check(x, y).probe
    assert (cost.forward, cost.backward - tag.reuse_gradients) == (1 + forward, backward)
    assert cost.plain_steps == (sum(passes[2])) / 2


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_probing_step_is_traced_once_and_its_look_ahead_once_for_all_tasks(jit_compile):
    x, y = data(32)
    model, counter = model_and_counter()
    tag = TAGModel(model, every=1)
    tag.compile("adam", loss=LOSS, jit_compile=jit_compile)
    counter.forward = counter.backward = 0
    tag.fit(x, y, batch_size=16, epochs=1, verbose=0)
    # The probe's pass and one look-ahead pass, for N tasks; then Keras's step, once.
    assert counter.forward == 1 + 1 + 1
    # The probe's, for N tasks, for the rate and for which task uses what; and Keras's step.
    assert counter.backward == 1 + 1
    assert tag.probes == 2
    assert (tag.affinity().count == 2).all()


@pytest.mark.parametrize("kwargs", [{}, {"lookahead": "optimizer"}, {"sources_per_probe": 1}])
def test_nothing_is_traced_after_the_first_steps(kwargs):
    x, y = data(64)
    model, counter = model_and_counter()
    tag = TAGModel(model, every=2, **kwargs)
    tag.compile("adam", loss=LOSS)
    tag.fit(x, y, batch_size=16, epochs=1, verbose=0)
    traced = counter.forward
    tag.fit(x, y, batch_size=16, epochs=3, verbose=0)
    assert counter.forward == traced
