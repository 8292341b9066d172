"""The graph of a model's forward pass, and what it tells of a probe."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

# Operations whose draws no seed generator of Keras makes.
DRAWS = {
    "Multinomial",
    "ParameterizedTruncatedNormal",
    "RandomGamma",
    "RandomPoisson",
    "RandomPoissonV2",
    "RandomShuffle",
    "RandomStandardNormal",
    "RandomUniform",
    "RandomUniformInt",
    "RngReadAndSkip",
    "TruncatedNormal",
}
_PYTHON = {"EagerPyFunc", "PyFunc", "PyFuncStateless"}
_LOOPS = {"While", "StatelessWhile", "TensorListReserve"}
# Their results are their inputs, or no tensors that are made for a batch.
_NOT_KEPT = {
    "Const",
    "ExpandDims",
    "Identity",
    "IdentityN",
    "Placeholder",
    "ReadVariableOp",
    "Reshape",
    "Squeeze",
    "StopGradient",
}


@dataclass(frozen=True, eq=False)
class ForwardGraph:
    """The traced forward pass of a model in training mode.

    Args:
        activations: Bytes of all results of its operations on one batch, at most what a backward
            pass keeps. A loop (LSTM) is counted as one round of it, results of unknown size as one
            example's.
        loops: Whether it has loops.
        draws: Where it draws random numbers that no `keras.random.SeedGenerator` makes.
        python: Where it calls Python functions that TensorFlow can't see into.
        others: TensorFlow variables that it reads or writes and that are no weights of the model.
    """

    activations: int
    loops: bool
    draws: tuple[str, ...]
    python: tuple[str, ...]
    others: tuple[Any, ...]

    @classmethod
    def of(cls, model: keras.Model, x: Any) -> "ForwardGraph":
        """Trace the forward pass; nothing is computed, and no weight changes.

        Args:
            model: A built model.
            x: The inputs of a batch, tensors.
        """

        def forward(inputs: Any) -> Any:
            with keras.StatelessScope():
                return keras.tree.flatten(model(inputs, training=True))

        traced = tf.function(forward, autograph=False).get_concrete_function(
            keras.tree.map_structure(tf.type_spec_from_value, x)
        )
        operations = traced.graph.get_operations()
        nodes = [(operation.type, operation.name) for operation in operations]
        for function in traced.graph.as_graph_def().library.function:
            nodes += [(node.op, node.name) for node in function.node_def]
        return cls(
            sum(_bytes(result) for operation in operations for result in _results(operation)),
            any(kind in _LOOPS for kind, _ in nodes),
            _places(nodes, DRAWS),
            _places(nodes, _PYTHON),
            _others(traced, model),
        )


def variables_of(function: Callable[[], Any]) -> tuple[Any, ...]:
    """Return the TensorFlow variables that a function reads or writes; it is traced, not run."""
    return tuple(tf.function(function, autograph=False).get_concrete_function().graph.variables)


def _others(traced: Any, model: keras.Model) -> tuple[Any, ...]:
    """Return the variables that the graph takes from outside, but for the model's."""
    own = {id(part) for v in model.variables for part in getattr(v.value, "values", [v.value])}
    return tuple(v for v in traced.graph.variables if id(v) not in own)


def _places(nodes: list[tuple[str, str]], kinds: set[str]) -> tuple[str, ...]:
    """Return the scopes of the nodes of some kinds, which are named by the model's layers."""
    found = [name.rpartition("/")[0] or name for kind, name in nodes if kind in kinds]
    return tuple(dict.fromkeys(found))


def _results(operation: Any) -> list[Any]:
    return [] if operation.type in _NOT_KEPT else list(operation.outputs)


def _bytes(tensor: Any) -> int:
    shape = tensor.shape.as_list() if tensor.shape.rank is not None else []
    count = 1
    for length in shape:
        count *= 1 if length is None else length
    return count * max(tensor.dtype.size, 0)
