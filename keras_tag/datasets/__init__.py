"""Data sets as `tf.data`, with dict labels by task. TensorFlow loads when one is asked for."""

from keras_tag.datasets.digits import ComposedDigits, compose_digits
from keras_tag.datasets.overlaid import OverlaidDigits, overlaid_digits

__all__ = ["ComposedDigits", "OverlaidDigits", "compose_digits", "overlaid_digits"]
