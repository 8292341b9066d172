"""Promises of the package, and whether they hold for a model and its data."""

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from keras_tag.copying.functional_outputs import named_outputs
from keras_tag.copying.layer_walk import flattened
from keras_tag.copying.model_copy import ModelCopier, is_unnamed_lambda
from keras_tag.tag_model.forward_graph import ForwardGraph
from keras_tag.tag_model.model_check import Promise, listed
from keras_tag.training.compile_spec import compile_arguments
from keras_tag.training.of_keras import is_of_keras


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


def compiled_by_xla(model: Any, graph: ForwardGraph | None, looked_at: Sequence[str]) -> Promise:
    """Say what XLA changes.

    Args:
        model: A compiled `TAGModel`.
        graph: Its forward pass, if it could be traced.
        looked_at: The tasks whose labels the graph looks through for missing ones.
    """
    name = "XLA"
    if not model.jit_compile:
        return Promise(name, True, "not used (jit_compile is False for this model and device)")
    if graph is not None and graph.python:
        return Promise(
            name,
            False,
            f"XLA can't compile the Python functions in {listed(graph.python)}",
            "Compile with jit_compile=False.",
        )
    if looked_at and compile_arguments(model).get("metrics"):
        return Promise(
            name,
            None,
            "XLA drops the check that no label is missing where `metrics` would count it",
            "Give metrics as `weighted_metrics`.",
        )
    return Promise(
        name,
        True,
        "steps are compiled as Keras compiles them; affinities are those without XLA up to the "
        "rounding of fused operations",
    )


def nothing_changes(changed: Sequence[str], graph: ForwardGraph | None) -> Promise:
    """Say whether a probe changes nothing.

    Args:
        changed: The variables outside of the model that the probes of this check changed.
        graph: The forward pass, if it could be traced.
    """
    name = "a probe changes nothing"
    if changed:
        return Promise(
            name,
            False,
            f"a layer or loss writes TensorFlow variables that are no Keras variables: "
            f"{listed(changed)}. A probe runs it several times, so `fit` refuses its first probe "
            "(the check has put them back)",
            "Make such variables with `self.add_weight(trainable=False)` in their layer, or as "
            "`keras.Variable(..., trainable=False)` in a loss.",
        )
    if graph is not None and graph.python:
        return Promise(
            name,
            None,
            f"Python functions run in {listed(graph.python)}; what they change is not seen",
            "Write them with keras.ops.",
        )
    return Promise(name, True, "weights, optimizer, statistics, metrics and seeds stay as they are")


def repeatable(graph: ForwardGraph | None, difference: float) -> Promise:
    """Say whether a probe of one batch gives one affinity.

    Args:
        graph: The forward pass, if it could be traced.
        difference: The greatest difference of two probes of one batch, as a share of the losses.
    """
    name = "reproducible probes"
    if graph is not None and graph.draws:
        return Promise(
            name,
            False,
            f"{listed(graph.draws)} draws random numbers that no Keras seed makes: the losses "
            "before and after a step see other draws",
            "Draw with keras.random and a `keras.random.SeedGenerator` that the layer keeps as an "
            "attribute.",
        )
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


def can_be_saved(model: Any, cut: Promise, unsaved: Sequence[str]) -> Promise:
    """Say whether a file of the model can be written, and what loading needs.

    Args:
        model: A compiled `TAGModel`.
        cut: What `can_be_cut` said.
        unsaved: The layers of which Keras's own files lose a setting.
    """
    name = "saving"
    try:
        with warnings.catch_warnings():
            # Of lambdas, which are found below.
            warnings.simplefilter("ignore")
            config = keras.saving.serialize_keras_object(model)
    except Exception as error:
        return Promise(
            name,
            False,
            f"Keras can't write the model, loss or metric into a .keras file: {error}",
            "Give it a `get_config`; or save weights only (`save_weights`), and the affinity with "
            "`tag.affinity().save`.",
        )
    found = list(_loading_problems(model.model, config, cut, unsaved))
    if not found:
        return Promise(name, True, "a .keras file can be written and loaded")
    reasons, ways_out = zip(*found, strict=True)
    said = f"a file can be written, but {'; '.join(reasons)}"
    return Promise(name, None, said, " ".join(ways_out))


def _loading_problems(
    inner: keras.Model, config: Any, cut: Promise, unsaved: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield what a loaded file lacks, each with the way out."""
    layers = [inner, *flattened(inner)]
    unknown = sorted({type(layer).__name__ for layer in layers if not _is_registered(type(layer))})
    lambdas = [layer.name for layer in layers if is_unnamed_lambda(layer)]
    if lambdas:
        yield (
            f"Keras loads the Lambda layers {listed(lambdas)} only where `safe_mode` is off",
            "Use keras.ops or a layer class in place of Lambda.",
        )
    if unknown:
        yield (
            f"to load it Keras must be told of {listed(unknown)}",
            "Decorate your classes with `@keras.saving.register_keras_serializable()`, or load "
            "with `custom_objects`.",
        )
    if unsaved:
        yield (
            f"Keras's files lose `trainable` flags, LoRA or quantisation of {listed(unsaved)}",
            "Set them again after loading, and compile; a GroupedModel keeps them.",
        )
    # A copy of a functional model was made already.
    if cut.holds is False and not (lambdas or unknown):
        yield from _made_again(config["config"]["model"], "the model", "`get_config`")
    yield from _made_again(
        config["compile_config"], "losses, metrics or optimizer", "`get_config` and register it"
    )


def _made_again(config: Any, what: str, needed: str) -> Iterator[tuple[str, str]]:
    """Yield a problem if Keras can't make something again from its configuration."""
    try:
        with _one_copy():
            keras.saving.deserialize_keras_object(config)
    except Exception as error:
        yield (
            f"Keras can't make {what} again ({' '.join(str(error).split())[:200]})",
            f"Give your own class or function a name and {needed}, or load with `custom_objects` "
            "or `compile=False`.",
        )


def _is_registered(cls: type) -> bool:
    if is_of_keras(cls):
        return True
    registered = keras.saving.get_registered_name(cls)
    return keras.saving.get_registered_object(registered) is not None


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
