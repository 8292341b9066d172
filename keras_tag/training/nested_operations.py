"""Operations of a graph, also those in the functions, branches and loops that it calls."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

# The name of an operation, and which argument of its function it has as its first input.
_Found = tuple[str, int | None]


def find_operations(graph: Any, chosen: Callable[[str], bool]) -> list[tuple[str, Any]]:
    """Return the operations of some types.

    Args:
        graph: A graph of TensorFlow.
        chosen: Type of an operation -> whether it is wanted.

    Returns:
        Their names, each with the tensor of `graph` that is its first input; None if it has none,
        or if that tensor is made in a function.
    """
    operations = graph.get_operations()
    found = [(op.name, op.inputs[0] if op.inputs else None) for op in operations if chosen(op.type)]
    definition = graph.as_graph_def()
    functions = _Functions({f.signature.name: f for f in definition.library.function}, chosen)
    for node in definition.node if functions.library else ():
        for name, position in functions.called_by(node):
            inputs = graph.get_operation_by_name(node.name).inputs
            found.append((name, None if position is None else inputs[position]))
    return found


def ancestors(tensors: Iterable[Any]) -> set[Any]:
    """Return the operations of a graph that tensors are computed by."""
    found: set[Any] = set()
    waiting = [tensor.op for tensor in tensors]
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting += [tensor.op for tensor in op.inputs]
    return found


@dataclass(frozen=True)
class _Functions:
    """The functions that a graph can call, and what was found in them."""

    library: dict[str, Any]
    chosen: Callable[[str], bool]
    _found: dict[str, list[_Found]] = field(default_factory=dict)

    def called_by(self, node: Any) -> list[_Found]:
        """Return what is found in the functions of a node, with positions of the node's inputs."""
        num_inputs = sum(not name.startswith("^") for name in node.input)
        found: list[_Found] = []
        for attribute in node.attr.values():
            for function in (attribute.func, *attribute.list.func):
                if function.name not in self.library:
                    continue
                # A branch is called without the first input, which chooses it.
                first = num_inputs - len(self.library[function.name].signature.input_arg)
                for name, argument in self._inside(function.name):
                    position = None if argument is None or first < 0 else first + argument
                    found.append((f"{node.name}/{name}", position))
        return found

    def _inside(self, name: str) -> list[_Found]:
        if name in self._found:
            return self._found[name]
        found = self._found[name] = []
        function = self.library[name]
        position = {argument.name: k for k, argument in enumerate(function.signature.input_arg)}
        same = {node.name: node.input[0] for node in function.node_def if node.op == "Identity"}

        def argument(tensor: str) -> int | None:
            source = tensor.partition(":")[0]
            return argument(same[source]) if source in same else position.get(source)

        for node in function.node_def:
            inputs = [tensor for tensor in node.input if not tensor.startswith("^")]
            if self.chosen(node.op):
                found.append((node.name, argument(inputs[0]) if inputs else None))
            for inner, k in self.called_by(node):
                found.append((inner, None if k is None else argument(inputs[k])))
        return found
