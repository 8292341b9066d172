import numpy as np
import pytest

from benchmarks.demo_comparison.training import Recipe, train_groups, train_joint
from keras_tag.baselines import all_in_one
from keras_tag.datasets import overlaid_digits
from keras_tag.demo.network import build_network

SHAPE = (8, 13)


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
