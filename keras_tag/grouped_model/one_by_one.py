"""Train the networks of a `GroupedModel` one after another, and go on after an interruption."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_tag.atomic_files import sync, write_atomically
from keras_tag.selection.grouping import Grouping
from keras_tag.tag_model.first_batch import FirstBatch

Callbacks = Sequence[keras.callbacks.Callback] | Callable[[int], Sequence[keras.callbacks.Callback]]
History = dict[str, list[float]]


def fit_groups(
    compiled: Sequence[keras.Model],
    grouping: Grouping,
    folder: str | os.PathLike[str],
    x: Any,
    y: Any = None,
    *,
    callbacks: Callbacks | None = None,
    networks: Iterable[int],
    **fit: Any,
) -> list[History]:
    """Train network after network; see `GroupedModel.fit_groups`.

    Args:
        compiled: Every network as a compiled model of its own.
        grouping: The groups of the networks, which the folder is of.
        folder: Where finished networks are kept.
        x: As in `fit`.
        y: As in `fit`.
        callbacks: As in `fit`, or a function of the network's index.
        networks: The indices of the networks to train here.
        **fit: As in `fit`.

    Returns:
        Per network, its history.
    """
    place = Path(folder)
    _claim(place, grouping)
    mine = set(networks)
    histories: list[History] = []
    for index, alone in enumerate(compiled):
        own = place / f"network_{index}"
        history, weights = own / "history.json", own / "trained.weights.h5"
        if weights.exists():
            if not alone.built:
                alone(FirstBatch.of(x, y, None, None, None).data[0], training=False)
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
    write_atomically(file, lambda opened: opened.write(json.dumps(history).encode()))
