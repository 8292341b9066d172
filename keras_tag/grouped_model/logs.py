"""`LossLogs`: the losses that a `GroupedModel` logs."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_tag.grouped_model.network_losses import unscale

Losses = Sequence[Mapping[str, Any]]


class LossLogs:
    """Means over the batches of an epoch, under the names that the logs give them.

    Args:
        groups: The tasks of every network.
        serves: Served task -> the index of the network that serves it.
        helper_losses: Whether to log, as `group_<index>/<task>_loss`, the losses of tasks that a
            network trains and does not serve.

    Attributes:
        metrics: Keras's metrics, for Keras to reset and report.
    """

    def __init__(
        self, groups: Sequence[Sequence[str]], serves: Mapping[str, int], helper_losses: bool
    ) -> None:
        self._by_network = {
            (index, task): keras.metrics.Mean(name=f"{task}_loss") for task, index in serves.items()
        }
        if helper_losses:
            for index, group in enumerate(groups):
                for task in group:
                    if serves.get(task) != index:
                        name = f"group_{index}/{task}_loss"
                        self._by_network[index, task] = keras.metrics.Mean(name=name)
        self._optimized = keras.metrics.Mean(name="optimized_loss")
        self.metrics = [*self._by_network.values(), self._optimized]

    def update(self, losses: Losses, totals: Sequence[Any], batch_size: Any) -> None:
        """Add one batch.

        Args:
            losses: Per network, losses by task.
            totals: Per network, what it minimises.
            batch_size: How many examples.
        """
        for (index, task), mean in self._by_network.items():
            mean.update_state(unscale(losses[index][task]), batch_size)
        self._optimized.update_state(unscale(sum(totals)), batch_size)
