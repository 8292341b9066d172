"""How sure a choice of groups is: choosing again for affinities drawn within their errors."""

from keras_tag.resampling.choosing_again import Stability, stability

__all__ = ["Stability", "stability"]
