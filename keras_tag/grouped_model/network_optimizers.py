"""One optimizer per network, and `PerNetworkOptimizer`, which makes them one."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import keras

from keras_tag.training.kept_attributes import lost_attributes, unsaid_arguments

Variables = list[keras.Variable]


class OptimizerChoice:
    """The choice of an optimizer for each network: one of its own, or the compiled one.

    No Keras object and no container of them, so that Keras saves optimizers only where they have
    state: as parts of the `PerNetworkOptimizer` of a compiled model.

    Args:
        own: One optimizer (or its name or configuration) per network, None for the compiled one.
            None altogether: the compiled one for every network.
        num_networks: How many networks there are.

    Raises:
        ValueError: Not one entry per network, or an optimizer is given twice.
    """

    def __init__(self, own: Iterable[Any] | None, num_networks: int) -> None:
        given = [None] * num_networks if own is None else list(own)
        if len(given) != num_networks:
            raise ValueError(
                "Expected `optimizers` to have one entry per network, None for the compiled "
                f"optimizer. Received: {len(given)} entries for {num_networks} networks."
            )
        self.own = [keras.optimizers.get(optimizer) for optimizer in given]
        _check_separate(self.own)

    def joined(
        self, compiled: Any, current: "PerNetworkOptimizer | None"
    ) -> "PerNetworkOptimizer | None":
        """Return the networks' optimizers as one.

        Args:
            compiled: What was given to `compile`; None: there is to be no training.
            current: What the model was compiled with before: state that can be kept is kept.

        Returns:
            The optimizers as one, or None.
        """
        if compiled is None or compiled is current:
            return compiled
        if isinstance(compiled, PerNetworkOptimizer):
            # That of a model that was saved after `compile(model.optimizer)`.
            compiled = compiled.compiled
            if compiled is None and None in self.own:
                return None
        if current is not None and current.compiled in (compiled, None):
            # Compiled again with the same optimizer, or one that no network needs.
            return current
        own = self.own
        if current is not None:
            # They may have got a loss scale, which has state as well.
            pairs = zip(self.own, current.by_network, strict=True)
            own = [None if given is None else used for given, used in pairs]
        return PerNetworkOptimizer(compiled, own)

    def get_config(self) -> list[dict[str, Any] | None] | None:
        """Return the argument `own`, serialised."""
        if not any(self.own):
            return None
        return [opt and keras.saving.serialize_keras_object(opt) for opt in self.own]


@keras.saving.register_keras_serializable(package="keras_tag")
class PerNetworkOptimizer(keras.optimizers.Optimizer):
    """Steps every network of a `GroupedModel` with an optimizer of its own.

    What an optimizer computes across variables (clipping by global norm, Nadam's momentum
    schedule, a dynamic loss scale, averages) must not reach from one network into another, or the
    networks would no longer train as they do alone. So every network has its own optimizer and
    its own slots, and this class makes them one towards Keras: `build`, `apply`, the learning
    rate, the state in a `.keras` file. `GroupedModel` makes it when it is compiled.

    The compiled optimizer steps the first network that has none of its own, copies of it step the
    others. In every step the copies take a settable learning rate from it, so that whatever changes
    it (`LearningRateScheduler`, `ReduceLROnPlateau`, an assignment) changes it for all of these
    networks. A `LearningRateSchedule` is copied, and follows each network's iterations.

    Args:
        compiled: What was given to `compile`; None only if every network has its own.
        own: Per network its own optimizer, or None.
        name: As in every Keras optimizer.

    Attributes:
        compiled: The argument; None if no network needs it.
        by_network: The optimizer of every network. Not `optimizers`: Keras takes what has that for
            its own MultiOptimizer, sets every rate, and logs other names.

    Raises:
        ValueError: An optimizer is given twice.
    """

    def __init__(
        self,
        compiled: keras.optimizers.Optimizer | None,
        own: Sequence[keras.optimizers.Optimizer | None],
        name: str = "per_network_optimizer",
    ) -> None:
        # Its own learning rate and iterations are never used: the properties below are.
        super().__init__(learning_rate=0.0, name=name)
        # Which networks the compiled one serves; the first of them has the compiled one itself.
        self._served = [index for index, optimizer in enumerate(own) if optimizer is None]
        self.compiled = compiled if self._served else None
        self.by_network: list[Any] = list(own)
        for index in self._served:
            self.by_network[index] = compiled if index == self._served[0] else copy_of(compiled)
        _check_separate(self.by_network)

    @property
    def _lead(self) -> keras.optimizers.Optimizer:
        """The compiled optimizer as it steps; without one, that of the first network."""
        return self.by_network[self._served[0] if self._served else 0]

    def add_loss_scale(self) -> None:
        """Give each optimizer a dynamic loss scale of its own (for mixed_float16)."""
        scaled = keras.optimizers.LossScaleOptimizer
        self.by_network = [
            opt if isinstance(opt, scaled) else scaled(opt) for opt in self.by_network
        ]

    def bind(self, variables_of_networks: Callable[[], Sequence[Variables]]) -> None:
        """Say which variables each optimizer steps.

        Args:
            variables_of_networks: Gives, at any time, the trainable variables of every network. A
                function, because networks may be built later and layers may be frozen.
        """
        self._variables_of_networks = variables_of_networks

    def build(self, variables: Variables) -> None:
        """Create the slots of every network's optimizer.

        Args:
            variables: All the networks' trainable variables. Ignored, since `bind` knows more.
        """
        for optimizer, own in zip(self.by_network, self._variables_of_networks(), strict=True):
            if not optimizer.built:
                optimizer.build(own)
        self._trainable_variables = list(chain.from_iterable(self._variables_of_networks()))
        self.built = True

    def apply(self, grads: Sequence[Any], trainable_variables: Variables | None = None) -> None:
        """Let every optimizer apply the gradients of its own network.

        Args:
            grads: One gradient, or None, per variable.
            trainable_variables: The variables, in the order of `grads`; by default all of them,
                network after network. A network none of whose variables is here makes no step.

        Raises:
            ValueError: A variable that belongs to no network.
        """
        networks = self._variables_of_networks()
        if trainable_variables is None:
            trainable_variables = list(chain.from_iterable(networks))
        if not self.built:
            self.build(trainable_variables)
        if isinstance(self.learning_rate, keras.Variable):
            for index in self._served[1:]:
                # Not `learning_rate = ...`: that would make the variable a slot of the copy.
                self.by_network[index].learning_rate.assign(self.learning_rate)
        gradient_of = {id(v): g for g, v in zip(grads, trainable_variables, strict=True)}
        for optimizer, own in zip(self.by_network, networks, strict=True):
            stepped = [variable for variable in own if id(variable) in gradient_of]
            if stepped:
                optimizer.apply([gradient_of.pop(id(v)) for v in stepped], stepped)
        if gradient_of:
            unknown = [v.path for v in trainable_variables if id(v) in gradient_of]
            raise ValueError(
                f"Expected variables of the networks. Received others: {unknown}. Compile the "
                "model again after changing its layers."
            )

    def scale_losses(self, losses: Sequence[Any]) -> list[Any]:
        """Scale every network's loss as its own optimizer will unscale the gradients.

        Args:
            losses: One loss per network.

        Returns:
            The scaled losses.
        """
        return [opt.scale_loss(loss) for opt, loss in zip(self.by_network, losses, strict=True)]

    def scale_loss(self, loss: Any) -> Any:
        """Refuse a sum over networks, which may have different scales.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("Use `scale_losses` with one loss per network.")

    def finalize_variable_values(self, var_list: Variables) -> None:
        """Put averaged weights in place, per network, where the optimizers keep averages."""
        for optimizer, own in zip(self.by_network, self._variables_of_networks(), strict=True):
            optimizer.finalize_variable_values(own)

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the compiled optimizer and its copies, which setting it sets.

        If every network has an optimizer of its own, the first one's, and not settable.
        """
        return self._lead.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        if not self._served:
            raise ValueError(
                "Expected a compiled optimizer whose learning rate to set; every network has an "
                f"optimizer of its own. Received: learning_rate={learning_rate!r}. Set "
                "`grouped.optimizer.by_network[i].learning_rate`, or give the optimizers a "
                "LearningRateSchedule."
            )
        for index in self._served:
            self.by_network[index].learning_rate = learning_rate

    @property
    def iterations(self) -> Any:
        """The steps that the compiled optimizer has made; without one, the first network's."""
        return self._lead.iterations

    @property
    def variables(self) -> Variables:
        """The state of all optimizers, network after network."""
        return [variable for optimizer in self.by_network for variable in optimizer.variables]

    # What keras.callbacks.SwapEMAWeights reads of an optimizer.

    @property
    def _model_variables_moving_average(self) -> Variables:
        """The averages of the weights that the optimizers step, where all of them keep averages."""
        if not all(_unscaled(opt).use_ema for opt in self.by_network):
            raise AttributeError("An optimizer of a network has `use_ema=False`.")
        return [
            average
            for optimizer in self.by_network
            for average in _unscaled(optimizer)._model_variables_moving_average
        ]

    def save_own_variables(self, store: Any) -> None:
        """Nothing: Keras finds and saves each of `by_network` by itself."""

    def load_own_variables(self, store: Any) -> None:
        """Nothing, as in `save_own_variables`."""

    def get_config(self) -> dict[str, Any]:
        """Return the compiled optimizer and the networks' own; copies are made again."""
        own = [None if i in self._served else opt for i, opt in enumerate(self.by_network)]
        return {
            "name": self.name,
            "compiled": keras.saving.serialize_keras_object(self.compiled),
            "own": [keras.saving.serialize_keras_object(opt) for opt in own],
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "PerNetworkOptimizer":
        """Make the optimizer that `get_config` describes."""
        compiled, *own = (
            keras.saving.deserialize_keras_object(opt, custom_objects=custom_objects)
            for opt in (config["compiled"], *config["own"])
        )
        return cls(compiled, own, name=config["name"])


def _unscaled(optimizer: Any) -> Any:
    """Return the optimizer within a `LossScaleOptimizer`, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def copy_of(optimizer: Any) -> Any:
    """Return another optimizer with the same settings; refuse one that has others.

    Its configuration is all that Keras knows of an optimizer.

    Args:
        optimizer: A Keras optimizer.

    Raises:
        ValueError: Settings of it are not in its configuration.
    """
    way_out = (
        "Give the class a `get_config` with all arguments of its `__init__`, or every network of a "
        "`GroupedModel` an optimizer of its own: `GroupedModel(..., optimizers=[...])`."
    )
    try:
        copy = type(optimizer).from_config(optimizer.get_config())
    except Exception as error:
        raise ValueError(
            "Expected an optimizer that can be made again from its configuration, because every "
            f"network has its own. Received: {type(optimizer).__name__}. Keras answered: {error} "
            f"{way_out}"
        ) from error
    lost = lost_attributes(optimizer, copy)
    # Arguments that could be kept nowhere else but in what can't be compared.
    lost += [
        name
        for name in unsaid_arguments(optimizer)
        if not isinstance(vars(optimizer).get(name), bool | int | float | str)
    ]
    rate = optimizer.get_config().get("learning_rate")
    if isinstance(rate, dict):
        lost += unsaid_arguments(keras.optimizers.schedules.deserialize(rate))
    # Keras keeps the argument of `exclude_from_weight_decay` under these names.
    lost += [
        "exclude_from_weight_decay"
        for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")
        if getattr(optimizer, name, None)
    ]
    if lost:
        raise ValueError(
            "Expected an optimizer whose settings are in its configuration, because every network "
            f"has its own. Received: {type(optimizer).__name__} with other values of "
            f"{sorted(set(lost))}. {way_out}"
        )
    return copy


def _check_separate(optimizers: Sequence[keras.optimizers.Optimizer | None]) -> None:
    """Refuse an optimizer that would step two networks."""
    given = [id(optimizer) for optimizer in optimizers if optimizer is not None]
    if len(set(given)) != len(given):
        raise ValueError(
            "Expected a separate optimizer for every network, because each keeps the state of "
            f"its own variables. Received the same one twice: optimizers={list(optimizers)}. "
            "Create one per network; the one given to `compile` is copied where it is needed."
        )
