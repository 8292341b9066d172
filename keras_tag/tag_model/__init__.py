"""`TAGModel`, which trains a Keras model and probes it, and the parts of a probe."""

from keras_tag.tag_model.model import TAGModel
from keras_tag.tag_model.model_check import ModelCheck

__all__ = ["ModelCheck", "TAGModel"]
