"""Other ways to choose groups, to compare with a selected grouping. Never imports TensorFlow."""

from keras_tag.baselines.cost import GroupingCost, grouping_cost
from keras_tag.baselines.groupings import all_in_one, random_groups, single_task

__all__ = ["GroupingCost", "all_in_one", "grouping_cost", "random_groups", "single_task"]
