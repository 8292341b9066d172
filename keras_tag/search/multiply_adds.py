"""The multiply-adds of one forward pass, by which the cost of networks is compared."""

import math
import re
from typing import Any

import keras
import tensorflow as tf

# Operations that run others, which can't be seen from outside.
_HIDING = re.compile(r".*(While|If|Case|PartitionedCall|XlaLaunch|RNN)")


def multiply_adds(network: keras.Model, inputs: Any) -> int | None:
    """Return the multiply-adds of matrix products and convolutions in one forward pass.

    Args:
        network: A model that is built.
        inputs: A batch.

    Returns:
        The number; None where it is not known: in loops, or with sizes that are not fixed.

    Example:
        >>> network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> multiply_adds(network, np.zeros((1, 8), "float32"))
        32
    """
    specs = keras.tree.map_structure(lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype), inputs)
    forward = tf.function(lambda x: network(x, training=False), autograph=False)
    total = 0
    for operation in forward.get_concrete_function(specs).graph.get_operations():
        if _HIDING.fullmatch(operation.type):
            return None
        if operation.type in _COUNTED:
            tensors = (*operation.inputs, *operation.outputs)
            if not all(tensor.shape.is_fully_defined() for tensor in tensors):
                return None
            total += _COUNTED[operation.type](operation)
    return total or None


def _product(operation: tf.Operation) -> int:
    left = operation.inputs[0].shape
    name = "transpose_a" if operation.type == "MatMul" else "adj_x"
    return _size(operation.outputs[0]) * int(left[-2 if operation.get_attr(name) else -1])


def _einsum(operation: tf.Operation) -> int:
    terms = operation.get_attr("equation").decode().split("->")[0].split(",")
    shapes = (tensor.shape for tensor in operation.inputs)
    pairs = (zip(term, shape, strict=True) for term, shape in zip(terms, shapes, strict=True))
    return math.prod(dict(pair for own in pairs for pair in own).values())


def _convolution(operation: tf.Operation) -> int:
    kernel = operation.inputs[1].shape
    depthwise, transposed = "Depthwise" in operation.type, "Backprop" in operation.type
    pixels = operation.inputs[2] if transposed else operation.outputs[0]
    return _size(pixels) * int(math.prod(kernel[: 2 if depthwise else -1]))


def _size(tensor: tf.Tensor) -> int:
    return int(tensor.shape.num_elements())


_COUNTED = {
    "MatMul": _product,
    "BatchMatMul": _product,
    "BatchMatMulV2": _product,
    "BatchMatMulV3": _product,
    "Einsum": _einsum,
    "Conv2D": _convolution,
    "Conv3D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "Conv2DBackpropInput": _convolution,
    "Conv3DBackpropInputV2": _convolution,
}
