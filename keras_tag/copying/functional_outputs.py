"""The outputs of a functional model by task."""

from typing import Any

import keras

from keras_tag.training.outputs_by_name import outputs_by_name


def named_outputs(model: keras.Model) -> dict[str, Any]:
    """Return the symbolic outputs of a functional model by task.

    Args:
        model: Any Keras model.

    Raises:
        ValueError: The model is not functional, so its graph is not known; or two of its outputs
            have one name, or are nested.
    """
    outputs = getattr(model, "output", None)
    functional = None
    if outputs is not None:
        # With a name of its own, models that are made later would get other names.
        functional = keras.Model(model.input, outputs, name=model.name)
    if functional is None or type(model).call is not type(functional).call:
        raise ValueError(
            "Expected `model` to be a functional Keras model (keras.Model(inputs, outputs)), whose "
            f"graph can be cut. Received: model={model!r} of type {type(model).__name__}. "
            "For a subclassed model write a function `build_model(tasks)` that returns a new model "
            "with these outputs."
        )
    return outputs_by_name(outputs, model.output_names)
