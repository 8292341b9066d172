"""Train the networks of a `GroupedModel` one after another, and go on after an interruption."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import keras
import tensorflow as tf

from keras_tag.atomic_files import sync, write_atomically
from keras_tag.grouped_model.joint_outputs import MadeNetworks
from keras_tag.selection.grouping import Grouping
from keras_tag.training.compile_spec import new_metrics

if TYPE_CHECKING:
    from keras_tag.grouped_model.model import GroupedModel

Callbacks = Sequence[keras.callbacks.Callback] | Callable[[int], Sequence[keras.callbacks.Callback]]
History = dict[str, list[float]]


def fit_groups(
    model: "GroupedModel",
    folder: str | os.PathLike[str],
    x: Any,
    y: Any = None,
    *,
    callbacks: Callbacks | None = None,
    networks: Iterable[int] | None = None,
    **fit: Any,
) -> list[History]:
    """Train network after network; see `GroupedModel.fit_groups`."""
    place = Path(folder)
    _claim(place, model.grouping)
    mine = model.indices(networks)
    histories: list[History] = []
    for index in range(len(model.networks)):
        alone = compiled_alone(model, index)
        own = place / f"network_{index}"
        history, weights = own / "history.json", own / "trained.weights.h5"
        if weights.exists():
            if not alone.built:
                alone(_first_batch(x), training=False)
            if alone.optimizer is not None:
                alone.optimizer.build(alone.trainable_variables)
            alone.load_weights(weights)
        elif index not in mine:
            histories.append({})
            continue
        else:
            own.mkdir(exist_ok=True)
            chosen = callbacks(index) if callable(callbacks) else callbacks
            logs = alone.fit(x, y, callbacks=chosen, **fit).history
            _write(history, {k: [float(v) for v in values] for k, values in logs.items()})
            # The weights' final name is what says that this network is done: it comes last.
            partial = own / "partial.weights.h5"
            alone.save_weights(partial)
            sync(partial)
            os.replace(partial, weights)
            sync(own)
        histories.append(json.loads(history.read_text()))
    return histories


def compiled_alone(model: "GroupedModel", index: int) -> "GroupedModel":
    """One network as a compiled model of its own that serves what the network serves.

    Network and optimizer are the same objects: training it trains them.

    Args:
        model: A compiled model of several networks.
        index: Of the network.

    Returns:
        A `GroupedModel` with one network, compiled like `model`.
    """
    network, group = model.networks[index], model.grouping.groups[index]
    alone = type(model)(
        Grouping.from_groups([group]),
        MadeNetworks([network], model.joint_outputs),
        serve=[task for task in group if model.serves.get(task) == index],
        missing=model.missing,
    )
    losses = model.task_losses
    alone.compile(
        None if model.optimizer is None else model.optimizer.by_network[index],
        loss={task: losses.losses[task] for task in group},
        loss_weights={task: losses.given_weights[task] for task in group},
        metrics=_metrics_of(alone.serves, "metrics", model),
        weighted_metrics=_metrics_of(alone.serves, "weighted_metrics", model),
        run_eagerly=model.run_eagerly,
        steps_per_execution=model.steps_per_execution,
        jit_compile=model.jit_compile,
    )
    return alone


def _metrics_of(
    tasks: Iterable[str], argument: str, model: "GroupedModel"
) -> dict[str, Any] | None:
    """Return new metrics of some tasks, from the `compile` argument of a model of all tasks."""
    given = new_metrics(model, argument)
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(
            f"Expected `{argument}` to have been compiled as a dict by task. "
            f"Received: {argument}={given!r}."
        )
    return {task: given[task] for task in tasks if task in given} if given else None


def _claim(place: Path, grouping: Grouping) -> None:
    """Make the folder that of this grouping, or refuse one that is another's."""
    place.mkdir(parents=True, exist_ok=True)
    file = place / "grouping.json"
    if not file.exists():
        grouping.save(file)
        return
    found = Grouping.load(file)
    if (found.groups, dict(found.serves)) != (grouping.groups, dict(grouping.serves)):
        raise ValueError(
            "Expected a new folder, or one in which networks of the same grouping were trained. "
            f"Received: folder={str(place)!r}, of the grouping\n{found}\nGive another folder, or "
            "delete this one."
        )


def _write(file: Path, history: History) -> None:
    def write(opened: BinaryIO) -> None:
        opened.write(json.dumps(history).encode())

    write_atomically(file, write)


def _first_batch(x: Any) -> Any:
    """Return some inputs, to build a network on."""
    if isinstance(x, tf.data.Dataset):
        return next(iter(x))[0]
    if isinstance(x, keras.utils.PyDataset):
        return x[0][0]
    return keras.tree.map_structure(lambda leaf: leaf[:1], x)
