"""`sources_per_probe`: some rows per probe, each exact, all in turn."""

import keras
import numpy as np
import pytest
from tag_models import LOSS, TASKS, data, heads, mlp, relative

from keras_tag import TAGModel

L = keras.layers


def partly_shared():
    """Task "c" does not use a layer that "a" and "b" share: its step must not move it."""
    inputs = keras.Input((6,))
    h = L.Dense(8, "tanh", name="trunk")(inputs)
    deeper = L.Dense(8, "tanh", name="deeper")(h)
    outputs = heads(deeper)
    outputs["c"] = L.Dense(1, name="own_c")(h)
    return keras.Model(inputs, outputs)


def compiled(build, optimizer, seed=0, **kwargs):
    keras.utils.set_random_seed(seed)
    tag = TAGModel(build(), every=1, **kwargs)
    loss = {"a": "mse", "b": "binary_crossentropy", "c": keras.losses.Huber()}
    tag.compile(optimizer, loss=loss)
    return tag


@pytest.mark.parametrize("build", [mlp, partly_shared])
@pytest.mark.parametrize(
    ("lookahead", "optimizer", "steps"),
    [
        ("gradient", lambda: keras.optimizers.SGD(0.1), 1),
        ("gradient", lambda: keras.optimizers.SGD(0.1), 2),
        ("optimizer", lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1), 1),
        ("optimizer", lambda: keras.optimizers.SGD(0.05, momentum=0.9), 2),
    ],
)
@pytest.mark.usefixtures("float64")
def test_every_row_is_that_of_the_full_probe_of_the_same_step(build, lookahead, optimizer, steps):
    x, y = data(8 * 6)
    kwargs = {"lookahead": lookahead, "steps": steps}
    rows, full = (
        compiled(build, optimizer(), sources_per_probe=sources, **kwargs) for sources in (2, None)
    )
    for step in range(6):
        batch = slice(8 * step, 8 * step + 8)
        part = x[batch], {name: value[batch] for name, value in y.items()}
        measured = []
        for tag in (rows, full):
            tag.reset_affinity()
            tag.train_on_batch(*part)
            measured.append(tag.affinity())
        # Two tasks in turn out of three: 0 1, 2 0, 1 2, 0 1, ...
        sources = sorted({2 * step % 3, (2 * step + 1) % 3})
        others = [task for task in range(3) if task not in sources]
        assert relative(measured[0].mean[sources], measured[1].mean[sources]) < 1e-9
        assert (measured[0].count[sources] == 1).all()
        assert (measured[0].count[others] == 0).all()


def test_a_run_measures_every_pair_equally_often_in_one_graph():
    x, y = data(64)
    tag = compiled(mlp, "adam", sources_per_probe=1)
    traces = []
    compute_loss = tag.compute_loss
    tag.compute_loss = lambda *args, **kwargs: traces.append(1) or compute_loss(*args, **kwargs)
    tag.fit(x, y, batch_size=16, epochs=1, verbose=0)
    in_the_first_epoch = len(traces)
    tag.fit(x, y, batch_size=16, epochs=2, verbose=0)
    assert len(traces) == in_the_first_epoch  # No second trace, whichever the source.
    assert tag.probes == 12
    np.testing.assert_array_equal(tag.affinity().count, 4)


def test_training_is_not_disturbed():
    x, y = data(64)
    ends = []
    for sources in (None, 1):
        tag = compiled(mlp, "adam", sources_per_probe=sources)
        tag.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
        ends.append(tag.model.get_weights())
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_turn_goes_on_after_loading(tmp_path):
    x, y = data(16)
    first = compiled(mlp, "adam", sources_per_probe=2)
    first.train_on_batch(x, y)
    first.save(tmp_path / "tag.keras")
    again = keras.saving.load_model(tmp_path / "tag.keras")
    assert again.sources_per_probe == 2
    again.train_on_batch(x, y)
    np.testing.assert_array_equal(again.affinity().count, np.outer([2, 1, 1], [1, 1, 1]))
    assert again.affinity().tasks == TASKS


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"sources_per_probe": 0}, "at least 1"),
        ({"sources_per_probe": 1, "lookahead": "cosine"}, "multiplies the gradients"),
        ({"sources_per_probe": 1, "reuse_gradients": True}, "needs the gradients"),
    ],
)
def test_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        TAGModel(mlp(), **kwargs)


def test_more_sources_than_tasks_are_all_tasks():
    x, y = data(16)
    tag = compiled(mlp, "sgd", sources_per_probe=20)
    tag.train_on_batch(x, y)
    np.testing.assert_array_equal(tag.affinity().count, 1)
    assert set(LOSS) == set(tag.tasks)
