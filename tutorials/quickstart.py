"""Quickstart: which digits' questions should share a network?

An image shows two overlapping handwritten digits. Six tasks ask about them: is the left digit odd,
has it a loop, is it prime; and the same of the right one. We have room for two networks.

The structure is planted: tasks about the same digit look at the same pixels. A method that is worth
using on your own tasks, where nobody knows the structure, must find it here.

    python tutorials/quickstart.py             # under a minute on two cores
    python tutorials/quickstart.py --epochs 2  # just to see it run
"""

import argparse

import keras

import keras_tag

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=30)
epochs = parser.parse_args().epochs

keras.utils.set_random_seed(0)
digits = keras_tag.datasets.overlaid_digits(positions=2, tasks=("odd", "loop", "prime"), seed=0)
print("tasks:", *digits.tasks)

# 1. The joint model you would have written anyway: one trunk, one head per task.
image, _ = next(iter(digits.train))
inputs = keras.Input(image.shape[1:])
trunk = keras.layers.Dense(24, activation="relu", name="trunk")(keras.layers.Flatten()(inputs))
heads = {task: keras.layers.Dense(1, "sigmoid", name=task)(trunk) for task in digits.tasks}
model = keras.Model(inputs, heads)
losses = dict.fromkeys(digits.tasks, "binary_crossentropy")

# 2. Train it as always. Every tenth step is probed, and training is not disturbed by that.
tag = keras_tag.TAGModel(model)
tag.compile(keras.optimizers.Adam(0.005), loss=losses)
stop = keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True)
tag.fit(
    digits.train,
    validation_data=digits.validation,
    epochs=epochs,
    callbacks=[stop],
    verbose=0,
)

# 3. Rows: whose update. Columns: whose loss. Positive: the update helps.
affinity = tag.affinity()
print(affinity)

# 4. The best two groups, by proof. Tasks about the same digit belong together.
grouping = keras_tag.select_groups(affinity, budget=2)
print(grouping)

# 5. Train the groups and serve them as one model. `build_from` cuts the networks out of yours.
served = keras_tag.GroupedModel(grouping, keras_tag.build_from(model))
served.compile(keras.optimizers.Adam(0.005), loss=losses)
served.fit(
    digits.train,
    validation_data=digits.validation,
    epochs=epochs,
    callbacks=[keras_tag.callbacks.NetworkEarlyStopping(patience=5)],
    verbose=0,
)
joint = tag.evaluate(digits.test, verbose=0, return_dict=True)["loss"]
grouped = served.evaluate(digits.test, verbose=0, return_dict=True)["loss"]
print(f"total test loss: {joint:.3f} with one network, {grouped:.3f} with {len(grouping.groups)}")
