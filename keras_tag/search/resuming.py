"""Callbacks of a training: its best weights, its history, and its state after an interruption."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_tag.callbacks.backup import Backup
from keras_tag.search.ledger import plain

# What Keras's callbacks remember from epoch to epoch. Others have to begin anew.
REMEMBERED: dict[type[keras.callbacks.Callback], tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.LearningRateScheduler: (),
    keras.callbacks.TerminateOnNaN: (),
}
# What the callback that keeps the best weights remembers.
_BEST = ("best", "best_epoch", "values", "history")
# A backup is written when training took this many times as long as writing the last one did.
PATIENCE = 100.0


class KeepBest(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the least sum of objectives, and the history.

    Args:
        network: Whose weights.
        objective: `objective(logs)` returns `(sum, {task: value})`, less is better; None where the
            logs have no values. A value that is not finite raises.

    Attributes:
        best_epoch: The epoch, counted from 0; None before the first.
        values: Task -> value in that epoch.
        history: One epoch's logs after the other.
    """

    def __init__(
        self,
        network: keras.Model,
        objective: Callable[[Mapping[str, Any]], tuple[float, dict[str, float]] | None],
    ) -> None:
        super().__init__()
        self.network = network
        self.best = math.inf
        self.best_epoch: int | None = None
        self.values: dict[str, float] = {}
        self.weights: list[np.ndarray] = []
        self.history: list[dict[str, float]] = []
        self.begun = time.monotonic()
        self._objective = objective

    @property
    def seconds(self) -> float:
        """How long training took, interruptions left out."""
        return time.monotonic() - self.begun

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Look at the epoch."""
        logs = dict(logs or {})
        self.history.append({name: float(np.mean(value)) for name, value in logs.items()})
        found = self._objective(logs)
        if found is not None and found[0] < self.best:
            self.best, self.values = found
            self.best_epoch = epoch
            self.weights = self.network.get_weights()

    def put_back(self) -> None:
        """Give the network its best weights."""
        self.network.set_weights(self.weights)


class Resume(Backup):
    """A `Backup` that also keeps random states, the best weights and what callbacks remember.

    Args:
        folder: Where backups are kept.
        best: The training's `KeepBest`.
        callbacks: Those whose memory is kept.
        check: Raises if the folder is somebody else's now.
    """

    def __init__(
        self,
        folder: Path,
        best: KeepBest,
        callbacks: Sequence[keras.callbacks.Callback],
        check: Callable[[], None],
    ) -> None:
        super().__init__(folder, delete_when_done=False)
        self._best = best
        self._remembering = [c for c in callbacks if REMEMBERED.get(type(c))]
        self._check = check
        self._free_until = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        """Go on after the newest backup, if there is one."""
        super().on_train_begin(logs)
        state = self._own / "unfinished" / "search.json"
        if state.is_file():
            self._put_back(json.loads(state.read_text("utf-8")), state.with_suffix(".npz"))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save, unless that would take too large a share of the time; see `PATIENCE`."""
        last = epoch + 1 == self.params.get("epochs")
        begun = time.monotonic()
        # A training that is about to stop must not be taken up after its last epoch.
        if last or self.model.stop_training or begun < self._free_until:
            return
        self._check()
        unfinished = self._own / "unfinished"
        unfinished.mkdir(exist_ok=True)
        self._write(unfinished / "search.json", unfinished / "search.npz")
        super().on_epoch_end(epoch, logs)
        ended = time.monotonic()
        self._free_until = ended + PATIENCE * (ended - begun)

    def _write(self, state: Path, arrays: Path) -> None:
        best = self._best
        remembered = [
            {name: getattr(callback, name) for name in REMEMBERED[type(callback)]}
            for callback in self._remembering
        ]
        kept = {name: getattr(best, name) for name in (*_BEST, "seconds")}
        kept["remembered"] = remembered
        state.write_text(json.dumps(kept, default=plain), "utf-8")
        named = {f"best_{k}": array for k, array in enumerate(best.weights)}
        for k, callback in enumerate(self._remembering):
            for i, array in enumerate(getattr(callback, "best_weights", None) or ()):
                named[f"callback_{k}_{i}"] = array
        for k, variable in enumerate(self._random_states()):
            named[f"random_{k}"] = keras.ops.convert_to_numpy(variable)
        np.savez(arrays, allow_pickle=False, **named)

    def _put_back(self, kept: dict[str, Any], arrays: Path) -> None:
        best = self._best
        for name in _BEST:
            setattr(best, name, kept[name])
        best.begun -= kept["seconds"]
        with np.load(arrays, allow_pickle=False) as named:
            best.weights = _numbered(named, "best_")
            for k, callback in enumerate(self._remembering):
                for name, value in kept["remembered"][k].items():
                    setattr(callback, name, value)
                weights = _numbered(named, f"callback_{k}_")
                if weights:
                    callback.best_weights = weights
            states = self._random_states()
            for variable, value in zip(states, _numbered(named, "random_"), strict=True):
                variable.assign(value)

    def _random_states(self) -> list[Any]:
        """Variables that Keras's weights files leave out: the states of seed generators."""
        weights = {id(variable) for variable in self.model.weights}
        metrics = {id(variable) for variable in self.model.metrics_variables}
        return [v for v in self.model.variables if id(v) not in weights | metrics]


def can_resume(callbacks: Sequence[keras.callbacks.Callback]) -> bool:
    """Whether a training with these callbacks can go on in the middle.

    Args:
        callbacks: The user's.

    Returns:
        False if one of them may remember what nobody but it knows: then the training begins anew.
    """
    return all(type(callback) in REMEMBERED for callback in callbacks)


def _numbered(named: Any, prefix: str) -> list[np.ndarray]:
    count = sum(name.startswith(prefix) for name in named.files)
    return [named[f"{prefix}{k}"] for k in range(count)]
