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
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> the module that defines it. Modules are public names of their own.
_HOMES = {
    "TAGModel": "keras_tag.tag_model",
    "ModelCheck": "keras_tag.tag_model",
    "Affinity": "keras_tag.affinity",
    "select_groups": "keras_tag.selection",
    "Grouping": "keras_tag.selection",
    "GroupScores": "keras_tag.selection",
    "budget_curve": "keras_tag.selection",
    "groups_to_train": "keras_tag.selection",
    "stability": "keras_tag.resampling",
    "UncertainGroupsWarning": "keras_tag.selection",
    "Stability": "keras_tag.resampling",
    "GroupedModel": "keras_tag.grouped_model",
    "build_from": "keras_tag.grouped_model",
    "GroupSearch": "keras_tag.search.group_search",
    "Objective": "keras_tag.search.objectives",
    "RayExecutor": "keras_tag.search.ray_executor",
    "split_outputs": "keras_tag.training.output_columns",
    "worker_path": "keras_tag.training.workers",
}
_MODULES = ("baselines", "callbacks", "datasets", "plotting")
# The modules that register classes with Keras.
_REGISTERED = ("tag_model", "grouped_model", "training.output_columns")

__all__ = ["__version__", *_HOMES, *_MODULES]

# The same for type checkers; `tests/test_public_names.py` holds that it is.
if TYPE_CHECKING:
    from keras_tag import baselines as baselines
    from keras_tag import callbacks as callbacks
    from keras_tag import datasets as datasets
    from keras_tag import plotting as plotting
    from keras_tag.affinity import Affinity as Affinity
    from keras_tag.grouped_model import GroupedModel as GroupedModel
    from keras_tag.grouped_model import build_from as build_from
    from keras_tag.resampling import Stability as Stability
    from keras_tag.resampling import stability as stability
    from keras_tag.search.group_search import GroupSearch as GroupSearch
    from keras_tag.search.objectives import Objective as Objective
    from keras_tag.search.ray_executor import RayExecutor as RayExecutor
    from keras_tag.selection import Grouping as Grouping
    from keras_tag.selection import GroupScores as GroupScores
    from keras_tag.selection import UncertainGroupsWarning as UncertainGroupsWarning
    from keras_tag.selection import budget_curve as budget_curve
    from keras_tag.selection import groups_to_train as groups_to_train
    from keras_tag.selection import select_groups as select_groups
    from keras_tag.tag_model import ModelCheck as ModelCheck
    from keras_tag.tag_model import TAGModel as TAGModel
    from keras_tag.training.output_columns import split_outputs as split_outputs
    from keras_tag.training.workers import worker_path as worker_path


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"keras_tag.{name}")
    raise AttributeError(f"module 'keras_tag' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if "keras" in sys.modules and sys.modules["keras"].backend.backend() == "tensorflow":
    for _module in _REGISTERED:
        importlib.import_module(f"keras_tag.{_module}")
