"""Affinities as arrays: means, standard errors, history, files. Never imports TensorFlow."""

from keras_tag.affinity.affinity import Affinity

__all__ = ["Affinity"]
