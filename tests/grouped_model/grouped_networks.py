"""Builders of small networks, one per kind of Keras model."""

import keras


def dict_network(tasks, *, dropout=0.0, regularizer=None, batch_norm=False):
    inputs = keras.Input((5,))
    hidden = keras.layers.Dense(6, activation="tanh", name="trunk", kernel_regularizer=regularizer)(
        inputs
    )
    if batch_norm:
        hidden = keras.layers.BatchNormalization(name="norm")(hidden)
    if dropout:
        hidden = keras.layers.Dropout(dropout, seed=3)(hidden)
    return keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(hidden) for task in tasks})


def list_network(tasks):
    model = dict_network(tasks)
    return keras.Model(model.inputs, [model.get_layer(task).output for task in tasks])


@keras.saving.register_keras_serializable(package="keras_tag_tests")
class SubclassedNetwork(keras.Model):
    def __init__(self, tasks, **kwargs):
        super().__init__(**kwargs)
        self.tasks = list(tasks)
        self.trunk = keras.layers.Dense(6, activation="tanh")
        self.heads = {task: keras.layers.Dense(1) for task in tasks}

    def call(self, inputs):
        hidden = self.trunk(inputs)
        return {task: head(hidden) for task, head in self.heads.items()}

    def get_config(self):
        return {**super().get_config(), "tasks": list(self.tasks)}


def sequential_network(tasks):
    """A Sequential for a lone task, else a Sequential trunk with heads."""
    if len(tasks) == 1:
        return keras.Sequential([keras.Input((5,)), keras.layers.Dense(6), keras.layers.Dense(1)])
    trunk = keras.Sequential([keras.Input((5,)), keras.layers.Dense(6, activation="tanh")])
    inputs = keras.Input((5,))
    hidden = trunk(inputs)
    return keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(hidden) for task in tasks})


BUILDERS = {
    "dict": dict_network,
    "list": list_network,
    "subclassed": SubclassedNetwork,
    "sequential": sequential_network,
}
