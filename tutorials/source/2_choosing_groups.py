# %% [markdown]
# # 2. Choosing groups: budgets, constraints, costs, and how sure it is
#
# Training has been done, an affinity was measured. Everything here takes that matrix and nothing
# else: no TensorFlow, no GPU, seconds. We use the tables that were published with the papers, so
# that you can play before you have trained anything.

# %%
import matplotlib.pyplot as plt
import numpy as np

import keras_tag
from keras_tag import budget_curve, plotting, select_groups

table = keras_tag.datasets.published("celeba_tag")
print(table)
ax = plotting.plot_affinity(table.affinity)

# %% [markdown]
# ## Two scores
#
# A grouping is as good as the sum over the tasks of a score in the group that serves them. For task
# j in group S:
#
# | `score` | formula | a lone task |
# | --- | --- | --- |
# | `"partners"`, the paper's | mean of Z[i, j] over the *other* members i | forbidden |
# | `"members"`, the default | mean of Z[i, j] / Z[j, j] over *all* members | 1 |
#
# Unrelated tasks have affinities about 0, not below. Under "partners" a task without friends loses
# nothing among strangers, so weak tasks are dumped together. "members" counts which share of its
# own progress a task keeps in that company: strangers always cost. It divides by the diagonal, and
# the published table was not made for that; here we stay with the paper's.

# %%
grouping = select_groups(table.affinity, budget=3, score="partners")
grouping  # The published numbers are negative in sum, in a unit of their own: only order counts.

# %%
ax = plotting.plot_groups(grouping)

# %% [markdown]
# A filled box: the network trains the task and serves it. An open box: the task is trained there
# only because it helps the others.
#
# ## What does one more network buy?
#
# `budget_curve` solves for many budgets at once. Every point is proven to be the best.

# %%
curve = budget_curve(table.affinity, range(1, 8), score="partners")
ax = plotting.plot_budget_curve(curve)

# %% [markdown]
# ## Constraints
#
# Each is part of the problem that is solved, not a filter on the answer. If nothing meets them, the
# error says so and names them.

# %%
with_wishes = select_groups(
    table.affinity,
    budget=3,
    score="partners",
    overlap=False,  # Every task is trained once.
    max_size=4,
    weights={"Wearing_Hat": 2.0},
    cannot_link=[("Goatee", "Mustache")],
)
print(with_wishes)
try:
    select_groups(table.affinity, 1, score="partners", cannot_link=[("Goatee", "Mustache")])
except ValueError as error:
    print("\n", error)

# %% [markdown]
# ## Costs
#
# Without costs the budget counts networks. With them it is what they may cost together, in any
# unit: here a network costs 0.4 for its trunk and 0.1 for each head.

# %%
priced = select_groups(
    table.affinity, budget=2.1, score="partners", costs={k: 0.4 + 0.1 * k for k in range(1, 10)}
)
print(priced, "\ncosts", priced.cost)

# %% [markdown]
# ## How sure is it?
#
# An affinity is a mean over some batches of one training run. `tag.affinity()` comes with standard
# errors (a table doesn't), and `stability` asks: if the affinities were other ones within their
# errors, would the same groups be chosen? We make up three runs of six tasks to see it.

# %%
rng = np.random.default_rng(0)
friends = np.kron(np.eye(2), np.full((3, 3), 0.5)) + 0.1
friends[2, 3:] = friends[3:, 2] = 0.6  # The third task sits on the fence.
np.fill_diagonal(friends, 1.0)
names = ["depth", "normals", "edges", "classes", "faces", "text"]
runs = [
    keras_tag.Affinity.from_array(friends + rng.normal(0, 0.2, (6, 6)), names, rows="source")
    for _ in range(3)
]
measured = keras_tag.Affinity.combine(runs)
ax = plotting.plot_affinity(measured, errors=True)

# %%
stability = keras_tag.stability(measured, budget=2, replicates=100)
print(stability)
ax = plotting.plot_stability(stability)

# %% [markdown]
# Read it like this: dark with an orange frame, or pale without one, is sure. Anything in between may
# be luck, as it is with `edges`, who has friends on both sides. What to do: more probes (`every=`), more seeds (`Affinity.combine`), or a careful choice,
# in which friendships count only as far as they are sure:

# %%
select_groups(measured, budget=2, risk=1.0)

# %% [markdown]
# ## If you have trained the groups
#
# Then no prediction is needed. `GroupScores` holds what each network achieved, and the same solver
# chooses. Standley et al. trained all 31 groups of five Taskonomy tasks, and single networks of half
# the size at half the cost:

# %%
trained = keras_tag.datasets.published("taskonomy_standley")
budgets = [1, 1.5, 2, 2.5, 3]
best = budget_curve(trained.scores, budgets)
for budget, found in best.items():
    print(f"{budget}: total loss {found.objective:.4f}  {found.groups}")

# %% [markdown]
# ## Be careful with orientation
#
# A published matrix may have whose *update* in its rows, or whose *loss*. `rows=` must be said, and
# it may matter. For TAG's own table of Taskonomy even the code and the numbers disagree: loading
# `published("taskonomy_tag")` warns of it (silenced here). Both readings happen to give the same groups;
# don't count on that.

# %%
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for place, rows in zip(axes, ("source", "target"), strict=True):
        doubtful = keras_tag.datasets.published("taskonomy_tag", rows=rows).affinity
        plotting.plot_affinity(doubtful, place)
        groups = select_groups(doubtful, 2, score="partners").groups
        place.set_title(" | ".join(",".join(group) for group in groups), fontsize=8)

# %% [markdown]
# ## From the command line
#
# ```
# keras-tag select affinity.npz --budget 3
# keras-tag select table.csv --rows source --budget 3 --score partners --json
# keras-tag plot affinity.npz --kind stability --budget 3 --out stability.png
# ```
