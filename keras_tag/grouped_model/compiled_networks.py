"""`CompiledNetworks`: losses, metrics and optimizers of networks that are compiled together."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras

from keras_tag.grouped_model.network_losses import NetworkLosses, regularisation
from keras_tag.grouped_model.network_optimizers import OptimizerChoice, PerNetworkOptimizer
from keras_tag.grouped_model.network_outputs import MadeNetworks
from keras_tag.grouped_model.served_networks import ServedNetworks
from keras_tag.selection.grouping import Grouping
from keras_tag.training.compile_spec import compile_arguments


class CompiledNetworks(ServedNetworks):
    """Reads what `compile` was given for every network; `GroupedModel` trains with it."""

    _optimizer_choice: OptimizerChoice
    _optimizer: PerNetworkOptimizer | None = None
    _network_losses: NetworkLosses | None = None

    def keras_arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments for Keras's `compile`: metrics by task, of the served tasks only."""
        names = [name for name in ("metrics", "weighted_metrics") if name in given]
        return {**given, **{name: self._metrics_by_task(given, name) for name in names}}

    def _metrics_by_task(self, given: dict[str, Any], argument: str) -> Any:
        """Return a dict by served task, or None without any; a list for a lone output as it is."""
        metrics, loss = given[argument], given.get("loss")
        if not metrics:
            return None
        if not isinstance(metrics, (Mapping, list, tuple)):
            return metrics  # Keras says what is wrong with it.
        if not isinstance(metrics, Mapping):
            outputs = len(self.tasks if self.joint_outputs is None else self.joint_outputs)
            if outputs == 1 or (len(self.serves) == 1 and len(metrics) != outputs):
                return metrics
        others = tuple(loss) if isinstance(loss, Mapping) else ()
        named = self.by_name(metrics, argument, others)
        return {task: named[task] for task in self.serves if named.get(task) is not None} or None

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the loss of the served tasks: task losses times `loss_weights`, and regularisers.

        Args:
            x: Not used.
            y: Targets by task.
            y_pred: What `call` returned.
            sample_weight: None, one for all tasks, or a dict by task.
            training: Not used.

        Returns:
            A scalar.
        """
        losses, _ = self.task_losses(y, y_pred, sample_weight)
        return self.task_losses.weighted_sum(losses) + sum(map(regularisation, self.networks))

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Return Keras's metrics of the served tasks; `weighted_metrics` see labelled examples.

        Args:
            x: Not used.
            y: Targets by task.
            y_pred: What `call` returned.
            sample_weight: None, one for all tasks, or a dict by task.

        Returns:
            The logs.
        """
        y, weights = self.task_losses.labels(y, y_pred, sample_weight)
        return dict(super().compute_metrics(x, y, y_pred, weights))

    def reset_metrics(self) -> None:
        """Reset all metrics.

        Keras leaves those out that this model has not used so far. Another model may have, see
        `compiled_like`.
        """
        super().reset_metrics()
        given = compile_arguments(self)
        for metric in keras.tree.flatten([given.get("metrics"), given.get("weighted_metrics")]):
            if isinstance(metric, keras.metrics.Metric) and metric.variables:
                metric.reset_state()

    @property
    def task_losses(self) -> NetworkLosses:
        """The compiled losses and loss weights by task."""
        if self._network_losses is None:
            if not self.compiled:
                raise ValueError("Expected a compiled model. Call `compile(...)` first.")
            self._network_losses = NetworkLosses(self)
        return self._network_losses

    @property
    def optimizer(self) -> PerNetworkOptimizer | None:
        """The networks' optimizers as one; `optimizer.by_network[i]` steps network i."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Any) -> None:
        # `compile` is Keras's own; what it assigns here becomes one optimizer per network.
        self._network_losses = None
        inner = getattr(optimizer, "inner_optimizer", None)
        if isinstance(inner, PerNetworkOptimizer):
            # Keras wraps what it has just assigned when the policy is mixed_float16.
            inner.add_loss_scale()
            optimizer = inner
        self._optimizer = self._optimizer_choice.joined(optimizer, self._optimizer)
        if self._optimizer is not None:
            self._optimizer.bind(lambda: [net.trainable_variables for net in self.networks])

    def compiled_like(
        self,
        grouping: Grouping,
        networks: Iterable[keras.Model],
        serve: Iterable[str],
        optimizer: Any = None,
    ) -> "CompiledNetworks":
        """Return networks as a model that is compiled like this one.

        Args:
            grouping: Of tasks of this model.
            networks: One model per group; they may be this model's own.
            serve: The tasks to serve.
            optimizer: What trains them; None: they are only evaluated.

        Returns:
            The model. It has the same metrics, which `reset_metrics` resets before each use.
        """
        made = MadeNetworks(networks, self.joint_outputs)
        model = type(self)(grouping, made, serve=serve, missing=self.missing)
        # These may have been set after `compile`.
        flags = ("run_eagerly", "jit_compile", "steps_per_execution")
        other = {
            **{name: getattr(self, name) for name in flags},
            "optimizer": optimizer,
            "loss": self.task_losses.losses,
            "loss_weights": self.task_losses.given_weights,
            # The optimizer scales losses already, if it is to.
            "auto_scale_loss": False,
        }
        model.compile(**{**compile_arguments(self), **other})
        return model
