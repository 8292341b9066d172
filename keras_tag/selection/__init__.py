"""Exact group selection. Knows arrays only: nothing below here imports TensorFlow.

What is asked: `exact_selection`, `budget_curves`, `verification`; `measured_pairs`, `constraints`,
`costs`, `lone_tasks` and `robust_affinity` check one argument each; `problem` puts them together.

What a group is worth: `group_score` ("members" and the paper's "partners"), `scores` (functions),
`group_scores` (measured), `gain_model` and `next_trainings` (a few trainings correct affinities).

How it is solved: `column_generation` is the road to the proof, over `columns` from a `group_table`
(all groups, up to 15 tasks) or `served_sets` (searched for); `master_problem` prices them and
`exact_cover` decides in CP-SAT through `or_tools`. A first solution comes from `feasible_cover` and
`local_search`; `best_cover` chooses many times over, for `stability`.

The search for a network: `ascent` quickly, `group_search` and `branch_and_bound` exactly, with the
bounds of `pair_shares`, `best_groups` and `largest`, the decisions of `decisions` and
`linked_decisions`; all through `compiled`.

What is given back: `grouping`, with `chosen_with` as its metadata.
"""

from keras_tag.selection.budget_curves import budget_curve
from keras_tag.selection.few_trainings.next_trainings import groups_to_train
from keras_tag.selection.grouping import Grouping
from keras_tag.selection.scores.measured_groups import GroupScores
from keras_tag.selection.select import select_groups
from keras_tag.selection.verification import verify

__all__ = ["GroupScores", "Grouping", "budget_curve", "groups_to_train", "select_groups", "verify"]
