"""From files to a served model: every loader through the whole path."""

import celeb_a_likeness as likeness
import keras
import numpy as np
import pytest
from dense_rooms import dense_model, write_scenes, xception_encoder

import keras_tag
from keras_tag.datasets import celeb_a, taskonomy


@pytest.mark.slow
def test_celeb_a_from_its_files_to_a_served_model(tmp_path):
    likeness.write_files(tmp_path / "files", {"train": 96, "validation": 32, "test": 32})
    likeness.prepare(tmp_path / "files", tmp_path / "data")
    tasks = ("Black_Hair", "Blond_Hair", "Wearing_Hat", "Mustache")
    data = celeb_a(tasks, image_size=16, batch_size=16, data_dir=tmp_path / "data")

    keras.utils.set_random_seed(0)
    inputs = keras.Input(data.image_shape)
    h = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    h = keras.layers.Flatten()(h)
    model = keras.Model(inputs, {t: keras.layers.Dense(1, "sigmoid", name=t)(h) for t in tasks})
    loss = dict.fromkeys(tasks, "binary_crossentropy")
    tag = keras_tag.TAGModel(model, every=2)
    tag.compile(keras.optimizers.Adam(0.01), loss=loss)
    tag.fit(data.train, validation_data=data.validation, epochs=8, verbose=0)
    affinity = tag.affinity()
    assert affinity.tasks == tasks
    assert not affinity.unmeasured
    assert (np.diag(affinity.mean) > 0).all()

    grouping = keras_tag.select_groups(affinity, budget=2)
    served = keras_tag.GroupedModel(grouping, keras_tag.build_from(model))
    served.compile(keras.optimizers.Adam(0.01), loss=loss, metrics=dict.fromkeys(tasks, "accuracy"))
    served.fit(data.train, validation_data=data.validation, epochs=12, verbose=0)
    report = served.report(data.test, joint=model)
    # Learnt, not just run: a drawn hat is easily seen. By chance the mean is about 0.6.
    assert report["accuracy"].mean() > 0.75
    served.save(tmp_path / "served.keras")
    loaded = keras.models.load_model(tmp_path / "served.keras")
    for task, output in loaded.predict(data.test, verbose=0).items():
        np.testing.assert_allclose(
            output, served.predict(data.test, verbose=0)[task], rtol=1e-5, atol=1e-6
        )


@pytest.mark.slow
def test_taskonomy_from_its_files_to_a_served_model(tmp_path):
    splits = write_scenes(tmp_path, buildings=4, points=6, views=2, image_size=16)
    tasks = ("segment_semantic", "normal", "edge_texture")
    data = taskonomy(tmp_path, tasks, image_size=16, batch_size=8, splits=splits)

    keras.utils.set_random_seed(0)
    model = dense_model(
        data.channels, data.image_shape, encoder=xception_encoder((8, 12)), decoder_width=8
    )
    tag = keras_tag.TAGModel(model, every=3)
    tag.compile(keras.optimizers.Adam(0.01), loss=data.losses())
    before = tag.evaluate(data.test, verbose=0, return_dict=True)
    history = tag.fit(data.train, validation_data=data.validation, epochs=8, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    affinity = tag.affinity()
    assert affinity.tasks == data.tasks
    assert not affinity.unmeasured
    assert (np.diag(affinity.mean) > 0).all()

    grouping = keras_tag.select_groups(affinity, budget=2)
    served = keras_tag.GroupedModel(grouping, keras_tag.build_from(model))
    served.compile(keras.optimizers.Adam(0.01), loss=data.losses())
    served.fit(data.train, validation_data=data.validation, epochs=12, verbose=0)
    after = served.evaluate(data.test, verbose=0, return_dict=True)
    assert set(served.serves) == set(data.tasks)
    # Rooms of a building that was never seen.
    assert after["loss"] < 0.8 * before["loss"]
    served.save(tmp_path / "served.keras")
    loaded = keras.models.load_model(tmp_path / "served.keras")
    images = np.concatenate([x for x, _ in data.test.as_numpy_iterator()])
    expected = served.predict(images, verbose=0)
    for task, output in loaded.predict(images, verbose=0).items():
        np.testing.assert_allclose(output, expected[task], rtol=1e-4, atol=1e-5)
