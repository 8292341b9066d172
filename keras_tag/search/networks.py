"""`Networks`: a compiled network for any group of tasks, from the model that the user gave."""

import contextlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from keras_tag.copying.model_copy import Start
from keras_tag.grouped_model import GroupedModel, build_from
from keras_tag.search.arguments import output_names, wrapped
from keras_tag.search.data import Source
from keras_tag.search.loss_states import changed_by_losses, given_losses
from keras_tag.search.recipes import Build, Compiled, Recipe, compiled_model
from keras_tag.selection import Grouping
from keras_tag.tag_model import TAGModel
from keras_tag.training.loss_settings import named_with_settings


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
        probe_data: Where the given `TAGModel` measures affinities; None if it does not say.
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
        self.probe_data = self._tag.pop("probe_data", None)
        self._compiled: Compiled | None = None
        if build is None:
            assert model is not None
            self._compiled = Compiled(model, output_names(model, tasks))
            begin: Start = "fresh" if start == "fresh" else "initial"
            build = build_from(wrapped(model), start=begin, verbose=False)
        # Of the joint run, and of all others.
        self._first = self._builder = build

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
            "parameters": int(wrapped(model).count_params()),
            "optimizer": {"class": type(optimizer).__name__, **settings},
            "loss": {task: named_with_settings(loss) for task, loss in compiled["loss"].items()},
            "loss_weights": compiled.get("loss_weights"),
        }
        return dict(json.loads(json.dumps(said, default=str)))

    def check_losses(self, train: Source) -> None:
        """Refuse losses that change variables which all networks would have in common.

        Args:
            train: Training data, of which a batch is read if it matters.

        Raises:
            ValueError: There are some.
        """
        if self._compiled is None:
            return
        tasks = given_losses(self._compiled.arguments(self.tasks)["loss"])
        if not tasks:
            return
        network, batch = self._first(self.tasks), train.first_batch()
        given = [{**self._compiled.arguments(self.tasks), "optimizer": None} for _ in range(2)]
        models = [compiled_model({self.tasks: network}, own, self.missing) for own in given]
        changed = [changed_by_losses(model, lambda: batch) or set() for model in models]
        if set.intersection(*changed):
            raise ValueError(
                "Expected losses that change no variables, or only those in attributes of a "
                "keras.losses.Loss, of which every network gets a copy. Received: a variable "
                f"outside of the loss that is changed by a loss of the tasks {tasks}: what one "
                "training left in it would be where the next one begins. Make the loss a subclass "
                "of keras.losses.Loss, and the variable an attribute of it."
            )

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Return the scope of the strategy that the given model was made under."""
        strategy = None if self._compiled is None else self._compiled.model.distribute_strategy
        if strategy is None or strategy.num_replicas_in_sync == 1:
            return contextlib.nullcontext()
        scope: contextlib.AbstractContextManager[Any] = strategy.scope()
        return scope

    def save_initial(self, file: Path) -> None:
        """Write the weights that networks start from, if they are the model's."""
        if self._compiled is not None and self.start != "fresh":
            self._first(self.tasks).save_weights(file)

    def load_initial(self, file: Path) -> None:
        """Start from the weights that an earlier run of the script wrote."""
        if self._compiled is not None and self.start != "fresh":
            network = self._first(self.tasks)
            network.load_weights(file)
            self._builder = self._first = build_from(network, start="initial", verbose=False)

    def follow(self, joint: Path) -> None:
        """After the joint run: start from its weights, where that was asked for.

        Args:
            joint: The weights of the trained network of all tasks.
        """
        if self.start in ("trunk", "all"):
            network = self.trained(self.tasks, joint)
            self._builder = build_from(network, start=self.start, verbose=False)

    def joint(self, probe_data: Any) -> tuple[TAGModel, GroupedModel]:
        """Return the compiled joint model, which measures affinity, and one to evaluate it with.

        Keras's own losses by output are means of batches, whatever their size: they can't be
        compared with those of the other networks where the last batch is smaller.

        Args:
            probe_data: Where affinities are measured.
        """
        recipe = replace(self.recipe(self.tasks), builder=self._first)
        network, arguments = recipe.new()
        tag = TAGModel(network, **self._tag, probe_data=probe_data)
        tag.compile(**arguments)
        recipe.make_variables(tag)
        # Their losses are the same objects, as with the other networks, for some keep state.
        again = {**recipe.arguments(network), "optimizer": None, "loss": arguments["loss"]}
        return tag, compiled_model({self.tasks: network}, again, self.missing)

    def recipe(self, tasks: tuple[str, ...]) -> Recipe:
        """Return how the network of a group is made.

        Args:
            tasks: The group.
        """
        parts = None if self._compiled is None else self._compiled.parts(tasks)
        return Recipe(tasks, self._builder, parts, self.missing, self.inputs)

    def trained(self, tasks: tuple[str, ...], weights: Path) -> keras.Model:
        """Return a network with the weights of a file.

        Args:
            tasks: The network's.
            weights: The file.
        """
        network = self.recipe(tasks).new()[0]
        network.load_weights(weights)
        return network

    def served(
        self, grouping: Grouping, networks: Mapping[tuple[str, ...], keras.Model]
    ) -> GroupedModel:
        """Return trained networks as one compiled model.

        Args:
            grouping: Which network serves whom.
            networks: Group -> network.
        """
        # What `build` compiles is read of a network.
        joint = self._first(self.tasks) if self._compiled is None else None
        arguments = self.recipe(grouping.tasks).arguments(joint)
        return compiled_model(networks, arguments, self.missing, grouping)


def _tag_settings(model: keras.Model | None, missing: float | None) -> dict[str, Any]:
    """Return how the joint run probes: as the given `TAGModel` does, if it is one."""
    if not isinstance(model, TAGModel):
        return {"missing": missing}
    arguments = inspect.signature(TAGModel.__init__).parameters.values()
    settings = {
        own.name: getattr(model, own.name) for own in arguments if own.kind is own.KEYWORD_ONLY
    }
    shared = model.shared
    if isinstance(shared, keras.Layer):
        shared = [shared]
    if isinstance(shared, list | tuple):
        # The layers are the given model's; the joint run's have the same names.
        shared = [getattr(layer, "name", layer) for layer in shared]
    return {**settings, "shared": shared, "missing": missing}
