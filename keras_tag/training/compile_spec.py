"""What a model was compiled with, and what that means where labels are missing."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_tag.training.task_losses import Labels


def compile_config(model: keras.Model) -> dict[str, Any]:
    """What `compile` was given, serialised; also while a step is being traced."""
    # The optimizer's rate is read for it, which a graph can't; and a lambda among the losses
    # warns that it can't be saved, which nobody asked for here.
    with tf.init_scope(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(model.get_compile_config())


def all_labelled(model: Any, tasks: Sequence[str], labels: Labels) -> list[Any]:
    """Where `metrics` were compiled: assertions, for a batch, that no label is missing.

    Args:
        model: A compiled `TAGModel`.
        tasks: Its tasks.
        labels: The batch's.

    Returns:
        Operations to wait for; none where nothing can be missing.
    """
    if all(mask is None for mask in labels.mask):
        return []
    if not compile_config(model).get("metrics"):
        return []
    return [
        tf.debugging.assert_equal(
            tf.reduce_min(mask),
            tf.ones((), mask.dtype),
            message=(
                f"Task {task!r} has missing labels, and `metrics` ignore sample weights and would "
                "count them. Give metrics to `compile(weighted_metrics=...)`, which sees labelled "
                "examples only."
            ),
        )
        for task, mask in zip(tasks, labels.mask, strict=True)
        if mask is not None
    ]
