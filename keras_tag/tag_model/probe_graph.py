"""The check of a probe's graph: it writes no variable but its own, and draws what Keras seeds."""

import warnings
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_tag.training.dropped_updates import writes_in
from keras_tag.training.nested_operations import find_operations

# Operations whose draws no seed generator of Keras makes.
_DRAWS = {
    "Multinomial",
    "ParameterizedTruncatedNormal",
    "RandomGamma",
    "RandomPoisson",
    "RandomPoissonV2",
    "RandomShuffle",
    "RandomStandardNormal",
    "RandomUniform",
    "RandomUniformInt",
    "TruncatedNormal",
}


def check_probe_graph(own: Sequence[Any]) -> None:
    """Check the graph that is being traced, before it runs for the first time.

    It warns of random numbers that no Keras seed makes.

    What layers and losses assign to Keras variables is dropped. Variables of TensorFlow, and its
    random generators, would be changed by a probe, and its losses before and after the look-ahead
    would see different values of them.

    Args:
        own: The Keras variables that belong to probes.

    Raises:
        ValueError: The graph writes another variable.
    """
    graph = tf.compat.v1.get_default_graph()
    allowed = {id(part.handle) for v in own for part in getattr(v.value, "values", [v.value])}
    outside = {id(inside): id(handle) for handle, inside in graph.captures}
    written = [name for name, handle in writes_in(graph) if outside.get(id(handle)) not in allowed]
    if written:
        raise ValueError(
            "Expected layers and losses that keep what they change in Keras variables, so that a "
            f"probe changes nothing. Received: TensorFlow variables that are written at {written}. "
            "Make them with `self.add_weight(..., trainable=False)` in a layer, or as "
            "`keras.Variable(..., trainable=False)` in a loss, and draw random numbers with a "
            "`keras.random.SeedGenerator`. A layer or loss that does so already has a "
            "`@tf.function` around it, whose graph of an earlier step writes them: leave it out. "
            "Or train without probes, `tag.pause_probing()`."
        )
    draws = [name for name, _ in find_operations(graph, _DRAWS.__contains__)]
    if draws:
        warnings.warn(
            f"Random numbers that no Keras seed makes are drawn at {draws}. A probe's losses "
            "before and after a step see other draws, so affinities are as noisy as the losses. "
            "Draw with keras.random and a `SeedGenerator` that the layer keeps as an attribute.",
            stacklevel=2,
        )
