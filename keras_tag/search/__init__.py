"""`GroupSearch`: from a compiled model to the best networks.

One idea carries it: the folder is the search. Everything that is known is in it, one training a
folder; objects in memory are views. So resuming, reporting from another process and asking for the
best model afterwards are the same thing: read the folder, do the next step.

| module | knows | gives |
| --- | --- | --- |
| `group_search` | settings, Keras's `fit` arguments | the object that a user holds |
| `ledger` | the folder | outcomes; nothing else writes there but a training into its own folder |
| `proposals` | outcomes, what is running, limits | the next groups: a pure function |
| `runner` | all of these | what is trained next, until limits are reached |
| `training` | one specification, which can be sent | one result |
| `workers` | an executor, or none | trainings run in its processes, or in this one |
| `networks` | a compiled model (or `build`) | a recipe for any group |
| `recipes` | what a network is made of, which can be sent | a compiled network of the group |
| `data` | what `fit` was given | batches whose order follows from a training's seed and epoch |
| `objectives` | logs | a number by task |
| `verdict` | outcomes, the gain model | the gain over the joint run, and whether it is luck |
| `outlook` | outcomes, the gain model | the gain that there is to find, and whether to go on |
| `results`, `summary`, `report` | a ledger | tables, text, HTML |
"""
