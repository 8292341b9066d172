"""Decisions about a task together with all that links make of them, compiled."""

import numpy as np

from keras_tag.selection.many_tasks.numba_jit import compiled
from keras_tag.selection.many_tasks.search_state import (
    FREE,
    HELPER,
    OUT,
    SERVED,
    TRAINED,
    UNSERVED,
    SearchProblem,
)


@compiled
def put_out(problem: SearchProblem, state: np.ndarray, task: int) -> bool:
    """Leave out `task` and every task that is tied to it; return False if that can't be."""
    block = problem.block
    for other in range(len(state)):
        if block[other] == block[task]:
            if state[other] >= TRAINED:
                return False
            state[other] = OUT
    return True


@compiled
def put_in(problem: SearchProblem, state: np.ndarray, task: int, code: int) -> bool:
    """Train `task` and every task that is tied to it; leave out those that it can't meet.

    Return False if that can't be.
    """
    block, overlap = problem.block, problem.overlap
    if state[task] == OUT:
        return False
    state[task] = code
    for other in range(len(state)):
        if block[other] == block[task] and other != task:
            if state[other] == OUT or (state[other] == UNSERVED and not overlap):
                return False
            if state[other] == FREE:
                state[other] = TRAINED if overlap else SERVED
            elif state[other] == UNSERVED:
                state[other] = HELPER
    for member in range(len(state)):
        if block[member] == block[task]:
            for other in range(len(state)):
                clash = problem.conflict[member, other] and state[other] != OUT
                if clash and not put_out(problem, state, other):
                    return False
    return True
