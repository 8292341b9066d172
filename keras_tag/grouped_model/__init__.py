"""Grouping -> fit -> predict: `GroupedModel` and the networks that it is made of."""

from keras_tag.grouped_model.builder import build_from
from keras_tag.grouped_model.model import GroupedModel

__all__ = ["GroupedModel", "build_from"]
