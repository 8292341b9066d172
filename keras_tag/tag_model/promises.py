"""Promises of the package, and whether they hold for a model and its data."""

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from keras_tag.copying.functional_outputs import named_outputs
from keras_tag.copying.model_copy import ModelCopier
from keras_tag.tag_model.model_check import Promise, listed


def plain_keras(model: Any, missing: Sequence[str], looked_at: Sequence[str]) -> Promise:
    """Say whether a training step that is not probed is plain Keras's, bit for bit.

    Args:
        model: A compiled `TAGModel`.
        missing: The tasks with missing labels.
        looked_at: The tasks whose labels the graph looks through for missing ones.
    """
    name = "training as plain Keras, bit for bit"
    if missing:
        return Promise(
            name,
            False,
            f"labels of {listed(missing)} are missing: these losses are means over the labelled "
            "examples, where plain Keras has other losses or NaN",
            "To compare with plain Keras, give complete labels; otherwise leave it so.",
        )
    if model.reuse_gradients:
        return Promise(
            name,
            False,
            "reuse_gradients=True sums the task gradients in another order at probed steps: equal "
            "up to rounding",
            "Leave reuse_gradients out.",
        )
    if model.steps_per_execution > 1:
        return Promise(
            name,
            None,
            "with steps_per_execution > 1 the steps of a probed execution run one by one: equal up "
            "to rounding",
            "Compile with steps_per_execution=1, if the last bit matters.",
        )
    if model.distribute_strategy.num_replicas_in_sync > 1:
        return Promise(
            name, None, "as Keras's under a strategy, whose own sums depend on the replicas"
        )
    if looked_at:
        return Promise(
            name,
            None,
            f"the graph looks for missing labels of {listed(looked_at)}, because it is not "
            "certain that there are none: equal in our tests, but another graph than Keras's",
            "Give arrays to `fit`, or integer labels without `missing`, if the last bit matters.",
        )
    return Promise(name, True, "no label can be missing, so the graph of a step is Keras's own")


def repeatable(difference: float) -> Promise:
    """Say whether a probe of one batch gives one affinity.

    Args:
        difference: The greatest difference of two probes of one batch, as a share of the losses.
    """
    name = "reproducible probes"
    if difference == 0:
        return Promise(
            name,
            True,
            "two probes of the batch agreed in every bit. For two runs that agree also call "
            "keras.utils.set_random_seed and tf.config.experimental.enable_op_determinism",
        )
    if difference < 1e-4:
        return Promise(
            name,
            None,
            f"two probes of the batch differ by {difference:.1g} of the losses, by rounding",
            "Call tf.config.experimental.enable_op_determinism() first, if the last bit matters.",
        )
    return Promise(
        name,
        False,
        f"two probes of the batch differ by {difference:.1g} of the losses: a layer has random "
        "draws or a state that is no Keras variable",
        "Draw with a `keras.random.SeedGenerator` and keep state with `self.add_weight`.",
    )


def can_be_cut(model: keras.Model) -> tuple[Promise, list[str]]:
    """Say whether `build_from` can cut networks out of a model, by making a copy of it.

    Args:
        model: The wrapped model.

    Returns:
        The promise, and the layers of which Keras's own files lose a setting.
    """
    name, write = "build_from", "Write a function `build_model(tasks)` for GroupedModel"
    try:
        with _one_copy() as caught:
            outputs = named_outputs(model)
            whole = keras.Model(model.input, outputs, name=model.name)
            copier = ModelCopier(whole, "all")
    except Exception as error:  # Layers of the user's may raise anything.
        if not hasattr(model, "output"):
            reason = (
                f"{type(model).__name__} is a subclassed model: its graph is not known, so nothing "
                "can be cut out of it"
            )
            return Promise(name, False, reason, f"{write}, or make the model functional."), []
        return Promise(name, False, str(error), f"{write}, or change that layer."), []
    if caught:
        way_out = "Do as it says, or check that the networks do without."
        return Promise(name, None, " ".join(caught), way_out), copier.unsaved
    reason = "a copy of the model was made; networks can be cut out of it"
    return Promise(name, True, reason), copier.unsaved


def can_be_saved(model: Any, unsaved: Sequence[str]) -> Promise:
    """Say whether a file of the model can be written, and what loading needs.

    Args:
        model: A compiled `TAGModel`.
        unsaved: The layers of which Keras's own files lose a setting.
    """
    name = "saving"
    try:
        with _one_copy():
            config = keras.saving.serialize_keras_object(model)
    except Exception as error:
        return Promise(
            name,
            False,
            f"Keras can't write the model, loss or metric into a .keras file: {error}",
            "Give it a `get_config`; or save weights only (`save_weights`), and the affinity with "
            "`tag.affinity().save`.",
        )
    try:
        with _one_copy():
            for part in (config["config"]["model"], config["compile_config"]):
                keras.saving.deserialize_keras_object(part)
    except Exception as error:
        # Keras puts the whole configuration before the error of an inner layer.
        reason = " ".join(str(error).rpartition("Exception encountered: ")[2].split())
        return Promise(
            name,
            None,
            f"a file can be written, but Keras can't load it as it is: {reason[:200]}",
            "Give your classes a `get_config` and decorate them, and functions, with "
            "`@keras.saving.register_keras_serializable()`; or load with `custom_objects`, "
            "`compile=False` or, for a Lambda layer, without `safe_mode`.",
        )
    if unsaved:
        return Promise(
            name,
            None,
            "a file can be written, but Keras's files lose `trainable` flags, LoRA or quantisation "
            f"of {listed(unsaved)}",
            "Set them again after loading, and compile; a GroupedModel keeps them.",
        )
    return Promise(name, True, "a .keras file can be written and loaded")


@contextmanager
def _one_copy() -> Iterator[list[str]]:
    """Collect warnings of what is made inside, on the CPU, and put back the seeds of its weights.

    Keras draws the seeds of new layers from Python's generator.
    """
    caught: list[str] = []
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with warnings.catch_warnings(record=True) as found, keras.device("cpu:0"):
            warnings.simplefilter("always")
            yield caught
        caught += [str(w.message) for w in found if issubclass(w.category, UserWarning)]
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
