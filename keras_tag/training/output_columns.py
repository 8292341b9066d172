"""`split_outputs`: the columns of one multi-label head as tasks, with labels left as they are."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_tag")
class ColumnDense(keras.layers.Dense):
    """A dense head of one unit that knows which column of the labels is its own.

    Args:
        units: 1, as in `keras.layers.Dense`.
        column: The index of its column.
        columns: How many columns the labels have.
        **kwargs: As in `keras.layers.Dense`.
    """

    def __init__(self, units: int = 1, *, column: int, columns: int, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.column = column
        self.columns = columns

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        return {**super().get_config(), "column": self.column, "columns": self.columns}


def split_outputs(model: keras.Model, names: Sequence[str]) -> keras.Model:
    """Make tasks of the columns of one multi-label head, such as `Dense(40, "sigmoid")`.

    The new model has the layers of `model` below the head, the same objects with the same weights,
    and one head of one unit for every column, with the column's weights. Its outputs are a list in
    the order of `names`; labels stay one array `[batch, ..., n]`, whose last axis is that of
    `names`, for a `TAGModel` of it, and for a `GroupedModel` of networks that `build_from` cut from
    it. So may sample weights. A label that is missing is NaN, column by column.

    The loss that is compiled is every column's: `compile(loss="binary_crossentropy")`. What is
    minimised is their sum, where one head minimises their mean: `loss=["binary_crossentropy"] * n,
    loss_weights=[1 / n] * n` is what the one head minimises.

    Args:
        model: A functional or Sequential model with one output, whose last layer is a
            `keras.layers.Dense` of n units, or one followed by an `Activation`.
        names: The n names of the tasks, in the order of the columns.

    Returns:
        A functional model with the outputs `[batch, ..., 1]` of every task.

    Raises:
        ValueError: The model is not of this kind; not n different names; a softmax, whose columns
            are the classes of one task.

    Example:
        >>> inputs = keras.Input((6,))
        >>> hidden = keras.layers.Dense(8, "relu")(inputs)
        >>> attributes = keras.Model(inputs, keras.layers.Dense(3, "sigmoid")(hidden))
        >>> model = split_outputs(attributes, ["Smiling", "Young", "Eyeglasses"])
        >>> tag = keras_tag.TAGModel(model)
        >>> tag.compile("adam", loss="binary_crossentropy")
        >>> history = tag.fit(x, (x[:, :3] > 0).astype("float32"))  # Labels: `[batch, 3]`.
    """
    head, activation = _head(model)
    names = [str(name) for name in names]
    if len(set(names)) != len(names) or len(names) != head.units:
        raise ValueError(
            f"Expected {head.units} different names, one per unit of layer {head.name!r}. "
            f"Received {len(names)}: names={names}."
        )
    below = [layer for layer in model.layers if layer is not head]
    taken = sorted({layer.name for layer in below} & set(names))
    if taken:
        raise ValueError(
            f"Expected names that no other layer of the model has. Received: {taken}. Rename the "
            "layers, or the tasks."
        )
    config = head.get_config()
    initializers = ("kernel_initializer", "bias_initializer")
    for key in ("name", "units", "activation", "lora_rank", *initializers):
        config.pop(key, None)
    kernel = keras.ops.convert_to_tensor(head.kernel).numpy()
    bias = keras.ops.convert_to_tensor(head.bias).numpy() if head.use_bias else None
    outputs = []
    for column, name in enumerate(names):
        for key in initializers:
            config[key] = _of_column(getattr(head, key), column, len(names))
        own = ColumnDense(
            column=column, columns=len(names), name=name, activation=activation, **config
        )
        outputs.append(own(head.input))
        values = [kernel[:, column : column + 1]]
        own.set_weights(values if bias is None else [*values, bias[column : column + 1]])
    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.Model(inputs, outputs)


def _of_column(initializer: Any, column: int, columns: int) -> Any:
    """Return the initializer of one column; constants may be another for every column."""
    if isinstance(initializer, keras.initializers.Constant):
        value = np.asarray(initializer.value)
        if value.shape[-1:] == (columns,):
            return keras.initializers.Constant(value[..., column : column + 1])
    return initializer


def label_columns(networks: Iterable[keras.Model], tasks: Iterable[str]) -> dict[str, Any] | None:
    """Return which column of one array of labels is a task's.

    Args:
        networks: Models that have heads of `split_outputs`, or others.
        tasks: The names of their outputs.

    Returns:
        Task -> its `ColumnDense`; None if a task has no such head.
    """
    tasks = list(tasks)
    heads = {
        layer.name: layer
        for network in networks
        for layer in network.layers
        if isinstance(layer, ColumnDense)
    }
    return {task: heads[task] for task in tasks} if tasks and set(tasks) <= set(heads) else None


def take_columns(
    values: Any, columns: Mapping[str, Any] | None, argument: str, outputs: Any
) -> Any:
    """Return one array of labels or weights as a dict by task.

    Args:
        values: An array `[batch, ..., n]`, alone or in a dict under the name of the head that was
            split; or anything else, which is returned as it is.
        columns: From `label_columns`.
        argument: "y" or "sample_weight".
        outputs: The outputs `[batch, ..., 1]` of the tasks. Values with fewer axes have no columns.

    Returns:
        Task -> `[batch, ..., 1]`.

    Raises:
        ValueError: Labels with another number of columns.
    """
    if columns is None or values is None:
        return values
    if isinstance(values, Mapping) and len(values) == 1 and not set(values) & set(columns):
        (values,) = values.values()
    if values is None or keras.tree.is_nested(values):
        return values
    values = tf.convert_to_tensor(values)
    expected = next(iter(columns.values())).columns
    rank = len(keras.tree.flatten(outputs)[0].shape)
    if len(values.shape) == rank and values.shape[-1] == expected:
        return {task: values[..., head.column : head.column + 1] for task, head in columns.items()}
    if argument == "sample_weight":
        return values  # One for all tasks.
    raise ValueError(
        f"Expected labels with {expected} columns, one for each name that was given to "
        f"`split_outputs`, or a dict or list by task. Received: {argument} of shape "
        f"{tuple(values.shape)}."
    )


def _head(model: keras.Model) -> tuple[keras.layers.Dense, Any]:
    """Return the last dense layer and the activation of the outputs; refuse other models."""
    if not isinstance(model, keras.Model) or not getattr(model, "outputs", None):
        raise ValueError(
            "Expected a functional or Sequential model that has been built. Received: "
            f"{model!r}. Let a subclassed model return {{task: column}} from `call`."
        )
    if len(model.outputs) != 1:
        raise ValueError(
            "Expected a model with one output, whose columns are to be tasks. Received outputs: "
            f"{list(model.output_names)}. Beside other outputs, write one head per column, "
            "{name: Dense(1, activation='sigmoid', name=name)(trunk) for name in names}, and give "
            "its labels by name: {name: y[:, k : k + 1] for k, name in enumerate(names)}."
        )
    last = head = _layer_of(model, model.outputs[0]) or model.layers[-1]
    activation = getattr(last, "activation", None)
    if isinstance(last, keras.layers.Activation):
        head = _layer_of(model, last.input) or last
    plain = type(head) is keras.layers.Dense and getattr(head, "quantization_mode", None) is None
    if not plain or (head is not last and head.activation is not keras.activations.linear):
        raise ValueError(
            "Expected a model that ends in a keras.layers.Dense, alone or followed by an "
            f"Activation. Received: it ends in {type(last).__name__} {last.name!r}. Write one "
            "head per task: keras.Model(inputs, {task: Dense(1, name=task)(trunk) for task in "
            "tasks})."
        )
    if activation is keras.activations.softmax:
        raise ValueError(
            f"Expected columns that are tasks. Received: a softmax in layer {last.name!r}, whose "
            "columns are the classes of one task."
        )
    return head, activation


def _layer_of(model: keras.Model, tensor: Any) -> Any:
    """Return the layer of a model, called once, whose output a symbolic tensor is; or None."""
    for layer in model.layers:
        # The output of a layer that is called several times is not defined.
        if getattr(layer, "output", None) is tensor:
            return layer
    return None
