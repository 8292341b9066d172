"""`LossLogs`: the losses that a `GroupedModel` logs."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_tag.grouped_model.network_losses import unscale


class LossLogs:
    """Means over an epoch, under the names that the logs give them.

    A task's loss is the mean over its labels of the epoch, not over its batches: a batch in which
    most labels are missing counts for the few that it has.

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
        self._served = {task: keras.metrics.Mean(name=f"{task}_loss") for task in serves}
        self._by_network = {(index, task): self._served[task] for task, index in serves.items()}
        if helper_losses:
            for index, group in enumerate(groups):
                for task in group:
                    if serves.get(task) != index:
                        name = f"group_{index}/{task}_loss"
                        self._by_network[index, task] = keras.metrics.Mean(name=name)
        self._optimized = keras.metrics.Mean(name="optimized_loss")
        self.metrics = [*self._by_network.values(), self._optimized]

    def update(
        self, losses: Sequence[Sequence[Any]], totals: Sequence[Any], batch_size: Any
    ) -> None:
        """Add one batch.

        Args:
            losses: Per network, what a `NetworkLosses` returned.
            totals: Per network, what it minimises.
            batch_size: How many examples.
        """
        for (index, task), mean in self._by_network.items():
            loss, size = (by_task[task] for by_task in losses[index])
            mean.update_state(unscale(loss), size)
        self._optimized.update_state(unscale(sum(totals)), batch_size)

    def served(self) -> dict[str, Any]:
        """Return the mean of every served task; 0 for one without a label so far."""
        return {task: mean.result() for task, mean in self._served.items()}

    def without_labels(self) -> list[str]:
        """Return the names in the logs of losses that had no label so far; not in a graph."""
        read = keras.ops.convert_to_tensor
        return [mean.name for mean in self._by_network.values() if not read(mean.count).numpy()]
