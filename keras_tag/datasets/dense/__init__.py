"""A network and losses for tasks with a label for every pixel."""

from keras_tag.datasets.dense.encoder_decoder import dense_model, xception_encoder
from keras_tag.datasets.dense.labelled_loss import LabelledLoss, dense_loss

__all__ = ["LabelledLoss", "dense_loss", "dense_model", "xception_encoder"]
