"""Data sets as `tf.data`, with dict labels by task. TensorFlow loads when one is asked for."""

from keras_tag.datasets.digits import OverlaidDigits, compose_digits, overlaid_digits

__all__ = ["OverlaidDigits", "compose_digits", "overlaid_digits"]
