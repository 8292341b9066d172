import keras
import numpy as np
import pytest

from keras_tag.baselines import all_in_one
from keras_tag.datasets import overlaid_digits
from keras_tag.demo_training import (
    Recipe,
    StopEachNetwork,
    build_network,
    train_groups,
    train_joint,
)
from keras_tag.selection.grouping import Grouping

SHAPE = (8, 13)


class FakeNetwork:
    """Its weight is the epoch."""

    def __init__(self):
        self.weights = [np.array(-1)]

    def get_weights(self):
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights):
        self.weights = weights


class FakeModel:
    def __init__(self, grouping):
        self.grouping = grouping
        self.networks = [FakeNetwork() for _ in grouping.groups]
        self.stop_training = False


def run_callback(callback, model, networks, logs_by_epoch):
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, logs in enumerate(logs_by_epoch):
        for network in networks:
            network.set_weights([np.array(epoch)])
        callback.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    callback.on_train_end()
    return epoch


@pytest.mark.parametrize("seed", range(30))
def test_every_network_ends_as_if_early_stopping_had_watched_it_alone(seed):
    generator = np.random.default_rng(seed)
    grouping = Grouping.from_groups([("a", "b"), ("c", "a"), ("d",)])
    losses = [{f"val_{t}_loss": generator.random() for t in "abcd"} for _ in range(15)]
    patience = int(generator.integers(1, 5))

    model = FakeModel(grouping)
    last = run_callback(StopEachNetwork(patience), model, model.networks, losses)

    last_alone = []
    for index, network in enumerate(model.networks):
        alone = FakeNetwork()
        alone.stop_training = False
        logs = [
            {"val_loss": sum(of[f"val_{t}_loss"] for t in grouping.served(index))} for of in losses
        ]
        stop = keras.callbacks.EarlyStopping(
            "val_loss", patience=patience, restore_best_weights=True, mode="min"
        )
        last_alone.append(run_callback(stop, alone, [alone], logs))
        assert network.weights == alone.weights
    assert last == max(last_alone)


def test_first_weights_are_the_same_in_every_company_and_differ_between_tasks():
    alone = build_network(["a"], SHAPE, 6, seed=1)
    together = build_network(["b", "a"], SHAPE, 6, seed=1)
    trunk_alone, head_alone, _ = (alone.get_weights()[k] for k in (0, 2, 3))
    assert set(together.output) == {"a", "b"}
    np.testing.assert_array_equal(together.get_weights()[0], trunk_alone)
    heads = [w for w in together.get_weights() if w.shape == (6, 1)]
    assert sum(np.array_equal(head, head_alone) for head in heads) == 1


def test_another_seed_gives_other_first_weights():
    one, same, other = (build_network(["a"], SHAPE, 6, seed).get_weights() for seed in (1, 1, 2))
    for first, second in zip(one, same, strict=True):
        np.testing.assert_array_equal(first, second)
    assert not np.array_equal(one[0], other[0])
    assert not np.array_equal(one[2], other[2])


@pytest.mark.slow
def test_the_joint_run_is_the_all_in_one_rival():
    # What lets the demo count its probed joint run as a rival trained like the others.
    recipe = Recipe(units=8, epochs=3, every=2)

    def data():
        return overlaid_digits(2, ("loop", "odd"), train_size=200, test_size=100)

    affinity, joint = train_joint(data(), recipe, seed=0)
    grouped = train_groups(all_in_one(data().tasks), data(), recipe, seed=0)
    assert affinity.count.min() == 6
    assert joint.task_losses == pytest.approx(grouped.task_losses, rel=1e-4)
    assert joint.epochs == grouped.epochs == 3
