"""The base of every Keras model of this package: losses by task, strategies, workers."""

from keras_tag.training.backend import check_backend

check_backend()
