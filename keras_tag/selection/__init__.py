"""Exact selection of groups. It works on NumPy arrays and never imports TensorFlow.

- `select`: `select_groups` and `budget_curve`. `problem` translates the affinities and a `Choice`,
  `grouping` is the result. `draws` chooses again for resampled affinities, `frequency` says how
  often a grouping comes out of them.
- `arguments/`: one module per argument, and `choice`, which puts them together.
- `scores/`: the value of a group, in closed form or measured.
- `solver/`: the proofs. `column_generation` runs over the networks of a `ColumnSource`: either
  `listed_groups` (all groups of up to 15 tasks, or measured ones) or `many_tasks/`;
  `measured_choice` takes measured groups of more tasks, where groups may overlap.
- `many_tasks/`: the search for networks where there are more than 15 tasks; `searched_groups` is
  its source.
- `few_trainings/`: predictions corrected by a few trained groups, and which groups to train next.
"""

from keras_tag.selection.arguments.choice import Choice
from keras_tag.selection.few_trainings.gain_model import Prior
from keras_tag.selection.few_trainings.next_trainings import groups_to_train
from keras_tag.selection.frequency import UncertainGroupsWarning
from keras_tag.selection.grouping import Grouping
from keras_tag.selection.scores.measured_groups import GroupScores
from keras_tag.selection.select import budget_curve, select_groups

__all__ = [
    "Choice",
    "GroupScores",
    "Grouping",
    "Prior",
    "UncertainGroupsWarning",
    "budget_curve",
    "groups_to_train",
    "select_groups",
]
