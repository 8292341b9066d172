# %% [markdown]
# # 2. Choosing groups from a matrix: budgets, constraints, costs
#
# `GroupSearch` (notebook 1) measures, trains and chooses. This notebook looks at the choice alone. It
# takes a matrix of *affinities*: how much a training step for one task (row) lowers the loss of another
# (column). The matrix may come from `search.affinity()`, from a file or from a paper; no training and
# no TensorFlow are needed, and every answer takes seconds. The constraints below are arguments of
# `GroupSearch` as well.

# %%
import numpy as np
import pandas as pd

import keras_tag
from keras_tag import plotting, select_groups

tasks = ["depth", "normals", "edges", "corners", "faces", "text"]
matrix = pd.DataFrame(
    [
        [0.050, 0.031, 0.004, 0.002, 0.001, 0.000],
        [0.028, 0.046, 0.010, 0.003, 0.000, 0.001],
        [0.005, 0.012, 0.060, 0.038, 0.002, 0.016],
        [0.001, 0.004, 0.035, 0.052, 0.001, 0.012],
        [0.002, 0.000, 0.001, 0.002, 0.040, 0.006],
        [0.000, 0.001, 0.014, 0.013, 0.005, 0.045],
    ],
    index=tasks,
    columns=tasks,
)
affinity = keras_tag.Affinity.from_frame(matrix, rows="source")
ax = plotting.plot_affinity(affinity)

# %% [markdown]
# `rows="source"` says that a row is the task whose step it was. Published tables also have it the
# other way round (`rows="target"`), and the groups depend on it; so there is no default.
#
# ## The best groups for a budget
#
# The *budget* is how many networks may be served. The answer is the best of all possible groupings, by
# proof. A grouping is scored by what each task keeps: the mean over its group's members i of
# Z[i, j] / Z[j, j], the progress that a step for i gives to task j, relative to a step for j itself.
# A task alone in its network scores 1. (`score="partners"` is the paper's score: the mean of Z[i, j] over
# the other members.)

# %%
grouping = select_groups(affinity, budget=3)
grouping

# %%
ax = plotting.plot_groups(grouping)

# %% [markdown]
# ## What does one more network bring?

# %%
ax = plotting.plot_budget_curve(keras_tag.budget_curve(affinity, range(1, 7)))

# %% [markdown]
# ## Constraints
#
# Constraints are part of the problem that is solved. If no grouping meets them, the error names them.

# %%
with_rules = select_groups(
    affinity,
    budget=3,
    overlap=False,  # Every task is trained in one network only.
    max_size=2,
    weights={"faces": 2.0},  # This task counts twice.
    must_link=[("edges", "text")],
    cannot_link=[("depth", "normals")],
)
print(with_rules)
try:
    select_groups(affinity, 1, cannot_link=[("depth", "normals")])
except ValueError as error:
    print("\n", error)

# %% [markdown]
# ## Costs
#
# Without costs the budget counts networks. With costs it is what they may cost together, in any unit:
# here a network costs 0.4 for its shared layers and 0.1 for every task.

# %%
priced = select_groups(affinity, budget=1.6, costs={k: 0.4 + 0.1 * k for k in range(1, 7)})
print(priced, "\ncost", round(priced.cost, 2))

# %% [markdown]
# ## How sure is the choice?
#
# Measured affinities have errors. `stability` draws affinities again within these errors, and counts
# how often the same groups are chosen. A matrix from one table has no errors; here we make up
# three noisy measurements of it, and combine them.

# %%
noise = np.random.default_rng(0).normal(0, 0.004, size=(3, 6, 6))
runs = [keras_tag.Affinity.from_frame(matrix + part, rows="source") for part in noise]
measured = keras_tag.Affinity.combine(runs)
stability = keras_tag.stability(measured, budget=3, replicates=100)
print(stability)
ax = plotting.plot_stability(stability)

# %% [markdown]
# Dark cells with an orange frame and pale cells without one are sure. A cell in between is a pair that
# may be together by chance: measure it with more probes or more runs, or train both groupings.
#
# ## If the groups have been trained
#
# Then nothing has to be predicted. `GroupScores` holds what each network reached, and the same solver
# chooses. Standley et al. trained all 31 groups of five Taskonomy tasks, and single networks of half the
# size at half the cost:

# %%
trained = keras_tag.datasets.published("taskonomy_standley")
for budget, found in keras_tag.budget_curve(trained.scores, [1, 2, 3]).items():
    print(f"{budget}: total loss {found.objective:.4f}  {found.groups}")

# %% [markdown]
# ## From the command line
#
# ```
# keras-tag select affinity.csv --rows source --budget 3 --cannot-link depth,normals
# keras-tag plot affinity.csv --rows source --out affinity.png
# ```
#
# Groups that are the best by affinities alone are a prediction, and on some data a bad one. Where a few
# trainings can be paid for, let `GroupSearch` train some groups and choose by their losses.
