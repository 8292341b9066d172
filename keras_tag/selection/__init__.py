"""Exact group selection. Knows arrays only: nothing below here imports TensorFlow."""

from keras_tag.selection.exact_selection import select_groups
from keras_tag.selection.group_scores import GroupScores
from keras_tag.selection.grouping import Grouping

__all__ = ["GroupScores", "Grouping", "select_groups"]
