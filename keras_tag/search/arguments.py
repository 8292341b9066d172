"""Checks of what a `GroupSearch` is given, before anything is trained."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.search.data import Source, by_name
from keras_tag.tag_model import TAGModel
from keras_tag.tag_model.checks import check_model
from keras_tag.training.missing_labels import check_missing


def wrapped(model: Any) -> Any:
    """Return the model that a `TAGModel` wraps; any other as it is."""
    return model.model if isinstance(model, TAGModel) else model


def checked_model(model: Any, build: Any) -> None:
    """Refuse a model that networks can't be made of.

    Args:
        model: A compiled model, or None.
        build: A function that builds compiled networks, or None.

    Raises:
        TypeError: Neither a Keras model nor None; or `build` can't be called.
        ValueError: Neither was given, or a model that is not compiled, or not functional.
    """
    if build is not None and not callable(build):
        raise TypeError(f"Expected `build` to be a function build(tasks). Received: {build!r}.")
    if model is None:
        if build is None:
            raise ValueError(
                "Expected a compiled Keras model, or `build` and `tasks`. Received: neither."
            )
        return
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"Expected `model` to be a keras.Model. Received: {type(model).__name__}. A function "
            "that builds networks is given as `build`."
        )
    if not model.compiled:
        raise ValueError(
            "Expected a compiled model, whose optimizer, losses and metrics the networks get. "
            "Received: a model that is not compiled. Call `model.compile(...)` first."
        )
    inner = wrapped(model)
    if build is None:
        check_model(inner)
    if build is None and getattr(inner, "output", None) is None:
        raise ValueError(
            "Expected a functional model of at least two tasks, outputs with a loss: "
            f"keras.Model(inputs, {{task: output}}). Received: {type(inner).__name__}, whose "
            "outputs by task are not known before it is called. Give `build`: a function "
            "build(tasks) that returns a new compiled model with these outputs."
        )


def output_names(model: keras.Model | None, tasks: Sequence[str] | None) -> tuple[str, ...]:
    """Return the outputs in the order in which Keras pairs them with lists.

    Args:
        model: A compiled model, or None.
        tasks: What was said, or None.

    Raises:
        ValueError: They are not known.
    """
    if model is not None:
        inner = wrapped(model)
        outputs = getattr(inner, "output", None)
        if isinstance(outputs, Mapping):
            return tuple(sorted(outputs))
        if outputs is not None:
            return tuple(inner.output_names)
        if tasks is None and isinstance(model.loss, Mapping):
            return tuple(model.loss)
    if tasks is None:
        raise ValueError(
            "Expected `tasks` with `build`: the names of all outputs. Received: tasks=None."
        )
    return tuple(tasks)


def checked_tasks(
    model: keras.Model | None, names: tuple[str, ...], tasks: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the tasks: the outputs that have a loss.

    Args:
        model: A compiled model, or None.
        names: Its outputs.
        tasks: What was said, or None for all.

    Raises:
        ValueError: Fewer than two, or tasks that are no outputs.
    """
    chosen = tuple(names if tasks is None else tasks)
    unknown = [task for task in chosen if task not in names]
    strange = [task for task in chosen if not re.fullmatch(r"[A-Za-z0-9_.\\/>-]+", task)]
    if strange:
        raise ValueError(
            "Expected task names that Keras can log: letters, digits and _ . - / only. Received: "
            f"{strange}. Rename these outputs."
        )
    if unknown or len(set(chosen)) != len(chosen):
        raise ValueError(f"Expected distinct `tasks` of {list(names)}. Received: {list(chosen)}.")
    if model is not None:
        (loss,) = by_name([model.loss], names)
        if isinstance(loss, Mapping):
            chosen = tuple(task for task in chosen if loss.get(task) is not None)
        if isinstance(getattr(model, "output", None), Mapping):
            # The model's own order, which is the one that people know.
            chosen = tuple(task for task in model.output if task in chosen)
    if len(chosen) < 2:
        raise ValueError(
            "Expected at least two tasks (outputs with a loss) to make groups of. Received: "
            f"{list(chosen)}."
        )
    return chosen


def checked_missing(model: keras.Model | None, missing: float | None) -> float | None:
    """Return the label value that means "not labelled", in all networks; None: only NaN does.

    Args:
        model: A compiled model, or None.
        missing: What was said beside it, or None.

    Raises:
        ValueError: It is no number, or the model, a `TAGModel`, has another one.
    """
    check_missing(missing)
    own = model.missing if isinstance(model, TAGModel) else None
    # NaN means so without asking.
    own, said = (None if m is None or np.isnan(m) else m for m in (own, missing))
    if own is not None and said not in (None, own):
        raise ValueError(
            "Expected one label value that means 'not labelled'. Received: missing="
            f"{missing!r} and a TAGModel with missing={own!r}. Leave `missing` out: the search "
            "takes the model's."
        )
    return own if said is None else said


def check_limits(max_cost: Any, timeout: Any, singles: int) -> None:
    """Refuse limits that don't allow a search.

    Args:
        max_cost: In joint runs, or None.
        timeout: In seconds, or None.
        singles: How many lone tasks are trained besides.

    Raises:
        ValueError: One of them is out of its range.
    """
    if max_cost is not None and not max_cost >= 2 + singles:
        raise ValueError(
            "Expected `max_cost` to allow the joint run, which costs 1, and one more training"
            + (f", and {singles} lone tasks" if singles else "")
            + f": at least {2 + singles}. Received: max_cost={max_cost!r}."
        )
    if timeout is not None and not timeout > 0:
        raise ValueError(
            f"Expected `timeout` to be a number of seconds above 0. Received: timeout={timeout!r}."
        )


def checked_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Refuse what is not one of the choices.

    Raises:
        ValueError: It is not.
    """
    if value not in choices:
        raise ValueError(
            f"Expected `{name}` to be one of {list(choices)}. Received: {name}={value!r}."
        )


def sources(
    given: Mapping[str, Any], names: tuple[str, ...], missing: float | None = None
) -> tuple[Source, Source]:
    """Return training and validation data.

    Args:
        given: The arguments of `fit` that are about data.
        names: The model's outputs, in the order of lists.
        missing: A label value that means "not labelled".

    Raises:
        ValueError: There is no validation data, or data that can be read only once.
    """
    epochs, every = given["epochs"], given["validation_freq"]
    if epochs < (every if isinstance(every, int) else min(every)):
        raise ValueError(
            "Expected at least one validation, by which networks are compared. Received: "
            f"epochs={epochs!r} and validation_freq={every!r}."
        )
    batch_size = given["batch_size"] or 32
    x, validation = given["x"], given["validation_data"]
    for what, steps in (("x", "steps_per_epoch"), ("validation_data", "validation_steps")):
        data = given[what]
        if hasattr(data, "__next__"):
            raise ValueError(
                f"Expected data that can be read for every training. Received: {what} is a "
                "generator, which can be read once. Give a function that returns a "
                "tf.data.Dataset, arrays, or a PyDataset."
            )
        endless = (
            isinstance(data, tf.data.Dataset) and data.cardinality() == tf.data.INFINITE_CARDINALITY
        )
        if endless and given[steps] is None:
            raise ValueError(
                f"Expected `{steps}` with a dataset without end. Received: {what} repeats for "
                f"ever, and {steps}=None."
            )
    if x is None:
        raise ValueError("Expected training data. Received: x=None.")
    y, weight, shuffle = given["y"], given["sample_weight"], given["shuffle"]
    train = Source(x, y, weight, batch_size, shuffle, names, missing=missing)
    beside = [name for name in ("y", "sample_weight") if given[name] is not None]
    if beside and not train.of_arrays:
        raise ValueError(
            "Expected labels and weights in the dataset, or in what the function returns. "
            f"Received: {beside} beside x. Give a dataset of (x, y) or (x, y, sample_weight)."
        )
    if validation is not None:
        valid = Source.of(
            validation,
            batch_size=given["validation_batch_size"] or batch_size,
            output_names=names,
            steps=given["validation_steps"],
            missing=missing,
        )
        return train, valid
    share = given["validation_split"] or 0.0
    if not 0 < share < 1:
        raise ValueError(
            "Expected validation data, by which networks are compared: `validation_data`, or with "
            "arrays a `validation_split` above 0 and below 1. Received: validation_data=None and "
            f"validation_split={share!r}."
        )
    train, valid = train.split(share)
    return train, replace(valid, steps=given["validation_steps"])


def check_data_travels(*given: Any) -> None:
    """Refuse data that no other process can be given.

    Args:
        *given: Training and validation data.

    Raises:
        ValueError: One is a dataset object.
    """
    for data in given:
        if isinstance(data, tf.data.Dataset):
            raise ValueError(
                "Expected data that can be sent to other processes, with `executor`. Received: a "
                "tf.data.Dataset, which can't be. Give a function that returns it there: "
                "x=lambda: load(...), and the same for `validation_data`; or arrays."
            )


def warn_of_other_batches(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Warn of data that may be others than those that the search in the folder began with.

    Args:
        there: Fingerprints of the folder; see `Source.fingerprint`.
        here: Of this run.
    """
    other = [name for name in here if there.get(name) and here[name] not in (None, there[name])]
    if other:
        warnings.warn(
            f"The first batches of these data are others than when this search began: {other}. "
            "Networks that were trained on other data can't be compared. If these are other data, "
            "give another `project_name`, or overwrite=True; if only the order differs, seed it.",
            stacklevel=3,
        )


def differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Return what differs between two settings, a line each.

    Args:
        there: Of the folder.
        here: Of this search.
        name: What they are.
    """
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        keys = [*there, *(key for key in here if key not in there)]
        return [
            line
            for key in keys
            for line in differences(there.get(key), here.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if there == here else [f"{name}: {there!r} there, {here!r} here"]
