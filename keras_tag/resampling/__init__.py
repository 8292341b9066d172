"""The stability of a choice of groups when affinities are resampled within their errors."""

from keras_tag.resampling.choosing_again import Stability, stability

__all__ = ["Stability", "stability"]
