"""`Networks`: a compiled network for any group of tasks, from the model that the user gave."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_tag.grouped_model import GroupedModel, build_from
from keras_tag.search import arguments as given_arguments
from keras_tag.search.data import zeros
from keras_tag.selection import Grouping
from keras_tag.tag_model import TAGModel
from keras_tag.training.compile_spec import compile_config

Build = Callable[[tuple[str, ...]], keras.Model]
_TAG_SETTINGS = (
    "every",
    "overhead",
    "lookahead",
    "lookahead_rate",
    "steps",
    "missing",
    "reuse_gradients",
    "sources_per_probe",
)


@dataclass(frozen=True, eq=False)
class Compiled:
    """What a model was compiled with, by task; new objects wherever they hold state.

    Args:
        model: A compiled model.
        outputs: All its outputs, in the order in which Keras pairs them with lists.
    """

    model: keras.Model
    outputs: tuple[str, ...]

    def arguments(self, tasks: Sequence[str]) -> dict[str, Any]:
        """Return arguments of `compile` for a network of some of the tasks.

        Args:
            tasks: The tasks.
        """
        config = compile_config(self.model)
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        chosen: dict[str, Any] = {
            "optimizer": type(optimizer).from_config(optimizer.get_config()),
            "loss": self._by_task(self.model.loss, "loss", tasks, spread=True),
            "loss_weights": self._loss_weights(config.get("loss_weights"), tasks),
            "run_eagerly": self.model.run_eagerly,
            "steps_per_execution": self.model.steps_per_execution,
            "jit_compile": config.get("jit_compile", "auto"),
        }
        for name in ("metrics", "weighted_metrics"):
            given = keras.saving.deserialize_keras_object(config.get(name))
            chosen[name] = self._by_task(given, name, tasks) or None
        return {name: value for name, value in chosen.items() if value is not None}

    def _loss_weights(self, given: Any, tasks: Sequence[str]) -> dict[str, float] | None:
        weights = self._by_task(given, "loss_weights", tasks)
        return None if weights is None else {task: weights.get(task, 1.0) for task in tasks}

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


class Networks:
    """Builds the networks of a search.

    Every network starts from the weights that the model had when this object was made.

    Args:
        model: A compiled functional model or `TAGModel`; None with `build`.
        build: `build(tasks)` returns a new compiled model; None with a functional model.
        tasks: All tasks.
        start: As in `build_from`.
        missing: A label value that means "not labelled".

    Attributes:
        inputs: Of one batch, as `Source.inputs` gives them; set before networks are made.
    """

    def __init__(
        self,
        model: keras.Model | None,
        build: Build | None,
        tasks: tuple[str, ...],
        start: Any,
        missing: float | None,
    ) -> None:
        self.tasks = tasks
        self.missing = missing
        self.start = start
        self.inputs: Any = None
        self._tag = _tag_settings(model, missing)
        self._build = build
        self._compiled: Compiled | None = None
        self._builder: Build | None = build
        if build is None:
            assert model is not None
            self._compiled = Compiled(model, given_arguments.output_names(model, tasks))
            self._builder = self._first = build_from(
                _inner(model), start="fresh" if start == "fresh" else "initial", verbose=False
            )

    def describe(self) -> dict[str, Any] | None:
        """Return what another run of the script can be compared by, as plain JSON types."""
        if self._compiled is None:
            return None
        model = self._compiled.model
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        settings = {
            name: value
            for name, value in optimizer.get_config().items()
            if name != "name" and isinstance(value, int | float | str | dict | None)
        }
        compiled = self._compiled.arguments(self.tasks)
        said = {
            "parameters": int(_inner(model).count_params()),
            "optimizer": {"class": type(optimizer).__name__, **settings},
            "loss": {task: _name_of(loss) for task, loss in compiled["loss"].items()},
            "loss_weights": compiled.get("loss_weights"),
        }
        return dict(json.loads(json.dumps(said, default=str)))

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Return the scope of the strategy that the given model was made under."""
        strategy = None if self._compiled is None else self._compiled.model.distribute_strategy
        if strategy is None or strategy.num_replicas_in_sync == 1:
            return contextlib.nullcontext()
        scope: contextlib.AbstractContextManager[Any] = strategy.scope()
        return scope

    def save_initial(self, file: Path) -> None:
        """Write the weights that networks start from, if they are the model's."""
        if self._build is None and self.start != "fresh":
            self._first(self.tasks).save_weights(file)

    def load_initial(self, file: Path) -> None:
        """Start from the weights that an earlier run of the script wrote."""
        if self._build is None and self.start != "fresh":
            network = self._first(self.tasks)
            network.load_weights(file)
            self._builder = self._first = build_from(network, start="initial", verbose=False)

    def follow(self, joint: keras.Model) -> None:
        """After the joint run: start from its weights, where that was asked for.

        Args:
            joint: The trained network of all tasks.
        """
        if self._build is None and self.start in ("trunk", "all"):
            self._builder = build_from(joint, start=self.start, verbose=False)

    def joint(self, probe_data: Any) -> tuple[TAGModel, GroupedModel]:
        """Return the compiled joint model, which measures affinity, and one to evaluate it with.

        Keras's own losses by output are means of batches, whatever their size: they can't be
        compared with those of the other networks where the last batch is smaller.

        Args:
            probe_data: Where affinities are measured.
        """
        network, arguments = self._new(self.tasks, self._first if self._build is None else None)
        given = {**self._tag, "probe_data": probe_data}
        tag = TAGModel(network, **given)
        tag.compile(**arguments)
        self._build_variables(tag)
        again = {**self._arguments(network), "optimizer": None}
        grouping = Grouping.from_groups([self.tasks])
        return tag, self._grouped(grouping, {self.tasks: network}, again)

    def group(self, tasks: tuple[str, ...]) -> GroupedModel:
        """Return a compiled model of one network.

        Args:
            tasks: The network's.
        """
        network, arguments = self._new(tasks)
        model = self._grouped(Grouping.from_groups([tasks]), {tasks: network}, arguments)
        self._build_variables(model)
        return model

    def trained(self, tasks: tuple[str, ...], weights: Path) -> keras.Model:
        """Return a network with the weights of a file.

        Args:
            tasks: The network's.
            weights: The file.
        """
        network = self._new(tasks)[0]
        network.load_weights(weights)
        return network

    def batch(self) -> Any:
        """Return a batch of inputs that are zeros."""
        return zeros(self.inputs)

    def served(
        self, grouping: Grouping, networks: Mapping[tuple[str, ...], keras.Model]
    ) -> GroupedModel:
        """Return trained networks as one compiled model.

        Args:
            grouping: Which network serves whom.
            networks: Group -> network.
        """
        if self._compiled is not None:
            arguments = self._compiled.arguments(grouping.tasks)
        else:
            assert self._build is not None
            arguments = self._arguments(self._build(self.tasks), grouping.tasks)
        return self._grouped(grouping, networks, arguments)

    def _new(
        self, tasks: tuple[str, ...], builder: Build | None = None
    ) -> tuple[keras.Model, dict[str, Any]]:
        """Return a network, and what to compile it with."""
        builder = builder or self._builder
        assert builder is not None
        network = builder(tasks)
        arguments = self._arguments(network, tasks)
        self._build_variables(network)
        return network, arguments

    def _build_variables(self, model: keras.Model) -> None:
        """Make the variables of a subclassed model."""
        if not model.built:
            model(self.batch(), training=False)

    def _arguments(
        self, network: keras.Model, tasks: tuple[str, ...] | None = None
    ) -> dict[str, Any]:
        """Return what to compile a network with."""
        tasks = tasks or self.tasks
        if self._compiled is not None:
            return self._compiled.arguments(tasks)
        if not isinstance(network, keras.Model) or not network.compiled:
            raise ValueError(
                f"Expected build({tasks!r}) to return a compiled keras.Model. Received: "
                f"{network!r}. Call `compile(optimizer, loss=...)` inside of it."
            )
        order = given_arguments.output_names(network, tasks)
        order = order if set(order) >= set(tasks) else tasks
        return Compiled(network, order).arguments(tasks)

    def _grouped(
        self,
        grouping: Grouping,
        networks: Mapping[tuple[str, ...], keras.Model],
        arguments: dict[str, Any],
    ) -> GroupedModel:
        model = GroupedModel(grouping, networks.__getitem__, missing=self.missing)
        model.compile(**arguments)
        return model


def _inner(model: keras.Model) -> keras.Model:
    return model.model if isinstance(model, TAGModel) else model


def _name_of(loss: Any) -> str:
    return str(loss if isinstance(loss, str) else getattr(loss, "name", type(loss).__name__))


def _tag_settings(model: keras.Model | None, missing: float | None) -> dict[str, Any]:
    """Return how the joint run probes: as the given `TAGModel` does, if it is one."""
    if not isinstance(model, TAGModel):
        return {"missing": missing}
    settings = {name: getattr(model, name) for name in _TAG_SETTINGS}
    shared = model.shared
    if isinstance(shared, list | tuple):
        # The layers are the given model's; the joint run's have the same names.
        shared = [getattr(layer, "name", layer) for layer in shared]
    return {**settings, "shared": shared}
