"""Data sets as `tf.data` with dict labels by task, and published tables of affinities.

TensorFlow is imported when a data set is made.
"""

from keras_tag.datasets.celeb_a_attributes import NINE_ATTRIBUTES, CelebA, celeb_a
from keras_tag.datasets.celeb_a_files import prepare_celeb_a
from keras_tag.datasets.digits import ComposedDigits, compose_digits
from keras_tag.datasets.overlaid import OverlaidDigits, overlaid_digits
from keras_tag.datasets.published_tables import PublishedTable, published
from keras_tag.datasets.taskonomy_views import FIVE_TASKS, Taskonomy, taskonomy

__all__ = [
    "FIVE_TASKS",
    "NINE_ATTRIBUTES",
    "CelebA",
    "ComposedDigits",
    "OverlaidDigits",
    "PublishedTable",
    "Taskonomy",
    "celeb_a",
    "compose_digits",
    "overlaid_digits",
    "prepare_celeb_a",
    "published",
    "taskonomy",
]
