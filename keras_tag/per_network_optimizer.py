"""`PerNetworkOptimizer`: one optimizer made of one optimizer per network."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

Variables = list[keras.Variable]


@keras.saving.register_keras_serializable(package="keras_tag")
class PerNetworkOptimizer(keras.optimizers.Optimizer):
    """Steps every network of a `GroupedModel` with an optimizer of its own.

    What an optimizer computes across variables (clipping by global norm, Nadam's momentum
    schedule, a dynamic loss scale, averages) must not reach from one network into another, or the
    networks would no longer train as they do alone. So every network has its own optimizer and
    its own slots, and this class makes them one towards Keras: `build`, `apply`, the learning
    rate, the state in a `.keras` file.

    `GroupedModel` makes one from whatever optimizer it is compiled with. Make it yourself to give
    each network different settings:
    `grouped.compile(PerNetworkOptimizer(["adam", keras.optimizers.SGD(0.1)]), loss=...)`.

    Args:
        optimizers: One optimizer (or its name) per network, in the order of the groups. The
            first one leads: its learning rate and iterations are those of the whole.
        name: As in every Keras optimizer.

    Raises:
        ValueError: An optimizer is given twice.
    """

    def __init__(
        self,
        optimizers: Iterable[keras.optimizers.Optimizer | str],
        name: str = "per_network_optimizer",
    ) -> None:
        # Its own learning rate and iterations are never used: the properties below are.
        super().__init__(learning_rate=0.0, name=name)
        self.optimizers = [keras.optimizers.get(optimizer) for optimizer in optimizers]
        self._are_copies = False
        if len({id(optimizer) for optimizer in self.optimizers}) != len(self.optimizers):
            raise ValueError(
                "Expected a separate optimizer for every network, because each keeps the state of "
                f"its own variables. Received the same one twice: optimizers={self.optimizers}."
            )

    @classmethod
    def copies_of(cls, optimizer: keras.optimizers.Optimizer, count: int) -> "PerNetworkOptimizer":
        """The optimizer itself for the first network, copies of it for the others.

        In every step the copies take a settable learning rate from the original, so that whatever
        changes it (`LearningRateScheduler`, `ReduceLROnPlateau`, an assignment) changes it for
        every network. A `LearningRateSchedule` is copied, and follows each network's iterations.

        Args:
            optimizer: The compiled optimizer.
            count: How many networks.

        Returns:
            The optimizers as one.
        """
        copies = [type(optimizer).from_config(optimizer.get_config()) for _ in range(count - 1)]
        together = cls([optimizer, *copies])
        together._are_copies = True
        return together

    def with_loss_scale(self) -> "PerNetworkOptimizer":
        """The same optimizers, each with a dynamic loss scale of its own (for mixed_float16)."""
        scaled = keras.optimizers.LossScaleOptimizer
        together = type(self)(
            [opt if isinstance(opt, scaled) else scaled(opt) for opt in self.optimizers]
        )
        together._are_copies = self._are_copies
        return together

    def is_made_of(self, optimizer: keras.optimizers.Optimizer) -> bool:
        """Whether `optimizer` is this one, or the one that leads it."""
        lead = self.optimizers[0]
        return optimizer in (self, lead, getattr(lead, "inner_optimizer", None))

    def bind(self, variables_of_networks: Callable[[], Sequence[Variables]]) -> None:
        """Say which variables each optimizer steps.

        Args:
            variables_of_networks: Gives, at any time, the trainable variables of every network. A
                function, because networks may be built later and layers may be frozen.

        Raises:
            ValueError: Not as many networks as optimizers.
        """
        networks = len(variables_of_networks())
        if networks != len(self.optimizers):
            raise ValueError(
                f"Expected one optimizer per network. Received: {len(self.optimizers)} optimizers "
                f"for {networks} networks."
            )
        self._variables_of_networks = variables_of_networks

    def build(self, variables: Variables) -> None:
        """Create the slots of every network's optimizer.

        Args:
            variables: All the networks' trainable variables. Ignored, since `bind` knows more.
        """
        for optimizer, own in zip(self.optimizers, self._variables_of_networks(), strict=True):
            if not optimizer.built:
                optimizer.build(own)
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
            trainable_variables = [variable for own in networks for variable in own]
        if not self.built:
            self.build(trainable_variables)
        if self._are_copies and isinstance(self.learning_rate, keras.Variable):
            for copy in self.optimizers[1:]:
                # Not `copy.learning_rate = ...`: that would make the variable a slot of the copy.
                copy.learning_rate.assign(self.learning_rate)
        gradient_of = {id(v): g for g, v in zip(grads, trainable_variables, strict=True)}
        for optimizer, own in zip(self.optimizers, networks, strict=True):
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
        return [opt.scale_loss(loss) for opt, loss in zip(self.optimizers, losses, strict=True)]

    def scale_loss(self, loss: Any) -> Any:
        """Not possible for a sum over networks: they may have different scales.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("Use `scale_losses` with one loss per network.")

    def finalize_variable_values(self, var_list: Variables) -> None:
        """Put averaged weights in place, per network, where the optimizers keep averages."""
        for optimizer, own in zip(self.optimizers, self._variables_of_networks(), strict=True):
            optimizer.finalize_variable_values(own)

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the first network's optimizer; setting it sets all of them."""
        return self.optimizers[0].learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        for optimizer in self.optimizers:
            optimizer.learning_rate = learning_rate

    @property
    def iterations(self) -> Any:
        """The steps the first network's optimizer has made."""
        return self.optimizers[0].iterations

    @property
    def variables(self) -> Variables:
        """The state of all optimizers, network after network."""
        return [variable for optimizer in self.optimizers for variable in optimizer.variables]

    def save_own_variables(self, store: Any) -> None:
        """Nothing: Keras finds and saves each of `optimizers` by itself."""

    def load_own_variables(self, store: Any) -> None:
        """Nothing, as in `save_own_variables`."""

    def get_config(self) -> dict[str, Any]:
        """The optimizers' own configurations; of copies, the original's."""
        serialized = self.optimizers[:1] if self._are_copies else self.optimizers
        return {
            "name": self.name,
            "optimizers": [keras.saving.serialize_keras_object(opt) for opt in serialized],
            "count": len(self.optimizers),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "PerNetworkOptimizer":
        """The inverse of `get_config`."""
        optimizers = [
            keras.saving.deserialize_keras_object(opt, custom_objects=custom_objects)
            for opt in config["optimizers"]
        ]
        if len(optimizers) < config["count"]:
            return cls.copies_of(optimizers[0], config["count"])
        return cls(optimizers, name=config["name"])
