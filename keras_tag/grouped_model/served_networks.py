"""`ServedNetworks`: the networks of a grouping, served as one Keras model."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras

from keras_tag.copying.layer_settings import LayerSettings, restart_lora
from keras_tag.grouped_model.network_outputs import (
    MadeNetworks,
    by_task,
    check_network,
    check_nothing_shared,
    cut,
    served_by,
)
from keras_tag.selection.grouping import Grouping
from keras_tag.training.distributed_model import DistributedModel


class ServedNetworks(DistributedModel):
    """Builds, calls, exports and saves the networks; `GroupedModel` also trains them.

    Args:
        grouping: As in `GroupedModel`.
        build_model: As in `GroupedModel`.
        serve: As in `GroupedModel`.
        **kwargs: As in `keras.Model`.
    """

    def __init__(
        self,
        grouping: Grouping,
        build_model: Callable[[tuple[str, ...]], keras.Model],
        *,
        serve: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(grouping, Grouping):
            raise ValueError(
                "Expected `grouping` to be a keras_tag.Grouping, from `select_groups` or "
                f"`Grouping.from_groups`. Received: grouping={grouping!r}."
            )
        # Each network casts its inputs to its own dtype: a second cast here could only lose.
        super().__init__(**{"autocast": False, **kwargs})
        self.grouping = grouping
        self.tasks = grouping.tasks
        self.serves = served_by(grouping, serve)
        self.output_names = list(self.serves)
        # The outputs of the joint model that `build_model` cuts, in the order of its lists.
        names = tuple(getattr(build_model, "output_names", None) or ())
        self.joint_outputs = names if set(self.tasks) <= set(names) else None
        self.networks = [build_model(group) for group in grouping.groups]
        for group, network in zip(grouping.groups, self.networks, strict=True):
            check_network(network, group)
        check_nothing_shared(self.networks)
        # Functions, so that Keras does not take the cut networks for layers of their own.
        self._serving = [
            cut(network, group, [task for task in group if self.serves.get(task) == index])
            for index, (network, group) in enumerate(
                zip(self.networks, grouping.groups, strict=True)
            )
        ]
        self.built = all(network.built for network in self.networks)

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return every task's output, from the network that serves it.

        Args:
            inputs: What every network takes.
            training: As in every Keras model.

        Returns:
            `{task: output}`.
        """
        return self.served([serve(inputs, training) for serve in self._serving])

    def served(self, by_network: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what the serving networks have for their tasks.

        Args:
            by_network: Per network, something by task (outputs, losses); helpers may be there.

        Returns:
            The same by served task.
        """
        return {task: by_network[index][task] for task, index in self.serves.items()}

    def by_name(
        self, given: Any, argument: str, others: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Return what was given for the joint model by the names of its outputs.

        Args:
            given: A dict by name, or a list in the order of `joint_outputs`. Where these are not
                known, a list is one of the tasks, in the grouping's order.
            argument: What it is, for the error.
            others: Names that a dict may have where the joint model's are not known; None: any.

        Returns:
            By name, also of outputs that are no task of the networks.

        Raises:
            ValueError: A list of another length, or a name that is certainly wrong.
        """
        names = self.tasks if self.joint_outputs is None else self.joint_outputs
        if isinstance(given, Mapping):
            if self.joint_outputs is None and others is None:
                return dict(given)
            known = {*self.tasks, *names, *(others or () if self.joint_outputs is None else ())}
            unknown = [name for name in given if name not in known]
            if unknown:
                raise ValueError(
                    f"Expected `{argument}` to name tasks of {list(names)}. Received other names: "
                    f"{unknown}."
                )
            return dict(given)
        if len(given) != len(names):
            whose = "tasks of the grouping" if names is self.tasks else "joint model's outputs"
            raise ValueError(
                f"Expected a list `{argument}` to have an entry for each of the {whose}, in this "
                f"order: {list(names)}. Received {len(given)} entries. A dict by task is never "
                "mistaken."
            )
        return dict(zip(names, given, strict=True))

    def all_outputs(self, inputs: Any, training: Iterable[int] = ()) -> list[dict[str, Any]]:
        """Return the outputs of all networks, helpers included.

        Args:
            inputs: What every network takes.
            training: The indices of the networks that run in training mode.

        Returns:
            Per network, `{task: output}`.
        """
        return [
            by_task(network(inputs, training=index in training), network, group)
            for index, (network, group) in enumerate(
                zip(self.networks, self.grouping.groups, strict=True)
            )
        ]

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Export for serving: the inputs of the networks, one named output per task.

        Args:
            filepath: Where to.
            format: As in `keras.Model.export`.
            verbose: As in `keras.Model.export`.
            input_signature: As in `keras.Model.export`. By default, for functional networks,
                their own inputs with shapes and dtypes.
            **kwargs: As in `keras.Model.export`.
        """
        if input_signature is None:
            network = self.networks[0]
            if hasattr(network, "input"):
                input_signature = [network.input]
            elif isinstance(network, keras.Sequential):
                input_signature = network.inputs
        super().export(filepath, format, verbose, input_signature=input_signature, **kwargs)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Load weights as every Keras model does; LoRA begins anew from them.

        Args:
            filepath: As in `keras.Model.load_weights`.
            skip_mismatch: As in `keras.Model.load_weights`.
            **kwargs: As in `keras.Model.load_weights`.
        """
        super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)
        for network in self.networks:
            restart_lora(network)

    def get_config(self) -> dict[str, Any]:
        """Return the grouping and the networks, so that loading needs no `build_model`."""
        return {
            **super().get_config(),
            "grouping": self.grouping.to_dict(),
            "serve": list(self.serves),
            "joint_outputs": None if self.joint_outputs is None else list(self.joint_outputs),
            "networks": [_network_config(network) for network in self.networks],
            "layers": [LayerSettings.of(net).to_config() for net in self.networks],
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "ServedNetworks":
        """Make what `get_config` describes."""
        config = dict(config)
        if "layers" not in config:
            warnings.warn(
                "The file was written before optimizers of networks were kept as they are now: "
                "weights, grouping and learning rate are read from it, but the optimizers' state "
                "(such as Adam's moments) begins anew. Predictions are the same; training that is "
                "taken up starts as after `compile`. Save the model again to keep its state.",
                stacklevel=2,
            )
        networks = [
            keras.saving.deserialize_keras_object(network, custom_objects=custom_objects)
            for network in config.pop("networks")
        ]
        # Files of before had none.
        for network, layers in zip(networks, config.pop("layers", []), strict=False):
            settings = LayerSettings.from_config(layers)
            if settings.fits(network):
                settings.apply(network)
        grouping = Grouping.from_dict(config.pop("grouping"))
        # Not in files written before it was kept.
        made = MadeNetworks(networks, config.pop("joint_outputs", None))
        return cls(grouping, made, **config)


def _network_config(network: keras.Model) -> dict[str, Any]:
    """Return a network's configuration without an optimizer of its own, which trains nothing."""
    config = dict(keras.saving.serialize_keras_object(network))
    config.pop("compile_config", None)
    return config
