"""`Recipe`: how the compiled network of a group is made, in this process or in another."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import keras

from keras_tag.grouped_model import GroupedModel
from keras_tag.grouped_model.network_optimizers import copy_of
from keras_tag.search import arguments as given_arguments
from keras_tag.search.data import zeros
from keras_tag.selection import Grouping
from keras_tag.training.compile_spec import compile_config
from keras_tag.training.kept_attributes import unsaid_arguments

Build = Callable[[tuple[str, ...]], keras.Model]
# What Keras's own leave out of their configurations: one where it was not given, the other where
# nobody needs it, because it is for outputs that are numbers of classes.
_HARMLESS: dict[type, set[str]] = {
    keras.metrics.AUC: {"thresholds"},
    keras.metrics.SparseTopKCategoricalAccuracy: {"from_sorted_ids"},
}


@dataclass(frozen=True, eq=False)
class FromConfig:
    """An object of Keras that is made anew for every network.

    Args:
        kind: Its class.
        config: What `get_config` gave.
    """

    kind: Any
    config: Mapping[str, Any]

    @classmethod
    def of(cls, made: Any) -> "FromConfig":
        """Return how an object is made again."""
        return cls(type(made), made.get_config())

    @classmethod
    def of_metric(cls, made: Any) -> Any:
        """Return how a metric is made again; anything else as it is.

        Raises:
            ValueError: Keras, which keeps the configuration only, has lost arguments of it.
        """
        if not isinstance(made, keras.metrics.Metric):
            return made
        unsaid = set(unsaid_arguments(made)) - _HARMLESS.get(type(made), set())
        if unsaid:
            raise ValueError(
                "Expected metrics whose configuration has all arguments of their constructor, "
                "because every network gets its own. Received: "
                f"{type(made).__name__}, whose `get_config` leaves out {sorted(unsaid)}. Add them "
                "there, in a subclass if the class is Keras's."
            )
        return cls.of(made)

    def make(self) -> Any:
        """Make it. Keras changes configurations while it reads them."""
        return self.kind.from_config(deepcopy(dict(self.config)))


@dataclass(frozen=True, eq=False)
class LossCopy:
    """A loss of which every network gets a copy, so that no state goes from one to the next.

    It is neither copied nor pickled by its configuration, as Keras would: from that of some the
    arguments are missing that they were given (such as `Huber`'s delta).

    Args:
        loss: The loss.
    """

    loss: keras.losses.Loss

    def __reduce__(self) -> Any:
        """Return what is pickled."""
        return _loss_copy, (type(self.loss), vars(self.loss))

    def make(self) -> keras.losses.Loss:
        """Make a copy. Layers inside of it, which no training changes, stay the same."""
        made: keras.losses.Loss = object.__new__(type(self.loss))
        known: dict[int, Any] = {id(self.loss): made}
        for part in keras.tree.flatten(vars(self.loss)):
            if isinstance(part, keras.Layer):
                known[id(part)] = part
            elif isinstance(part, keras.random.SeedGenerator):
                known[id(part)] = seeds = keras.random.SeedGenerator(0)
                seeds.state.assign(part.state)
        try:
            vars(made).update(deepcopy(vars(self.loss), known))
        except Exception as error:
            raise ValueError(
                "Expected losses that can be copied, because every network gets its own. "
                f"{self.loss!r} can't be ({error})."
            ) from error
        return made


def _loss_copy(kind: Any, attributes: Mapping[str, Any]) -> LossCopy:
    loss = object.__new__(kind)
    vars(loss).update(attributes)
    return LossCopy(loss)


@dataclass(frozen=True, eq=False)
class Compiled:
    """What a model was compiled with, by task.

    Args:
        model: A compiled model.
        outputs: All its outputs, in the order in which Keras pairs them with lists.
    """

    model: keras.Model
    outputs: tuple[str, ...]

    def parts(self, tasks: Sequence[str]) -> dict[str, Any]:
        """Return what arguments of `compile` for a network of some of the tasks are made of.

        Args:
            tasks: The tasks.

        Returns:
            The arguments, with something that has `make` in the place of every object that holds
            state.
        """
        config = compile_config(self.model)
        copy_of(self.model.optimizer)  # Refuses one that its configuration does not describe.
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        if getattr(optimizer, "use_ema", False):
            raise ValueError(
                "Expected an optimizer with use_ema=False: a search keeps the weights of the best "
                "epoch, not averages over steps. Received: use_ema=True. Average after the search."
            )
        losses = self._by_task(self.model.loss, "loss", tasks, spread=True) or {}
        # Tasks that have one loss together have its state together.
        once = {
            id(loss): LossCopy(loss) if isinstance(loss, keras.losses.Loss) else loss
            for loss in losses.values()
        }
        chosen: dict[str, Any] = {
            "optimizer": FromConfig.of(self.model.optimizer),
            "loss": {task: once[id(loss)] for task, loss in losses.items()},
            # The optimizer scales losses already, where that was asked for.
            "auto_scale_loss": False,
            "loss_weights": self._loss_weights(config.get("loss_weights"), tasks),
            "run_eagerly": self.model.run_eagerly,
            "steps_per_execution": self.model.steps_per_execution,
            "jit_compile": config.get("jit_compile", "auto"),
        }
        for name in ("metrics", "weighted_metrics"):
            try:
                given = keras.saving.deserialize_keras_object(config.get(name))
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"Expected `{name}` that can be made again for every network. Keras can't: "
                    f"{error}. Define their functions and classes at the top level of a module, "
                    "or register them by `keras.saving.register_keras_serializable`."
                ) from error
            by_task = self._by_task(given, name, tasks) or None
            chosen[name] = keras.tree.map_structure(FromConfig.of_metric, by_task)
        return {name: value for name, value in chosen.items() if value is not None}

    def arguments(self, tasks: Sequence[str]) -> dict[str, Any]:
        """Return arguments of `compile` for a network of some of the tasks, with new objects.

        Args:
            tasks: The tasks.
        """
        return _made(self.parts(tasks))

    def _loss_weights(self, given: Any, tasks: Sequence[str]) -> dict[str, float] | None:
        weights = self._by_task(given, "loss_weights", tasks)
        if weights is None:
            return None
        # Keras's configuration has the same for a variable and for a tensor.
        others = [task for task, weight in weights.items() if not isinstance(weight, int | float)]
        if others:
            raise ValueError(
                "Expected `loss_weights` that are numbers in a search, where no network may change "
                f"another's. Received: variables or tensors for the tasks {others}. Compile with "
                "float(weight)."
            )
        return {task: float(weights.get(task, 1.0)) for task in tasks}

    def _by_task(
        self, given: Any, argument: str, tasks: Sequence[str], spread: bool = False
    ) -> dict[str, Any] | None:
        if given is None:
            return None
        if isinstance(given, Mapping):
            by_task = dict(given)
        elif isinstance(given, list | tuple) and len(given) == len(self.outputs):
            by_task = dict(zip(self.outputs, given, strict=True))
        elif spread or len(self.outputs) == 1:
            by_task = dict.fromkeys(self.outputs, given)
        else:
            raise ValueError(
                f"Expected `{argument}` to have been compiled as a dict by task. "
                f"Received: {argument}={given!r}."
            )
        return {task: by_task[task] for task in tasks if by_task.get(task) is not None}


@dataclass(frozen=True, eq=False)
class Recipe:
    """All that the compiled network of a group is made of. It can be pickled.

    Args:
        group: The tasks.
        builder: Builds the network.
        parts: As `Compiled.parts` gives them; None where `builder` compiles.
        missing: A label value that means "not labelled".
        inputs: Of one batch, as `Source.inputs` gives them.
    """

    group: tuple[str, ...]
    builder: Build
    parts: Mapping[str, Any] | None
    missing: float | None
    inputs: Any

    def model(self) -> GroupedModel:
        """Return a new compiled model of the network, with variables."""
        network, arguments = self.new()
        model = compiled_model({self.group: network}, arguments, self.missing)
        self.make_variables(model)
        return model

    def new(self) -> tuple[keras.Model, dict[str, Any]]:
        """Return a new network, and what to compile it with."""
        network = self.builder(self.group)
        arguments = self.arguments(network)
        self.make_variables(network)
        return network, arguments

    def arguments(self, network: keras.Model | None) -> dict[str, Any]:
        """Return what to compile a network with, with new objects.

        Args:
            network: What `builder` gave; not needed where it does not compile.
        """
        if self.parts is not None:
            return _made(self.parts)
        if not isinstance(network, keras.Model) or not network.compiled:
            raise ValueError(
                f"Expected build({self.group!r}) to return a compiled keras.Model. Received: "
                f"{network!r}. Call `compile(optimizer, loss=...)` inside of it."
            )
        order = given_arguments.output_names(network, self.group)
        order = order if set(order) >= set(self.group) else self.group
        return Compiled(network, order).arguments(self.group)

    def make_variables(self, model: keras.Model) -> None:
        """Make the variables of a subclassed model."""
        if not model.built:
            model(zeros(self.inputs), training=False)


def compiled_model(
    networks: Mapping[tuple[str, ...], keras.Model],
    arguments: Mapping[str, Any],
    missing: float | None,
    grouping: Grouping | None = None,
) -> GroupedModel:
    """Return networks as one compiled model.

    Args:
        networks: Group -> network.
        arguments: Of `compile`.
        missing: A label value that means "not labelled".
        grouping: Which network serves which tasks; None where every task has one network.
    """
    grouping = grouping or Grouping.from_groups(networks)
    model = GroupedModel(grouping, networks.__getitem__, missing=missing)
    model.compile(**arguments)
    return model


def _made(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of `compile`, with new objects wherever they hold state."""
    made: dict[int, Any] = {}

    def new(part: Any) -> Any:
        if not isinstance(part, FromConfig | LossCopy):
            return part
        if id(part) not in made:
            made[id(part)] = part.make()
        return made[id(part)]

    return {name: keras.tree.map_structure(new, value) for name, value in parts.items()}
