import numpy as np
import pytest

from keras_tag import Objective
from keras_tag.search.objectives import LossScale, objectives_by_task

TASKS = ("age", "smile")


def test_the_default_is_the_validation_loss():
    assert objectives_by_task(None, TASKS) == {
        "age": Objective("val_age_loss", "min"),
        "smile": Objective("val_smile_loss", "min"),
    }


def test_errors_are_known_to_be_better_when_less():
    found = objectives_by_task({"age": "val_age_mae"}, TASKS)
    assert found["age"] == Objective("val_age_mae", "min")
    assert found["smile"] == Objective("val_smile_loss", "min")


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"smile": "val_smile_auc"}, r"never guessed.*Objective\('val_smile_auc', 'max'\)"),
        ({"smile": "val_smile_accuracy"}, "never guessed"),
        ({"age": "val_smile_mae"}, "begins with 'val_age_'"),
        ({"age": "age_mae"}, "begins with 'val_age_'"),
        ({"age": 3}, "begins with 'val_age_'"),
        ({"hair": "val_hair_mae"}, r"others: \['hair'\]"),
        ("val_age_mae", "dict by task"),
    ],
)
def test_what_is_not_certain_is_refused(objective, message):
    with pytest.raises(ValueError, match=message):
        objectives_by_task(objective, TASKS)


def test_a_direction_is_min_or_max():
    with pytest.raises(ValueError, match="'min' or 'max'"):
        Objective("val_age_mae", "up")


@pytest.mark.parametrize(
    ("direction", "values"),
    [
        ("min", [0.3, 0.5, 2.0]),
        ("min", [-4.0, -3.5, 0.0, 0.2]),
        ("max", [0.7, 0.85, 0.0]),
        ("max", [0.7, 1.0]),
        ("max", [-2.0, 31.0]),
        ("min", [0.0, 0.0]),
    ],
)
def test_losses_are_positive_and_in_the_order_of_the_objective(direction, values):
    objective = Objective("val_age_x", direction)
    scale = LossScale.of(objective, values, values[0])
    losses = np.array([scale.loss(value) for value in values])
    assert (losses > 0).all()
    inside = [objective.inside(value) for value in values]
    assert (np.argsort(losses) == np.argsort(inside)).all()


@pytest.mark.parametrize(("direction", "values"), [("min", [0.5]), ("max", [0.8]), ("min", [-0.5])])
def test_worth_is_the_slope_of_the_objective_against_the_log_loss(direction, values):
    scale = LossScale.of(Objective("val_age_x", direction), values, values[0])
    value, step = values[0], 1e-5
    slope = step / (np.log(scale.loss(value + step)) - np.log(scale.loss(value)))
    assert scale.worth(value) == pytest.approx(abs(slope), rel=1e-3)


@pytest.mark.parametrize(
    ("direction", "value", "better"), [("min", 0.5, 0.1), ("max", 0.8, 0.95), ("min", -0.5, -2.0)]
)
def test_the_gain_of_a_change_is_the_difference_of_the_values(direction, value, better):
    scale = LossScale.of(Objective("val_age_x", direction), [value, better], value)
    change = np.log(scale.loss(better) / scale.loss(value))
    assert scale.gain(value, change) == pytest.approx(abs(better - value))
