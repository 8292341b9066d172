"""`Choice`: one list of arguments behind every function that chooses groups."""

import inspect
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from keras_tag import Affinity, budget_curve, groups_to_train, select_groups, stability
from keras_tag.selection import Choice
from keras_tag.selection.arguments.choice import ChoiceArguments, GroupArguments

AFFINITY = Affinity.from_array(np.eye(3), ["a", "b", "c"], rows="source")
JOINT = {("a", "b", "c"): {"a": 0.3, "b": 0.3, "c": 0.3}}
CALLS = {
    select_groups: lambda **choice: select_groups(AFFINITY, 2, **choice),
    budget_curve: lambda **choice: budget_curve(AFFINITY, [2], **choice),
    stability: lambda **choice: stability(AFFINITY, 2, **choice),
    groups_to_train: lambda **choice: groups_to_train(AFFINITY, JOINT, 2, **choice),
}
LISTED = {groups_to_train: GroupArguments}
named = pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)


def test_the_typed_dictionary_and_the_dataclass_have_the_same_names():
    assert {field.name for field in fields(Choice)} == ChoiceArguments.__annotations__.keys()


@named
def test_help_lists_every_argument_with_its_default(function):
    shown = inspect.signature(function).parameters
    kind = LISTED.get(function, ChoiceArguments)
    for field in fields(Choice):
        assert (field.name in shown) == (field.name in kind.__annotations__)
        if field.name in shown:
            assert shown[field.name].default == field.default
    assert not any(p.kind is p.VAR_KEYWORD for p in shown.values())


@named
def test_a_misspelt_argument_is_refused_with_the_names_that_exist(function):
    with pytest.raises(TypeError) as refused:
        CALLS[function](min_sise=2)
    text = str(refused.value)
    assert text.startswith(f"{function.__name__}() got an unexpected keyword argument 'min_sise'")
    assert "Did you mean 'min_size'?" in text
    for name in LISTED.get(function, ChoiceArguments).__annotations__:
        assert name in text


@pytest.mark.parametrize("name", ["score", "alone", "costs", "risk"])
def test_what_trained_groups_do_not_read_is_refused(name):
    with pytest.raises(TypeError, match=f"argument {name!r}"):
        CALLS[groups_to_train](**{name: None})


def test_links_from_a_generator_hold_for_every_budget():
    links = (pair for pair in [("a", "b")])
    curve = budget_curve(AFFINITY, [1, 2, 3], must_link=links)
    assert all(
        ("a" in group) == ("b" in group) for grouping in curve.values() for group in grouping.groups
    )


def test_a_choice_is_checked_when_it_is_made_and_frozen():
    with pytest.raises(ValueError, match="min_size=0"):
        Choice(min_size=0)
    with pytest.raises(FrozenInstanceError):
        Choice().min_size = 2  # type: ignore[misc]
