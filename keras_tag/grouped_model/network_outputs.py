"""The outputs of a network by task, whatever kind of Keras model it is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras

from keras_tag.selection.grouping import Grouping


class MadeNetworks:
    """A `build_model` that returns networks that were made before.

    Args:
        networks: In the order in which they are asked for.
        output_names: The outputs of the joint model in the order of its lists; None: not known.
    """

    def __init__(
        self, networks: Iterable[keras.Model], output_names: Sequence[str] | None = None
    ) -> None:
        self._networks = iter(networks)
        self.output_names = output_names

    def __call__(self, tasks: Sequence[str]) -> keras.Model:
        """Return the next network."""
        return next(self._networks)


def by_task(outputs: Any, network: keras.Model, tasks: Sequence[str]) -> dict[str, Any]:
    """Name what a network returned.

    Args:
        outputs: A dict, a list, or one tensor; real or symbolic.
        network: The model they came from, for its `output_names`.
        tasks: What it was asked for.

    Returns:
        `{task: output}` in the order of `tasks`.

    Raises:
        ValueError: The outputs are not the ones asked for.
    """
    if isinstance(outputs, Mapping):
        named = dict(outputs)
    elif isinstance(outputs, (list, tuple)):
        names = getattr(network, "output_names", None) or []
        named = dict(zip(names, outputs, strict=True)) if len(names) == len(outputs) else {}
    else:
        # A single tensor leaves no doubt whose it is if one task was asked for.
        named = {tasks[0]: outputs} if len(tasks) == 1 else {}
    if set(named) != set(tasks):
        received = list(named) or f"{type(outputs).__name__} without names"
        raise ValueError(
            f"Expected build_model({tuple(tasks)!r}) to return a model with exactly these outputs: "
            "a dict {task: output}, or a list and `output_names`. Received outputs: "
            f"{received} from network {network.name!r}."
        )
    return {task: named[task] for task in tasks}


def cut(network: keras.Model, tasks: Sequence[str], served: Sequence[str]) -> Callable[..., Any]:
    """Return the part of a network that computes the served tasks.

    Args:
        network: A Keras model.
        tasks: Its tasks.
        served: Those of them that are wanted.

    Returns:
        A function of (inputs, training) that returns `{task: output}`. Of a functional network it
        runs only the layers that the served tasks need; any other network is run as a whole.
    """
    symbolic = getattr(network, "output", None)
    if len(served) < len(tasks) and symbolic is not None:
        outputs = by_task(symbolic, network, tasks)
        part = keras.Model(network.input, {task: outputs[task] for task in served})
        if type(network).call is type(part).call:
            return lambda inputs, training: part(inputs, training=training)

    def whole(inputs: Any, training: bool | None) -> dict[str, Any]:
        outputs = by_task(network(inputs, training=training), network, tasks)
        return {task: outputs[task] for task in served}

    return whole


def check_network(network: Any, tasks: Sequence[str]) -> None:
    """Refuse what is no model with the outputs asked for.

    Args:
        network: What `build_model(tasks)` returned.
        tasks: The tasks.

    Raises:
        ValueError: It is no Keras model, or has other outputs. Of subclassed models the outputs
            are known, and checked, only when they are called.
    """
    if not isinstance(network, keras.Model):
        raise ValueError(
            f"Expected build_model({tuple(tasks)!r}) to return a keras.Model. "
            f"Received: {network!r}."
        )
    outputs = getattr(network, "output", None)
    if outputs is not None:
        by_task(outputs, network, tasks)


def check_nothing_shared(networks: Sequence[keras.Model]) -> None:
    """Refuse networks that would train each other's weights.

    Args:
        networks: What the calls of `build_model` returned.

    Raises:
        ValueError: Two of them are one, or share variables.
    """
    owner: dict[int, int] = {}
    for index, network in enumerate(networks):
        for part in [network, *network.variables]:
            if owner.setdefault(id(part), index) != index:
                raise ValueError(
                    "Expected build_model to return a new model with layers of its own on every "
                    f"call. Networks {owner[id(part)]} and {index} share {part.name!r}. Create "
                    "the layers inside of build_model."
                )


def served_by(grouping: Grouping, serve: Iterable[str] | None) -> dict[str, int]:
    """Return the network that serves each of the tasks to serve.

    Args:
        grouping: The networks.
        serve: The tasks to serve; None: all.

    Returns:
        Task -> index of the network, in the grouping's order.

    Raises:
        ValueError: Unknown tasks, or a network that would serve none.
    """
    wanted = set(grouping.tasks if serve is None else serve)
    serves = {task: index for task, index in grouping.serves.items() if task in wanted}
    idle = set(range(len(grouping.groups))) - set(serves.values())
    if wanted - set(serves) or idle:
        raise ValueError(
            f"Expected `serve` to name tasks of {list(grouping.tasks)}, at least one of every "
            f"network. Received: serve={sorted(wanted)}"
            + (f"; networks {sorted(idle)} serve none of them." if idle else ".")
        )
    return serves
