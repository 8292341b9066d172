"""Every public name of `keras_tag` exists."""

import keras_tag


def test_every_public_name_is_there():
    for name in keras_tag.__all__:
        assert getattr(keras_tag, name) is not None
    assert set(keras_tag.__all__) <= set(dir(keras_tag))


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(keras_tag, "ThereIsNoSuchThing")
