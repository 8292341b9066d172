"""The variables that losses change: no other network may see them, and no backup has them."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_tag.grouped_model import GroupedModel
from keras_tag.training.dropped_updates import writes_in
from keras_tag.training.of_keras import is_of_keras


def changed_by_losses(model: GroupedModel, batch: Callable[[], Any]) -> set[int] | None:
    """Return which variables the losses of a model change when they are computed.

    They are found in a graph that never runs; Keras's own losses, which change none, make none.

    Args:
        model: A compiled model.
        batch: Returns `(x, y)` or `(x, y, sample_weight)`, with labels by task. Only losses that
            are not Keras's own need it: data behind a function are loaded for it.

    Returns:
        The identities of the variables' handles; None where a loss runs eagerly only.
    """
    if not given_losses(model.task_losses.losses):
        return set()
    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch())
    forward = tf.function(lambda: model(x, training=False), autograph=False)
    losses = tf.function(lambda given: model.task_losses(y, given, weight), autograph=False)
    try:
        outputs = forward.get_concrete_function().structured_outputs
        graph = losses.get_concrete_function(outputs).graph
    except Exception:
        if model.run_eagerly:
            return None
        raise
    written = {id(handle) for _, handle in writes_in(graph)}
    return {id(handle) for handle, inside in graph.captures if id(inside) in written}


def given_losses(losses: dict[str, Any]) -> list[str]:
    """Return the tasks whose losses are not Keras's own.

    Args:
        losses: By task.
    """

    def parts(loss: Any) -> list[Any]:
        # A loss of Keras may hold a function of the user.
        held = vars(loss).values() if isinstance(loss, keras.losses.Loss) else ()
        return [loss, *filter(callable, held)]

    given = {task: loss for task, loss in losses.items() if not isinstance(loss, str)}
    return [task for task, loss in given.items() if not all(map(is_of_keras, parts(loss)))]
