"""`GroupedModel`: the networks of a grouping, trained and served as one Keras model."""

import os
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.copying.layer_settings import restart_lora
from keras_tag.grouped_model.compiled_networks import CompiledNetworks
from keras_tag.grouped_model.logs import LossLogs
from keras_tag.grouped_model.network_losses import regularisation
from keras_tag.grouped_model.network_optimizers import OptimizerChoice
from keras_tag.grouped_model.one_by_one import Callbacks, fit_groups
from keras_tag.grouped_model.report import report
from keras_tag.selection.grouping import Grouping
from keras_tag.training.missing_labels import check_missing

if TYPE_CHECKING:
    import pandas as pd


@keras.saving.register_keras_serializable(package="keras_tag")
class GroupedModel(CompiledNetworks):
    """One `keras.Model` made of one network per group.

    `fit` makes one pass over the data and trains every network on its own tasks, as it would train
    alone: its own optimizer, its own random state, the same batches.
    `predict` and `evaluate` give every task from the network that serves it. What a network trains
    without serving it (a helper) is trained, and that is all that is seen of it.

    Logs carry the names of a plain Keras model with these outputs: `<task>_loss` and
    `<task>_<metric>` of the network that serves the task; `loss`, the sum of these losses (times
    `loss_weights`); and `optimized_loss`, the mean over the batches of all that is minimised: the
    losses of served tasks and helpers, and the networks' regularisers. All of them mean the same
    in `fit` and `evaluate`. A task's loss is the mean over the epoch's labels, however they are
    spread over batches; it is NaN, and no part of `loss`, where there is no label at all.

    `compile(optimizer)` gives the optimizer of all networks that have none of their own in
    `optimizers`: the first of them gets the compiled one, the others copies. Callbacks that change
    the learning rate change it for these networks; an optimizer in `optimizers` keeps its own. If
    every network has one, `compile(loss=...)` will do: the compiled optimizer is not used.

    Args:
        grouping: Which tasks train together, and which network serves each task.
        build_model: `build_model(tasks)` returns a new Keras model with an output for each of
            `tasks`: a dict of outputs, a list with `output_names`, or, for a lone task, a tensor.
            `keras_tag.build_from(model)` makes it from a functional model with all the tasks.
        serve: The tasks to serve, at least one of every network. None: all of them. The others
            are trained as helpers only.
        missing: A label value that means "not labelled", such as -1. NaN means so without asking.
        optimizers: One optimizer (or its name) per network, in the order of `grouping.groups`;
            None for a network that the compiled one is to train. None: that is every network.
        helper_losses: Whether to log, as `group_<index>/<task>_loss`, the losses of the helpers.
        **kwargs: As in `keras.Model` (`name`, ...).

    Attributes:
        grouping: The `Grouping`.
        tasks: All tasks, in the grouping's order.
        serves: Served task -> the index of the network that serves it.
        networks: The groups' Keras models, in the order of `grouping.groups`.
        trained_networks: The indices of those that `fit` trains; see `train_only`.

    Raises:
        ValueError: `grouping` is no `Grouping`; `build_model` returns no Keras model, outputs
            other than those asked for, or networks that share variables; `optimizers` has not one
            entry per network, or the same optimizer twice; `missing` is no number.

    Example:
        >>> grouping = keras_tag.Grouping.from_groups([("left", "right"), ("up", "left")])
        >>> served = keras_tag.GroupedModel(grouping, build_model)
        >>> served.compile("adam", loss={"left": "mse", "right": "mse", "up": "mse"})
        >>> served.fit(train, validation_data=valid, epochs=10)
        >>> served.predict(x)["up"]
        >>> served.save("served.keras")
    """

    def __init__(
        self,
        grouping: Grouping,
        build_model: Callable[[tuple[str, ...]], keras.Model],
        *,
        serve: Iterable[str] | None = None,
        missing: float | None = None,
        optimizers: Iterable[keras.optimizers.Optimizer | str | None] | None = None,
        helper_losses: bool = False,
        **kwargs: Any,
    ) -> None:
        check_missing(missing)
        super().__init__(grouping, build_model, serve=serve, **kwargs)
        self.missing = missing
        self.helper_losses = helper_losses
        self._optimizer_choice = OptimizerChoice(optimizers, len(self.networks))
        self.trained_networks = tuple(range(len(self.networks)))
        self._loss_logs = LossLogs(grouping.groups, self.serves, helper_losses)
        # Seen by Keras, which looks for metrics among the model's own attributes.
        self._loss_metrics = self._loss_logs.metrics

    def make_train_function(self, force: bool = False) -> Any:
        """Make Keras's function, after the optimizers' slots.

        Args:
            force: As in `keras.Model`.

        Returns:
            The function.
        """
        for network in self.networks:
            # Of a model that was loaded.
            restart_lora(network)
        optimizer = self._optimizer
        if optimizer is not None and not optimizer.built and self.built:
            # Otherwise the first step makes them while it is traced, and is traced twice.
            with self.distribute_strategy.scope():
                optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of every network on one batch.

        Args:
            data: `(x, y)` or `(x, y, sample_weight)`.

        Returns:
            The logs.
        """
        if self._optimizer is None:
            raise ValueError(
                "Expected an optimizer to train with. Received: optimizer=None. Call "
                "`compile(optimizer, loss={...})` with one."
            )
        with tf.GradientTape() as tape:
            outputs, losses, totals = self._batch_losses(data, self.trained_networks)
            scaled = self._optimizer.scale_losses(totals)
        # A target's gradient reaches only its own network, so one backward pass does for all.
        targets = [scaled[index] for index in self.trained_networks]
        trained = [self.networks[index].trainable_variables for index in self.trained_networks]
        variables = list(chain.from_iterable(trained))
        if variables:
            self._optimizer.apply_gradients(
                zip(tape.gradient(targets, variables), variables, strict=True)
            )
        return self._logs(data, outputs, losses, totals)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Evaluate one batch.

        Args:
            data: `(x, y)` or `(x, y, sample_weight)`.

        Returns:
            The logs.
        """
        return self._logs(data, *self._batch_losses(data, ()))

    def indices(self, networks: Iterable[int] | None) -> tuple[int, ...]:
        """Return indices of networks, checked and sorted.

        Args:
            networks: Some indices, or None for all.

        Returns:
            The indices.

        Raises:
            ValueError: An index of no network.
        """
        every = range(len(self.networks))
        chosen = tuple(sorted(set(every if networks is None else networks)))
        if not set(chosen) <= set(every):
            raise ValueError(
                f"Expected indices of networks, 0 to {len(self.networks) - 1}. Received: "
                f"networks={chosen}."
            )
        return chosen

    def train_only(self, networks: Iterable[int]) -> None:
        """Train only some of the networks from now on; the others are left as they are.

        The others' losses and metrics stay in the logs, computed as in `evaluate`.

        Args:
            networks: Their indices; `range(len(grouped.networks))` for all.

        Raises:
            ValueError: An index of no network.
        """
        trained = self.indices(networks)
        if trained == self.trained_networks:
            return
        self.trained_networks = trained
        if self.train_function is not None:
            # Which networks train is decided when the step is traced, so that the others cost
            # no backward pass.
            self.make_train_function(force=True)

    def _batch_losses(
        self, data: Any, training: Iterable[int]
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Per network: outputs by task; losses and their sizes by task; what it minimises."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if not self.built:
            # Calling the networks one by one builds them, but not the whole.
            self(x, training=False)
        outputs = self.all_outputs(x, training)
        losses = [self.task_losses(y, predictions, sample_weight) for predictions in outputs]
        self.task_losses.check_states(self.grouping.groups)
        totals = [
            self.task_losses.weighted_sum(own) + regularisation(network)
            for (own, _), network in zip(losses, self.networks, strict=True)
        ]
        return outputs, losses, totals

    def get_metrics_result(self) -> dict[str, Any]:
        """Return the logs: Keras's metrics, and the losses over all labels of the epoch.

        Returns:
            The logs. The loss of a task without a single label is NaN, and no part of `loss`. In a
            step's own graph it is 0, or progress bars would show NaN until the first label comes.
        """
        logs = dict(super().get_metrics_result())
        if "loss" in logs:
            logs["loss"] = self.task_losses.weighted_sum(self._loss_logs.served())
            if tf.executing_eagerly():
                logs.update(dict.fromkeys(self._loss_logs.without_labels(), np.nan))
        return logs

    def _logs(
        self, data: Any, outputs: list[Any], losses: list[Any], totals: list[Any]
    ) -> dict[str, Any]:
        """Return the logs with one batch added."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        batch_size = tf.shape(tf.nest.flatten(x)[0])[0]
        self._loss_logs.update(losses, totals, batch_size)
        return self.reducible(self.compute_metrics(x, y, self.served(outputs), sample_weight))

    def fit_groups(
        self,
        folder: str | os.PathLike[str],
        x: Any,
        y: Any = None,
        *,
        callbacks: Callbacks | None = None,
        networks: Iterable[int] | None = None,
        **fit: Any,
    ) -> list[dict[str, list[float]]]:
        """Train the networks one after another, for networks that are too large to train together.

        The result is that of `fit` if the data comes in the same order for each of them. A network
        that is done is written to the folder. Call the same again after an interruption, and it
        is read back instead of trained again.

        Args:
            folder: Where finished networks are kept. New, or of the same grouping; what the
                networks were compiled with and trained on is not compared.
            x: As in `fit`.
            y: As in `fit`, with the labels of all tasks.
            callbacks: As in `fit`, used for one network after the other; or a function of the
                network's index that returns such a list.
            networks: Which networks to train here, by index; None for all. With several machines,
                each trains some into one folder (or into folders of their own whose contents are
                then put together); the last call, without this, reads all of them back.
            **fit: As in `fit`.

        Returns:
            Per network, the history of its losses and metrics, those of the tasks it serves
            (also with `helper_losses`). Empty for one that is neither done nor in `networks`.

        Raises:
            ValueError: A folder of another grouping; an index of no network; a loss that changes
                variables of its own and that several networks have.
        """
        alone = [
            self.compiled_like(
                Grouping.from_groups([group]),
                [network],
                [task for task in group if self.serves.get(task) == index],
                # Network and optimizer are the same objects: training it trains them.
                self.optimizer and self.optimizer.by_network[index],
            )
            for index, (group, network) in enumerate(
                zip(self.grouping.groups, self.networks, strict=True)
            )
        ]
        chosen = self.indices(networks)
        # What one network's training leaves in a loss would be where the next one's begins.
        several = self.task_losses.of_several(self.grouping.groups[index] for index in chosen)
        for model in alone:
            model.task_losses.used_elsewhere = several
        return fit_groups(
            alone,
            self.grouping,
            folder,
            x,
            y,
            callbacks=callbacks,
            networks=chosen,
            **fit,
        )

    def report(
        self,
        test: Any,
        *,
        joint: keras.Model | None = None,
        single: Mapping[str, keras.Model] | None = None,
    ) -> "pd.DataFrame":
        """Compare the metrics of every task with those of other models.

        Args:
            test: `(x, y)`, `(x, y, sample_weight)`, or a batched `tf.data.Dataset`.
            joint: A model with all the tasks, to compare with. Its outputs are measured with the
                losses and metrics that this model was compiled with.
            single: Task -> a model with that task alone, to compare with in the same way.

        Returns:
            A frame with one row per task and the columns "network" (which serves it),
            "trained_with", "loss" and the compiled metrics; then, if given, the same with the
            prefixes "joint_" and "single_".

        Raises:
            ValueError: A task without a model in `single`, a model with other outputs.
        """
        rivals = {}
        if joint is not None:
            grouping = Grouping.from_groups([self.tasks])
            rivals["joint"] = self.compiled_like(grouping, [joint], self.serves)
        if single is not None:
            missing = [task for task in self.serves if task not in single]
            if missing:
                raise ValueError(
                    f"Expected `single` to have a model for every task of {list(self.serves)}. "
                    f"Missing: {missing}."
                )
            grouping = Grouping.from_groups([(task,) for task in self.serves])
            networks = [single[task] for task in self.serves]
            rivals["single"] = self.compiled_like(grouping, networks, self.serves)
        return report(self, rivals, test)

    def get_config(self) -> dict[str, Any]:
        """Return the networks and the arguments of the constructor."""
        return {
            **super().get_config(),
            "missing": self.missing,
            "optimizers": self._optimizer_choice.get_config(),
            "helper_losses": self.helper_losses,
        }
