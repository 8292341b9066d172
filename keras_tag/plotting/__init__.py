"""Plots of affinities, groups, budgets and stability, on matplotlib `Axes`. No TensorFlow."""

from keras_tag.plotting.budgets import plot_budget_curve
from keras_tag.plotting.dynamics import plot_dynamics
from keras_tag.plotting.groups import groups_size, plot_groups
from keras_tag.plotting.heatmap import plot_affinity
from keras_tag.plotting.style import affinity_size
from keras_tag.plotting.together import plot_stability

__all__ = [
    "affinity_size",
    "groups_size",
    "plot_affinity",
    "plot_budget_curve",
    "plot_dynamics",
    "plot_groups",
    "plot_stability",
]
