"""Task Affinity Groupings (TAG) for Keras 3: find the tasks that should train together.

    keras.Model -> TAGModel.fit -> Affinity -> select_groups -> Grouping -> GroupedModel

`GroupSearch` goes all of that way in one call, and trains a few groups to choose among them.

Names are loaded when they are first used, so that `keras_tag.select_groups` on a matrix from a
file never imports TensorFlow. Where Keras is imported already, the classes that its files hold are
loaded at once: `keras.models.load_model` finds them.

Reference:
    Fifty, Amid, Zhao, Yu, Anil, Finn, "Efficiently Identifying Task Groupings for Multi-Task
    Learning", NeurIPS 2021, arXiv:2109.04617.
"""

import importlib
import pkgutil
import re
import sys
from typing import Any

__version__ = "0.1.0"

# Public name -> the module that defines it, from the lines that type checkers read. The package
# may be in a zip archive.
_LINES = (pkgutil.get_data(__name__, "__init__.pyi") or b"").decode("utf-8")
_HOMES = {name: module for module, name in re.findall(r"^from (\S+) import (\w+)", _LINES, re.M)}
# The modules that register classes with Keras.
_REGISTERED = ("tag_model", "grouped_model", "training.output_columns")

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'keras_tag' has no attribute {name!r}")
    if _HOMES[name] == "keras_tag":
        return importlib.import_module(f"keras_tag.{name}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if "keras" in sys.modules and sys.modules["keras"].backend.backend() == "tensorflow":
    for _module in _REGISTERED:
        importlib.import_module(f"keras_tag.{_module}")
