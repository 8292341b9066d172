"""Keras callbacks for `TAGModel` and `GroupedModel`, one per module."""

from keras_tag.callbacks.affinity_logger import AffinityLogger
from keras_tag.callbacks.backup import Backup
from keras_tag.callbacks.network_early_stopping import NetworkEarlyStopping
from keras_tag.callbacks.stop_when_stable import StopWhenStable

__all__ = ["AffinityLogger", "Backup", "NetworkEarlyStopping", "StopWhenStable"]
