import keras
import numpy as np
import pytest
from dense_rooms import dense_model, xception_encoder

from keras_tag import GroupedModel, Grouping, TAGModel, build_from

CHANNELS = {"depth": 1, "normal": 3}


@pytest.mark.parametrize("widths", [(4,), (4, 6), (4, 6, 8)])
def test_every_task_gets_its_channels_at_the_size_of_the_image(widths):
    model = dense_model(CHANNELS, (16, 24, 3), encoder=xception_encoder(widths), decoder_width=4)
    outputs = model(np.zeros((2, 16, 24, 3), "float32"))
    assert {task: output.shape for task, output in outputs.items()} == {
        "depth": (2, 16, 24, 1),
        "normal": (2, 16, 24, 3),
    }


def test_what_is_shared_is_the_encoder_and_nothing_else():
    model = dense_model(CHANNELS, (8, 8, 3), encoder=xception_encoder((4, 6)), decoder_width=4)
    tag = TAGModel(model)
    tag.compile("sgd", loss="mae")
    rng = np.random.default_rng(0)
    x = rng.random((2, 8, 8, 3)).astype("float32")
    y = {task: rng.normal(size=(2, 8, 8, n)).astype("float32") for task, n in CHANNELS.items()}
    assert np.isfinite(tag.measure_affinity(x, y)).all()
    shared = {variable.path for variable in tag.shared_variables}
    assert shared == {v.path for v in model.trainable_variables if v.path.startswith("encoder_")}
    assert len(shared) < len(model.trainable_variables)


@pytest.mark.slow
def test_any_backbone_of_keras_applications_may_be_the_encoder():
    backbone = keras.applications.MobileNetV3Small(
        input_shape=(32, 32, 3), alpha=0.25, include_top=False, weights=None, minimalistic=True
    )
    model = dense_model(CHANNELS, (32, 32, 3), encoder=backbone, decoder_width=4)
    assert model(np.zeros((1, 32, 32, 3), "float32"))["depth"].shape == (1, 32, 32, 1)
    mine = {id(v) for v in model.trainable_variables}
    theirs = {id(v) for v in backbone.trainable_variables}
    assert theirs <= mine
    # All of it is shared, and networks cut from the model have one each.
    tag = TAGModel(model, lookahead="first_order")
    tag.compile("sgd", loss="mae")
    x = np.random.default_rng(0).random((2, 32, 32, 3)).astype("float32")
    tag.measure_affinity(x, {t: np.ones((2, 32, 32, n), "float32") for t, n in CHANNELS.items()})
    assert {id(v) for v in tag.shared_variables} == theirs
    grouping = Grouping.from_groups([("depth",), ("normal",)])
    served = GroupedModel(grouping, build_from(model))
    assert served.predict(x, verbose=0)["normal"].shape == (2, 32, 32, 3)
    per_network = [len(network.trainable_variables) for network in served.networks]
    assert min(per_network) > len(theirs)


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"becomes 20 x 20 by doubling.*3 x 3.*multiple"):
        dense_model(CHANNELS, (20, 20, 3))
    with pytest.raises(ValueError, match="at least one task"):
        dense_model({}, (16, 16, 3))
