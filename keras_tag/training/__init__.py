"""The base of every Keras model of this package: losses by task, strategies, workers."""
