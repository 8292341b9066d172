"""`TAGModel`, which trains a Keras model and probes it, and the parts of a probe."""

from keras_tag.tag_model.model import TAGModel

__all__ = ["TAGModel"]
