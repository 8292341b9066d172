"""OR-Tools, imported when it is first needed, apart from TensorFlow's libraries; a CP-SAT solver.

OR-Tools takes up to a second to import, so it is imported where it is used. And both OR-Tools and
TensorFlow bring a copy of Abseil: when TensorFlow was loaded first, OR-Tools' calls are bound to
TensorFlow's copy, and CP-SAT crashes the process (seen with OR-Tools 9.15 and TensorFlow 2.21 on
Linux). Loaded with `RTLD_DEEPBIND`, a library prefers its own symbols.
"""

import importlib
import math
import os
import sys
from time import monotonic
from typing import Any


def load(module: str) -> Any:
    """Import a module of OR-Tools.

    Args:
        module: Its name, such as "ortools.sat.python.cp_model".

    Returns:
        The module.
    """
    flags = getattr(os, "RTLD_DEEPBIND", None)
    if module in sys.modules or flags is None:
        return importlib.import_module(module)
    before = sys.getdlopenflags()
    sys.setdlopenflags(before | flags)
    try:
        return importlib.import_module(module)
    finally:
        sys.setdlopenflags(before)


def cp_solver(deadline: float) -> Any:
    """Return a CP-SAT solver that proves its answer, the same one every time.

    Args:
        deadline: When to give up, in `time.monotonic` seconds.
    """
    solver = load("ortools.sat.python.cp_model").CpSolver()
    # One worker and a fixed seed: with two, the answer among ties changed from run to run.
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.absolute_gap_limit = 0
    solver.parameters.relative_gap_limit = 0
    # Below 2 its linear relaxation leaves out "at least one": then 15 seconds were too few to prove
    # that no fewer than three groups of at most four tasks cover twelve; with it 0.1 are enough.
    solver.parameters.linearization_level = 2
    if deadline < math.inf:
        solver.parameters.max_time_in_seconds = max(0.01, deadline - monotonic())
    return solver
