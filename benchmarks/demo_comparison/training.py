"""The demo's trainings: a small network, the joint model with probes, the networks of groups.

Whatever is compared is trained alike: the same trunk and the same first weights, Adam, the same
batches in the same order, and for every network the weights of its own best validation epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from keras_tag.affinity import Affinity
from keras_tag.callbacks import NetworkEarlyStopping
from keras_tag.datasets import OverlaidDigits
from keras_tag.demo.network import build_network
from keras_tag.grouped_model import GroupedModel
from keras_tag.selection.grouping import Grouping
from keras_tag.tag_model import TAGModel


@dataclass(frozen=True)
class Recipe:
    """What is the same for every network of the comparison.

    Args:
        units: The size of the trunk, one hidden layer.
        learning_rate: Adam's.
        epochs: The most epochs a network is trained.
        patience: A network stops after so many epochs without a better validation loss.
        every: The joint run is probed every so many steps.
    """

    units: int = 24
    learning_rate: float = 0.005
    epochs: int = 100
    patience: int = 8
    every: int = 10


@dataclass(frozen=True)
class Trained:
    """The result of training a grouping.

    Args:
        task_losses: Task -> its test loss (binary cross-entropy, nats) in the network serving it.
        epochs: How many epochs were trained.
    """

    task_losses: dict[str, float]
    epochs: int

    @property
    def total_loss(self) -> float:
        """The sum over the tasks."""
        return sum(self.task_losses.values())


def train_joint(data: OverlaidDigits, recipe: Recipe, seed: int) -> tuple[Affinity, Trained]:
    """Train one network for all tasks, and probe it meanwhile.

    Args:
        data: What to train on.
        recipe: How to train.
        seed: Of the first weights.

    Returns:
        The affinity, and the network's test losses: it is the rival "all in one" as well, because
        probes leave training as it is.
    """
    tag = TAGModel(
        build_network(data.tasks, data.image_shape, recipe.units, seed), every=recipe.every
    )
    _compile(tag, data.tasks, recipe)
    stop = keras.callbacks.EarlyStopping(
        "val_loss", patience=recipe.patience, restore_best_weights=True
    )
    trained = _fit_and_test(tag, data, recipe, stop)
    return tag.affinity(), trained


def train_groups(grouping: Grouping, data: OverlaidDigits, recipe: Recipe, seed: int) -> Trained:
    """Train the networks of a grouping side by side.

    Args:
        grouping: Which tasks train together.
        data: What to train on.
        recipe: How to train.
        seed: Of the first weights, the same for every network.

    Returns:
        The test losses.
    """
    model = GroupedModel(
        grouping, lambda tasks: build_network(tasks, data.image_shape, recipe.units, seed)
    )
    _compile(model, data.tasks, recipe)
    return _fit_and_test(model, data, recipe, NetworkEarlyStopping(patience=recipe.patience))


def _compile(model: keras.Model, tasks: Sequence[str], recipe: Recipe) -> None:
    model.compile(
        keras.optimizers.Adam(recipe.learning_rate),
        loss=dict.fromkeys(tasks, "binary_crossentropy"),
    )
    # Otherwise the first step makes the slots while it is traced, and is traced twice.
    model.optimizer.build(model.trainable_variables)


def _fit_and_test(
    model: keras.Model,
    data: OverlaidDigits,
    recipe: Recipe,
    stop: keras.callbacks.Callback,
) -> Trained:
    history = model.fit(
        data.train,
        validation_data=data.validation,
        epochs=recipe.epochs,
        callbacks=[stop],
        shuffle=False,  # The data set shuffles.
        verbose=0,
    )
    losses = model.evaluate(data.test, return_dict=True, verbose=0)
    return Trained(
        {task: float(losses[f"{task}_loss"]) for task in data.tasks}, len(history.history["loss"])
    )
