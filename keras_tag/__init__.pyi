"""The public names and where they are defined: for type checkers, and for `__init__.py`."""

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

__version__: str
