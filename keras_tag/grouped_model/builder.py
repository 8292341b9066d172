"""`build_from`: a `build_model` for `GroupedModel`, derived from the joint model."""

from collections.abc import Mapping, Sequence
from typing import get_args

import keras
import numpy as np

from keras_tag.copying.functional_outputs import named_outputs
from keras_tag.copying.model_copy import ModelCopier, Start
from keras_tag.tag_model import TAGModel


def build_from(
    model: keras.Model, *, start: Start = "fresh", verbose: bool = True
) -> "NetworkBuilder":
    """Derive `build_model` from a functional model with all the tasks.

    Each call of what is returned makes a new network for some of the tasks: the part of the
    model's graph that they need. Inputs are all kept, because every network is given the same data.
    The network has everything of the model that training would not make anew: adapted
    preprocessing (such as the mean of `Normalization` or a vocabulary), frozen weights, the
    `trainable` flag of every layer at any depth, LoRA and quantisation. `start` says what the rest
    starts with.

    The model is read once, by this call: what it learns afterwards changes no network.

    Args:
        model: A functional Keras model with one named output per task: a dict of outputs, or a
            list named by its output layers; or a `TAGModel` of one. It is left as it is.
        start: What the weights start with that training makes. "fresh": the initial values of a
            new model, others for every network. "trunk": the model's present values of what at
            least two tasks use, the heads fresh. "all": the model's present values. "initial": the
            model's values before its training. Of a `TAGModel` that has been fit, these are what
            it had when `fit` was first called; of any other model, its present values.
        verbose: Whether the first call prints a line that says what the networks start with.

    Returns:
        `build_model(tasks)`, for `GroupedModel`. It can be pickled.

    Raises:
        ValueError: The model is not functional, so its graph is not known; two of its outputs have
            one name; a layer can't be made again from its configuration; `start` is unknown, or
            "initial" and the initial weights of the `TAGModel` are not known.

    Example:
        >>> tag = keras_tag.TAGModel(joint)
        >>> ...
        >>> served = keras_tag.GroupedModel(grouping, keras_tag.build_from(joint, start="trunk"))
    """
    if start not in get_args(Start):
        raise ValueError(f"Expected `start` to be one of {get_args(Start)}. Received: {start!r}.")
    initial = _initial_weights(model) if start == "initial" else None
    inner = model.model if isinstance(model, TAGModel) else model
    return NetworkBuilder(inner, start=start, verbose=verbose, initial=initial)


class NetworkBuilder:
    """Makes new networks for some tasks of a joint model; see `build_from`.

    Args:
        model: A functional model.
        start: As in `build_from`.
        verbose: As in `build_from`.
        initial: For each weight of the model, its value before training; None: the present one.

    Attributes:
        tasks: The names of the model's outputs, in the model's order.
        start: As given.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        start: Start,
        verbose: bool = True,
        initial: Sequence[np.ndarray] | None = None,
    ) -> None:
        outputs = named_outputs(model)
        self.tasks = tuple(outputs)
        # Keras pairs lists with a dict of outputs by its sorted keys.
        self._by_key = isinstance(model.output, Mapping)
        self.start = start
        self.verbose = verbose
        whole = keras.Model(model.input, outputs)
        self._copier = ModelCopier(whole, start)
        if initial is not None:
            before = {id(w): value for w, value in zip(model.weights, initial, strict=True)}
            self._copier.values = [before[id(weight)] for weight in whole.weights]
        self._announced = False

    @property
    def output_names(self) -> list[str]:
        """The names of the model's outputs, in the order in which Keras reads lists for them."""
        return sorted(self.tasks) if self._by_key else list(self.tasks)

    def __call__(self, tasks: Sequence[str]) -> keras.Model:
        """Make a new network.

        Args:
            tasks: Some of `tasks`.

        Returns:
            A functional model with the outputs `{task: output}`.

        Raises:
            ValueError: A task that is no output of the model.
        """
        unknown = [task for task in tasks if task not in self.tasks]
        if unknown:
            raise ValueError(
                f"Expected tasks that are outputs of the model: {list(self.tasks)}. "
                f"Received: {list(tasks)}; unknown: {unknown}."
            )
        if self.verbose and not self._announced:
            self._announced = True
            print(self._summary())
        copy = self._copier.copy()
        return keras.Model(copy.input, {task: copy.output[task] for task in tasks})

    def _summary(self) -> str:
        keep = self._copier.keep
        return (
            f"build_from(start={self.start!r}): networks start with {sum(keep)} of the joint "
            f"model's {len(keep)} weights, {len(keep) - sum(keep)} are fresh."
        )


def _initial_weights(model: keras.Model) -> Sequence[np.ndarray] | None:
    """Return a fitted `TAGModel`'s weights before its training; None for the present ones."""
    if not isinstance(model, TAGModel):
        return None
    if model.initial_weights:
        return list(model.initial_weights)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and int(optimizer.iterations) > 0:
        raise ValueError(
            "Expected a TAGModel that knows its weights from before its training, with "
            "start='initial'. Received one that was trained before it was loaded, or whose "
            "`initial_weights` were not kept. Call `build_from(tag, start='initial')` before "
            "`fit`, or use another `start`."
        )
    return None
