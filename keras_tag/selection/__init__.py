"""Exact group selection. Knows arrays only: nothing below here imports TensorFlow."""

from keras_tag.selection.budget_curves import budget_curve
from keras_tag.selection.exact_selection import select_groups
from keras_tag.selection.group_scores import GroupScores
from keras_tag.selection.grouping import Grouping
from keras_tag.selection.verification import verify

__all__ = ["GroupScores", "Grouping", "budget_curve", "select_groups", "verify"]
