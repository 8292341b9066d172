"""A write or a draw is found in functions, branches and loops of the probe's graph as well."""

import warnings

import keras
import pytest
import tensorflow as tf

from keras_tag.tag_model.probe_graph import check_probe_graph
from keras_tag.training.dropped_updates import evaluated


def plainly(run, x):
    run()
    return x


def in_a_function(run, x):
    tf.function(run)()
    return x


def in_a_branch(run, x):
    return tf.cond(tf.reduce_sum(x) > 0, lambda: [run(), x][1], lambda: x)


def in_a_loop(run, x):
    tf.while_loop(lambda k: k < 3, lambda k: [run(), k + 1][1], [tf.constant(0)])
    return x


def in_a_branch_of_a_function(run, x):
    return tf.function(lambda: in_a_branch(tf.function(run), x))()


PLACES = [plainly, in_a_function, in_a_branch, in_a_loop, in_a_branch_of_a_function]


def probe(place, run, own=()):
    @tf.function(autograph=False)
    def traced(x):
        place(run, x)
        check_probe_graph(own)

    traced.get_concrete_function(tf.ones(2))


@pytest.mark.parametrize("place", PLACES)
def test_only_what_belongs_to_probes_is_written(place):
    own, others = keras.Variable(0.0), tf.Variable(0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe(place, lambda: own.value.assign_add(1.0), [own])
    for written in others, own.value:
        with pytest.raises(ValueError, match="TensorFlow variables that are written"):
            probe(place, lambda of=written: of.assign_add(1.0))


@pytest.mark.parametrize("place", PLACES)
def test_draws_without_a_seed_of_keras_are_warned_of(place):
    with pytest.warns(UserWarning, match="no Keras seed makes"):
        probe(place, lambda: tf.random.normal((2,)))


@pytest.mark.parametrize("place", PLACES)
def test_a_loss_that_changes_a_variable_is_noticed(place):
    count = tf.Variable(0.0)
    found = []

    @tf.function(autograph=False)
    def traced(x):
        for run in (lambda: count.assign_add(1.0), lambda: count + 1.0):
            found.append(evaluated(lambda run=run: place(run, x))[1])

    traced.get_concrete_function(tf.ones(2))
    assert found == [True, False]
