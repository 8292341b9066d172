"""Other ways to choose groups, to compare with a selected grouping. Never imports TensorFlow."""

from keras_tag.baselines.cost import GroupingCost, grouping_cost
from keras_tag.baselines.groupings import all_in_one, random_groups, single_task
from keras_tag.baselines.powers_of_size import shared_step, shortlist
from keras_tag.baselines.published import cosine_groups, exhaustive_groups, tag_groups
from keras_tag.baselines.trained_pairs import extrapolate_pairs, pairwise_groups

__all__ = [
    "GroupingCost",
    "all_in_one",
    "cosine_groups",
    "exhaustive_groups",
    "extrapolate_pairs",
    "grouping_cost",
    "pairwise_groups",
    "random_groups",
    "shared_step",
    "shortlist",
    "single_task",
    "tag_groups",
]
