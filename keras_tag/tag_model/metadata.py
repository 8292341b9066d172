"""Metadata of a `TAGModel`'s affinities: the versions, seed and settings of its probes."""

import json
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.provenance import versions
from keras_tag.tag_model.compiled_tasks import CompiledTasks
from keras_tag.tag_model.sharing import Sharing
from keras_tag.training.compile_spec import compile_arguments
from keras_tag.training.task_losses import TaskLosses

# TensorFlow returns this if no seed was set.
_UNSET = 87654321


def measured_with(
    model: Any,
    losses: TaskLosses | None,
    sharing: Sharing,
    batch_size: int | None,
    rate: float | None,
) -> dict[str, Any]:
    """Return versions, seed and settings, as plain JSON types.

    Args:
        model: The compiled `TAGModel`.
        losses: Its task losses, if they are known.
        sharing: Which variables are shared.
        batch_size: Of the present `fit`, if that is known.
        rate: The rate of the latest probe's gradient steps, if it takes any.

    Returns:
        "versions", "seed" and "settings"; None stands for what is not known.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    learning_rate = optimizer.get_config().get("learning_rate")
    settings = {
        "lookahead": model.lookahead,
        "lookahead_rate": model.lookahead_rate,
        "rate": rate,
        "steps": model.steps,
        "every": model.probes_every,
        "sources_per_probe": model.sources_per_probe,
        "missing": model.missing,
        "reuse_gradients": model.reuse_gradients,
        "probe_data": model.probe_data is not None,
        "shared_variables": len(sharing.variables),
        "shared_parameters": sum(int(np.prod(v.shape)) for v in sharing.variables),
        "losses": None if losses is None else losses.loss_names,
        "optimizer": optimizer.name,
        # A schedule is a mapping with its own settings.
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "replicas": model.distribute_strategy.num_replicas_in_sync,
    }
    return _plain({"versions": versions(), "seed": _seed(), "settings": settings})


def part_settings(model: Any, compiled: CompiledTasks) -> dict[str, Any]:
    """Return the settings that all probes of one part of a record have.

    Args:
        model: The compiled `TAGModel`, after a probe.
        compiled: What follows from its `compile`.

    Returns:
        Plain JSON types. Shared variables are indices into the wrapped model's variables, because
        names of layers differ from process to process.
    """
    losses = compiled.known_losses()
    index = {id(variable): k for k, variable in enumerate(model.model.variables)}
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    weights = compile_arguments(model).get("loss_weights")
    return _plain(
        {
            "lookahead": model.lookahead,
            "lookahead_rate": model.lookahead_rate,
            "steps": model.steps,
            "optimizer": type(optimizer).__name__,
            "optimizer_settings": _numbers_of(optimizer) if compiled.shadow_variables else None,
            "learning_rate": compiled.learning_rate,
            "loss_settings": None if losses is None else losses.loss_settings,
            "loss_weights": keras.tree.map_structure(_weight_name, weights),
            "shared_variables": [index.get(id(v), -1) for v in compiled.sharing.variables],
        }
    )


def changed_settings(
    before: dict[str, Any], settings: dict[str, Any], losses: TaskLosses | None
) -> list[str]:
    """Return the names of the settings that were others in the part before.

    Args:
        before: From `part_settings`, or from a file of an earlier version, which has fewer.
        settings: From `part_settings`.
        losses: The task losses, if they are known.
    """
    changed = [key for key in settings if key in before and settings[key] != before[key]]
    known = before.get("losses")
    if "loss_settings" not in before and known and losses is not None:
        # Earlier versions wrote the names only, or behind these some of the settings.
        names = {task: str(name).partition(" {")[0] for task, name in known.items()}
        changed += ["losses"] * (names != losses.loss_names)
    return changed


def _numbers_of(optimizer: Any) -> dict[str, Any]:
    """Return the settings of an optimizer that are numbers, but for its rate."""
    return {
        name: value
        for name, value in optimizer.get_config().items()
        if isinstance(value, (bool, int, float)) and name != "learning_rate"
    }


def _weight_name(weight: Any) -> Any:
    """Return a loss weight as plain JSON; one that may change is "variable"."""
    if weight is None:
        return None
    if isinstance(weight, keras.Variable) or tf.is_tensor(weight):
        return "variable"
    return float(weight)


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """Return JSON types: NumPy's numbers and objects of the user become what they print as."""
    plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return plain


def batch_size_of(x: Any, batch_size: int | None) -> int | None:
    """Return the batch size of a `fit`, as far as its arguments tell.

    Args:
        x: The argument `x` of `fit`.
        batch_size: Its argument `batch_size`.

    Returns:
        A number; None for data that make batches of a size that is not declared.
    """
    if batch_size is not None:
        return int(batch_size)
    if isinstance(x, tf.data.Dataset):
        leaves = tf.nest.flatten(x.element_spec, expand_composites=True)
        return leaves[0].shape[0] if leaves and leaves[0].shape.rank else None
    leaves = keras.tree.flatten(x)
    arrays = all(hasattr(leaf, "shape") for leaf in leaves)
    return 32 if leaves and arrays else None  # Keras's default.


def _seed() -> int | None:
    """Return the seed last given to `keras.utils.set_random_seed` or `tf.random.set_seed`.

    Keras has no public way to read its seed, but sets it in TensorFlow, which has one.
    """
    with tf.init_scope():
        seed = tf.compat.v1.random.get_seed(1)[0]
    return None if seed is None or seed == _UNSET else int(seed)
