"""A network and a loss for tasks with a label for every pixel."""

from keras_tag.datasets.dense.dense_model import dense_model
from keras_tag.datasets.dense.labelled_loss import LabelledLoss, dense_loss

__all__ = ["LabelledLoss", "dense_loss", "dense_model"]
