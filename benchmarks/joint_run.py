"""One joint training run on overlaid digits, as the demo trains it, for the benchmarks of trust."""

import os
import platform
import zlib
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import keras
import tensorflow as tf

from benchmarks.demo_comparison.training import Recipe
from keras_tag import TAGModel
from keras_tag.datasets import OverlaidDigits, overlaid_digits
from keras_tag.demo.network import build_network

# Name -> (positions, properties).
SETS = {
    "loop-prime-composite": (3, ("loop", "prime", "composite")),
    "odd-loop-prime": (3, ("odd", "loop", "prime")),
}


def load(name: str, data_seed: int) -> OverlaidDigits:
    """A set by name; the seed decides which digits are composed."""
    return overlaid_digits(*SETS[name], seed=data_seed)


def compiled_model(data: OverlaidDigits, every: int) -> TAGModel:
    """A model to be run several times: compiling takes longer than training."""
    recipe = Recipe()
    tag = TAGModel(build_network(data.tasks, data.image_shape, recipe.units, 0), every=every)
    tag.compile(
        keras.optimizers.Adam(recipe.learning_rate),
        loss=dict.fromkeys(data.tasks, "binary_crossentropy"),
    )
    tag.optimizer.build(tag.trainable_variables)
    return tag


def joint_run(
    tag: TAGModel,
    data: OverlaidDigits,
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> int:
    """Train one network for all tasks until the validation loss says enough.

    Args:
        tag: From `compiled_model`, as new or after other runs.
        data: What to train on.
        seed: Of the first weights and the order of the batches.
        callbacks: More of them.

    Returns:
        The number of epochs.
    """
    recipe = Recipe()
    first = build_network(data.tasks, data.image_shape, recipe.units, seed)
    tag.model.set_weights(first.get_weights())
    tag.reset_affinity()
    for variable in tag.optimizer.variables:
        # Slots and the count of steps; the learning rate stays.
        if variable is not tag.optimizer.learning_rate:
            variable.assign(keras.ops.zeros_like(variable))
    # Another order of the batches for every run, on the same data.
    order = zlib.crc32(f"order {seed}".encode())
    batches = int(data.train.cardinality())
    train = data.train.unbatch().cache().shuffle(1500, seed=order).batch(64).prefetch(2)
    train = train.apply(tf.data.experimental.assert_cardinality(batches))
    stop = keras.callbacks.EarlyStopping(
        "val_loss", patience=recipe.patience, restore_best_weights=True
    )
    history = tag.fit(
        train,
        validation_data=data.validation,
        epochs=recipe.epochs,
        callbacks=[*callbacks, stop],
        shuffle=False,
        verbose=0,
    )
    return len(history.history["loss"])


def environment() -> dict[str, Any]:
    """Versions and cores, for a result file."""
    names = ("keras_tag", "keras", "tensorflow", "numpy")
    versions = {"python": platform.python_version(), **{name: version(name) for name in names}}
    return {"cores": os.cpu_count(), **versions}
