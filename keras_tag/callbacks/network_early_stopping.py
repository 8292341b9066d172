"""`NetworkEarlyStopping`: early stopping for each network of a `GroupedModel`."""

from typing import Any

import keras
import numpy as np


class NetworkEarlyStopping(keras.callbacks.Callback):
    """Early stopping for each network by itself, because they converge at different times.

    There is one `keras.callbacks.EarlyStopping` per network. It watches the loss of the tasks that
    the network serves (times `loss_weights`). When it stops its network, that network trains no
    more (its batch statistics and random state rest too), while the others go on; `fit` ends when
    all have stopped. Every network ends with the weights of its own best epoch.

    Args:
        monitor: "val_loss" or "loss".
        restore_best_weights: As in `EarlyStopping`, but by default yes.
        **kwargs: `patience`, `min_delta`, `start_from_epoch`, `verbose`, as in `EarlyStopping`.

    Attributes:
        stoppers: The `EarlyStopping` of every network, with its `best_epoch` and `stopped_epoch`.

    Example:
        >>> stop = keras_tag.callbacks.NetworkEarlyStopping(patience=5)
        >>> served.fit(train, validation_data=valid, epochs=200, callbacks=[stop])
        >>> print([stopper.best_epoch for stopper in stop.stoppers])  # such as [31, 58, 12]
    """

    def __init__(
        self, monitor: str = "val_loss", *, restore_best_weights: bool = True, **kwargs: Any
    ) -> None:
        super().__init__()
        if monitor not in ("val_loss", "loss"):
            raise ValueError(
                "Expected `monitor` to be 'val_loss' or 'loss', which is taken per network from "
                f"the tasks it serves. Received: monitor={monitor!r}."
            )
        self.monitor = monitor
        self._settings = {**kwargs, "restore_best_weights": restore_best_weights}
        # Raises for settings that EarlyStopping does not know.
        self.stoppers = [self._new_stopper()]

    def _new_stopper(self) -> keras.callbacks.EarlyStopping:
        return keras.callbacks.EarlyStopping(self.monitor, mode="min", **self._settings)

    def on_train_begin(self, logs: Any = None) -> None:
        """Let all networks train."""
        if not hasattr(self.model, "train_only"):
            raise ValueError(
                "Expected to be a callback of a keras_tag.GroupedModel. Received: "
                f"model={self.model!r}. For one network use keras.callbacks.EarlyStopping."
            )
        self.stoppers = [self._new_stopper() for _ in self.model.networks]
        for stopper, network in zip(self.stoppers, self.model.networks, strict=True):
            stopper.set_model(network)
            network.stop_training = False
            stopper.on_train_begin()
        self.model.train_only(range(len(self.stoppers)))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop the networks that are done."""
        for index in self.model.trained_networks:
            stopper, network = self.stoppers[index], self.model.networks[index]
            stopper.on_epoch_end(epoch, self._logs_of(index, logs or {}))
            if network.stop_training:
                # At once, so that from now on it is evaluated as it will be served.
                stopper.on_train_end()
        networks = self.model.networks
        training = [i for i in self.model.trained_networks if not networks[i].stop_training]
        if len(training) < len(self.model.trained_networks):
            self.model.train_only(training)
        self.model.stop_training = self.model.stop_training or not training

    def on_train_end(self, logs: Any = None) -> None:
        """Restore the best weights of networks still training; let all train next time."""
        for index in self.model.trained_networks:
            self.stoppers[index].on_train_end()
        self.model.train_only(range(len(self.stoppers)))

    def _logs_of(self, index: int, logs: dict[str, Any]) -> dict[str, Any]:
        """Return the monitored loss of one network; nothing in an epoch without validation."""
        prefix = self.monitor.removesuffix("loss")
        served = [task for task, network in self.model.serves.items() if network == index]
        names = {task: f"{prefix}{task}_loss" for task in served}
        if not set(names.values()) <= set(logs):
            return {}
        losses = {task: logs[name] for task, name in names.items()}
        if np.isfinite(logs[self.monitor]):
            # NaN then only says that a task has no label.
            losses = {task: loss for task, loss in losses.items() if np.isfinite(loss)}
        if not losses:
            return {}
        weights = self.model.task_losses.weights
        return {self.monitor: sum(weights[task] * loss for task, loss in losses.items())}
