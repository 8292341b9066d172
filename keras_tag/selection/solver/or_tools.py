"""The import of OR-Tools, when it is first needed and kept apart from TensorFlow's libraries.

OR-Tools takes up to a second to import, so it is imported where it is used. And both OR-Tools and
TensorFlow bring a copy of Abseil: when TensorFlow was loaded first, OR-Tools' calls are bound to
TensorFlow's copy, and CP-SAT crashes the process (seen with OR-Tools 9.15 and TensorFlow 2.21 on
Linux). Loaded with `RTLD_DEEPBIND`, a library prefers its own symbols.
"""

import importlib
import os
import sys
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
