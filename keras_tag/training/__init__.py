"""What every Keras model of this package stands on: losses by task, strategies, workers."""
