"""Exact group selection. Knows arrays only: nothing below here imports TensorFlow."""

from keras_tag.selection.budget_curves import budget_curve
from keras_tag.selection.exact_selection import select_groups
from keras_tag.selection.group_scores import GroupScores
from keras_tag.selection.grouping import Grouping
from keras_tag.selection.next_trainings import groups_to_train
from keras_tag.selection.verification import verify

__all__ = ["GroupScores", "Grouping", "budget_curve", "groups_to_train", "select_groups", "verify"]
