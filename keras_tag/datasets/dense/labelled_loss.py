"""Losses that leave out pixels whose label is NaN, for plain Keras models.

`TAGModel` and `GroupedModel` leave missing labels out of any loss. These losses do the same by
themselves and give the same numbers, so one `compile(loss=...)` is right for all three.
"""

from typing import Any

import keras

from keras_tag.training.keras_masks import mask_of, with_mask


@keras.saving.register_keras_serializable(package="keras_tag")
class LabelledLoss(keras.losses.Loss):
    """A Keras loss over the labels that are not missing: NaN stands for a missing label.

    Axes that the loss reduces by itself, such as the last axis of a surface normal, make one label,
    which is missing when any part of it is. The value is the mean over the labels that are not
    missing, and 0 if all are.

    Args:
        loss: A Keras loss: a name such as "mae", a function, or a `keras.losses.Loss`.
        name: As in `keras.losses.Loss`.
        reduction: "sum_over_batch_size", "sum" or None.
        dtype: As in `keras.losses.Loss`.

    Raises:
        ValueError: Another reduction.

    Example:
        >>> loss = LabelledLoss("mae")
        >>> float(loss([[[1.0], [float("nan")]]], [[[0.5], [9.0]]]))
        0.5
    """

    def __init__(
        self,
        loss: Any = "mean_absolute_error",
        name: str = "labelled_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        if reduction not in ("sum_over_batch_size", "sum", None):
            raise ValueError(
                "Expected `reduction` to be 'sum_over_batch_size', 'sum' or None. Received: "
                f"reduction={reduction!r}."
            )
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.loss = keras.losses.get(loss)
        if self.loss is None:
            raise ValueError(f"Expected `loss` to be a Keras loss. Received: loss={loss!r}.")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return values with zeros where a label is missing, and the others scaled up to the mean.

        Args:
            y_true: Labels, NaN where missing.
            y_pred: Predictions.

        Returns:
            The values that the loss has not reduced by itself, `[batch, height, width]` for images.
        """
        ops = keras.ops
        absent = ops.isnan(y_true)
        # Before the loss: NaN times zero is NaN, also in a gradient.
        y_true = ops.where(absent, ops.zeros_like(y_true), y_true)
        call = self.loss.call if isinstance(self.loss, keras.losses.Loss) else self.loss
        values = call(y_true, y_pred)
        if len(values.shape) < len(absent.shape):
            absent = ops.any(absent, axis=list(range(len(values.shape), len(absent.shape))))
        labelled = ops.logical_not(absent)
        mask = mask_of(values)
        # Keras multiplies it with the mask of `y_pred`, and divides a mean by what both leave in.
        return with_mask(values, labelled if mask is None else ops.logical_and(labelled, mask))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        return {
            **super().get_config(),
            "loss": keras.saving.serialize_keras_object(self.loss),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LabelledLoss":
        """Rebuild the loss from `get_config`."""
        config = dict(config)
        config["loss"] = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**config)


def dense_loss(*, classes: bool) -> LabelledLoss:
    """Return the paper's loss of a dense task.

    Args:
        classes: True: cross-entropy of logits against class indices. False: L1.

    Returns:
        A loss that leaves missing labels out.
    """
    if classes:
        inner = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return LabelledLoss(inner, name="labelled_cross_entropy")
    return LabelledLoss("mean_absolute_error", name="labelled_l1")
