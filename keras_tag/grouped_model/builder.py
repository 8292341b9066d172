"""`build_from`: a `build_model` for `GroupedModel`, derived from the joint model."""

from collections.abc import Callable, Mapping, Sequence

import keras

from keras_tag.tag_model import TAGModel


def build_from(model: keras.Model) -> Callable[[Sequence[str]], keras.Model]:
    """Derive `build_model` from a functional model with all the tasks.

    The returned function cuts the graph down to what the asked outputs need and makes new layers
    with the same names and configurations, and fresh weights. Inputs are all kept, because every
    network is given the same data.

    Args:
        model: A functional Keras model with one named output per task: a dict of outputs, or a
            list named by its output layers; or a `TAGModel` of one. It is left as it is.

    Returns:
        `build_model(tasks)`, for `GroupedModel`.

    Raises:
        ValueError: The model is not functional, so its graph is not known.

    Example:
        >>> tag = keras_tag.TAGModel(joint)
        >>> ...
        >>> served = keras_tag.GroupedModel(grouping, keras_tag.build_from(joint))
    """
    model = model.model if isinstance(model, TAGModel) else model
    outputs = getattr(model, "output", None)
    functional = keras.Model(model.input, outputs) if outputs is not None else None
    if functional is None or type(model).call is not type(functional).call:
        raise ValueError(
            "Expected `model` to be a functional Keras model (keras.Model(inputs, outputs)), whose "
            f"graph can be cut. Received: model={model!r} of type {type(model).__name__}. "
            "For a subclassed model write a function `build_model(tasks)` that returns a new model "
            "with these outputs."
        )
    if isinstance(outputs, Mapping):
        named = dict(outputs)
    else:
        flat = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        named = dict(zip(model.output_names, flat, strict=True))

    def build_model(tasks: Sequence[str]) -> keras.Model:
        unknown = [task for task in tasks if task not in named]
        if unknown:
            raise ValueError(
                f"Expected tasks that are outputs of model {model.name!r}: {list(named)}. "
                f"Received: {list(tasks)}; unknown: {unknown}."
            )
        part = keras.Model(model.input, {task: named[task] for task in tasks})
        return keras.models.clone_model(part)

    return build_model
