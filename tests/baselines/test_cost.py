from itertools import combinations

import pytest

from keras_tag.baselines import grouping_cost


def counted_passes(num_tasks, num_steps, every, lookahead):
    """Walk through a joint run and count what each step does."""
    forward = backward = 0
    for step in range(num_steps):
        forward += 1
        backward += 1
        if step % every == 0:
            for _ in range(num_tasks):
                backward += 1
                forward += lookahead == "gradient"
    return forward, backward


@pytest.mark.parametrize("every", [1, 5, 25])
@pytest.mark.parametrize("lookahead", ["gradient", "first_order"])
@pytest.mark.parametrize("price", [1.0, 2.0])
def test_tags_cost_is_what_counting_the_passes_of_a_run_gives(every, lookahead, price):
    forward, backward = counted_passes(7, 100, every, lookahead)
    cost = grouping_cost(7, every=every, lookahead=lookahead, backward=price)
    assert cost.tag == pytest.approx((forward + price * backward) / (100 * (1 + price)))


@pytest.mark.parametrize("num_tasks", [2, 5, 9])
def test_the_rivals_cost_as_many_runs_as_they_train_groups(num_tasks):
    cost = grouping_cost(num_tasks)
    tasks = range(num_tasks)
    sizes = {size: len(list(combinations(tasks, size))) for size in range(1, num_tasks + 1)}
    assert cost.pairs == sizes[1] + sizes[2]
    assert cost.exhaustive == sum(sizes.values())


def test_probing_every_25th_step_is_32_times_cheaper_than_pairs_at_nine_tasks():
    often, seldom = (grouping_cost(9, every=every) for every in (10, 25))
    assert seldom.pairs > 32 * seldom.tag
    assert often.pairs < 32 * often.tag


def test_a_saved_joint_pass_is_counted():
    plain, reused = grouping_cost(4, every=1), grouping_cost(4, every=1, reuse_gradients=True)
    assert plain.tag - reused.tag == 0.5


def test_losses_on_other_data_take_one_forward_pass_more():
    plain, other = grouping_cost(4, every=2), grouping_cost(4, every=2, probe_data=True)
    assert other.tag - plain.tag == 0.25


def test_a_joint_run_is_the_unit_of_what_is_printed():
    assert "exhaustive search: 31.00" in str(grouping_cost(5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_tasks": 1}, "`num_tasks` to be a whole number of at least 2"),
        ({"num_tasks": 3, "every": 0}, "`every` to be a whole number of at least 1"),
        ({"num_tasks": 3, "steps": 1.5}, "`steps` to be"),
        ({"num_tasks": 3, "lookahead": "cosinus"}, "'gradient', 'optimizer'"),
        ({"num_tasks": 3, "backward": 0}, "`backward` to be positive"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        grouping_cost(**arguments)
