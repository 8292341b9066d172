"""The decisions that a node of the search can have taken about a task.

With S the group and T the tasks it serves. OUT: not in S. FREE: nothing is decided. UNSERVED: not
in T, may be in S. TRAINED: in S, nothing decided about T. HELPER: in S, not in T. SERVED: in T. The
order matters: a task from TRAINED on is in S, a task from FREE to TRAINED is open.

The constants stand apart from `linked_decisions`, which loads numba.
"""

OUT, FREE, UNSERVED, TRAINED, HELPER, SERVED = 0, 1, 2, 3, 4, 5
