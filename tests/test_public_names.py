"""Every public name of `keras_tag` exists."""

import ast
from pathlib import Path

import keras_tag


def test_every_public_name_is_there():
    for name in keras_tag.__all__:
        assert getattr(keras_tag, name) is not None
    assert set(keras_tag.__all__) <= set(dir(keras_tag))


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(keras_tag, "ThereIsNoSuchThing")


def test_type_checkers_see_the_same_names_in_the_same_modules():
    """Names are loaded when they are first used, which type checkers can't follow."""
    tree = ast.parse(Path(keras_tag.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {name.name: node.module for node in block.body for name in node.names}
    modules = {name: "keras_tag" for name in keras_tag._MODULES}
    assert seen == {**keras_tag._HOMES, **modules}
