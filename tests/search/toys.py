"""Small models and data that searches are tested on."""

import keras
import numpy as np

TASKS = ("depth", "normals", "edges", "objects")


def data(examples=192, seed=0):
    """Four tasks on eight features: two look at the first half, two at the second."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, 8)).astype("float32")
    first, second = (np.tanh(x[:, k : k + 4].sum(1, keepdims=True)) for k in (0, 4))
    return x, {"depth": first, "normals": first + 0.1, "edges": second, "objects": second - 0.1}


def network(dropout=0.1, units=4):
    """A functional model with the same first weights every time."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8,))
    trunk = keras.layers.Dense(units, activation="tanh", name="trunk")(inputs)
    trunk = keras.layers.Dropout(dropout)(trunk)
    return keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(trunk) for task in TASKS})


def compiled(**compile):
    model = network()
    given = {"optimizer": "adam", "loss": dict.fromkeys(TASKS, "mse"), **compile}
    model.compile(**given)
    return model


def weights_of(folder):
    """The kept weights of every training, by training and path."""
    import h5py

    found = {}
    for file in sorted(folder.glob("training_*/best.weights.h5")):
        with h5py.File(file) as opened:

            def note(name, node, training=file.parent.name):
                if isinstance(node, h5py.Dataset):
                    found[training, name] = node[()]

            opened.visititems(note)
    return found


def assert_same_weights(ours, theirs):
    ours, theirs = weights_of(ours), weights_of(theirs)
    assert ours.keys() == theirs.keys()
    assert ours
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=str(name))
