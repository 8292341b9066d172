"""keras.Model -> fit -> probes: `TAGModel` and everything that a probe needs."""

from keras_tag.tag_model.model import TAGModel

__all__ = ["TAGModel"]
