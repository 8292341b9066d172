"""Networks of a search have nothing of one another: each starts as the model that was given."""

import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from toys import TASKS, compiled, data, network

import keras_tag
from keras_tag.grouped_model import GroupedModel
from keras_tag.grouped_model.network_optimizers import copy_of
from keras_tag.search.data import Source
from keras_tag.search.ledger import Outcome
from keras_tag.search.loss_states import changed_by_losses
from keras_tag.search.networks import Networks
from keras_tag.search.objectives import objectives_by_task
from keras_tag.search.proposals import Problem
from keras_tag.search.recipes import FromConfig
from keras_tag.search.resuming import Resume
from keras_tag.search.training import FitSettings, Training
from keras_tag.training.kept_attributes import unsaid_arguments

X, Y = data(64)
GROUP = ("depth", "edges")


def networks_of(model=None, build=None, tasks=TASKS):
    made = Networks(model, build, tasks, "initial", None)
    made.inputs = Source(X, Y).inputs()
    return made


def train(model):
    model.train_on_batch(X, {task: Y[task] for task in model.tasks})


class Counting(keras.losses.Loss):
    """A loss that keeps state in every way that one may."""

    def __init__(self):
        super().__init__()
        self.calls = keras.Variable(0.0, trainable=False)
        self.again = tf.Variable(0.0, trainable=False)
        self.noise = keras.random.SeedGenerator(3)
        self.inside = keras.layers.Dense(1)
        self.difference = self.plain

    def plain(self, y_true, y_pred):
        self.calls.assign_add(1.0)
        self.again.assign_add(1.0)
        keras.random.normal((), seed=self.noise)
        return keras.ops.mean(keras.ops.square(y_true - y_pred), -1)

    def call(self, y_true, y_pred):
        return self.difference(y_true, y_pred)

    def state(self):
        return float(self.calls), float(self.again), self.noise.state.numpy().tolist()


def test_a_loss_that_keeps_state_is_another_one_in_every_network():
    own = Counting()
    before = own.state()
    made = networks_of(compiled(loss=own))
    first, second = (made.recipe(GROUP).model() for _ in range(2))
    train(first)
    assert own.state() == second.loss["depth"].state() == before
    assert first.loss["depth"].state() != before
    # Keras's own: the tasks that have a loss together have its state together.
    assert first.loss["depth"] is first.loss["edges"]
    assert first.loss["depth"].inside is own.inside
    del own.noise, own.difference  # Keras's seeds can't be sent to another process.
    sent = pickle.loads(pickle.dumps(made.recipe(GROUP).parts["loss"]))
    assert float(sent["depth"].make().calls) == 0.0
    tag, evaluated = made.joint(None)
    assert evaluated.networks[0] is tag.model
    assert evaluated.loss["depth"] is tag.loss["depth"]


OUTSIDE = keras.Variable(0.0, trainable=False)
OF_TENSORFLOW = tf.Variable(0.0, trainable=False)


def squared(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred), -1)


def counted(y_true, y_pred):
    OUTSIDE.assign_add(1.0)
    return squared(y_true, y_pred)


def counted_by_tensorflow(y_true, y_pred):
    OF_TENSORFLOW.assign_add(1.0)
    return squared(y_true, y_pred)


def eager_only(y_true, y_pred):
    return keras.ops.mean(np.square(y_true.numpy() - y_pred.numpy()), -1)


class CountingOutside(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return counted(y_true, y_pred)


@pytest.mark.parametrize("own", [counted, counted_by_tensorflow, CountingOutside()])
def test_a_variable_that_losses_of_all_networks_would_change_is_refused(own, tmp_path):
    model = compiled(loss={**dict.fromkeys(TASKS, "mse"), "depth": own})
    search = keras_tag.GroupSearch(model, 2, directory=tmp_path)
    with pytest.raises(ValueError, match=r"outside of the loss .* of the tasks \['depth'\]"):
        search.search(X, Y, validation_split=0.5)
    assert float(OUTSIDE) == float(OF_TENSORFLOW) == 0.0
    assert not search.results_folder.joinpath("search.json").exists()


@pytest.mark.parametrize(
    ("own", "resumes"),
    [
        ("mse", True),
        (keras.losses.Huber(), True),
        (squared, True),
        (Counting(), False),
        (eager_only, False),
    ],
)
def test_a_training_whose_loss_keeps_state_begins_anew(own, resumes, tmp_path, monkeypatch):
    def fit(model, *args, callbacks, **kwargs):
        assert any(isinstance(callback, Resume) for callback in callbacks) == resumes
        raise StopIteration

    loss = {**dict.fromkeys(TASKS, "mse"), "depth": own}
    made = networks_of(compiled(loss=loss, run_eagerly=own is eager_only))
    made.check_losses(Source(X, Y))
    monkeypatch.setattr(GroupedModel, "fit", fit)
    monkeypatch.setattr(keras_tag.TAGModel, "fit", fit)
    problem = Problem(TASKS, 2, objectives_by_task(None, TASKS))
    settings = FitSettings(problem, Source(X, Y), Source(X, Y), {}, ())
    for outcome, networks in (
        (Outcome(1, "searched", GROUP), None),
        (Outcome(0, "joint", TASKS), made),
    ):
        training = Training(outcome, tmp_path, made.recipe(GROUP), settings, networks=networks)
        with pytest.raises(StopIteration):
            training.run()


def test_seconds_of_failed_attempts_are_counted(tmp_path):
    made = networks_of(compiled())
    problem = Problem(TASKS, 2, objectives_by_task(None, TASKS))
    settings = FitSettings(problem, Source(X, Y), Source(X, Y), {"verbose": 0}, ())
    asked = Outcome(1, "searched", GROUP, attempt=1, seconds=100.0)
    done = Training(asked, tmp_path, made.recipe(GROUP), settings).run().outcome
    assert done.seconds > 100.0


def test_losses_of_keras_need_no_batch():
    """Data behind a function are loaded once per training, and not a second time for a look."""
    made = networks_of(compiled()).joint(None)[1]
    assert changed_by_losses(made, pytest.fail) == set()


def test_the_learning_rate_of_one_network_is_not_anothers():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    for rate in (0.1, schedule):
        made = networks_of(compiled(optimizer=keras.optimizers.SGD(rate)))
        first = made.recipe(GROUP).model()
        if rate is not schedule:
            first.optimizer.learning_rate = 7.0
        train(first)
        second = made.recipe(GROUP).model()
        assert float(second.optimizer.learning_rate) == pytest.approx(0.1)
        assert float(first.optimizer.learning_rate) != pytest.approx(0.1)


@keras.saving.register_keras_serializable("tests")
class Above(keras.metrics.Mean):
    """A metric whose configuration lacks its argument, as those of many have it."""

    def __init__(self, threshold=0.5, name="above", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.threshold = threshold


class Halved(keras.optimizers.SGD):
    def __init__(self, share=0.5, **kwargs):
        super().__init__(**kwargs)
        self._share = share


@keras.saving.register_keras_serializable("tests")
class Stairs(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, first, height=0.5):
        super().__init__()
        self.first, self.height = first, height

    def __call__(self, step):
        return self.first - self.height * keras.ops.cast(step, "float32")

    def get_config(self):
        return {"first": self.first}


@pytest.mark.parametrize(
    ("compile", "message"),
    [
        ({"metrics": {"depth": [Above(0.9)]}}, r"Above, whose `get_config` leaves out \['thresh"),
        ({"weighted_metrics": {"depth": [Above(0.9)]}}, "Above"),
        ({"optimizer": Halved(0.9)}, r"Halved with other values of \['share'\]"),
        ({"optimizer": keras.optimizers.SGD(Stairs(0.1, 0.2))}, r"values of \['height'\]"),
    ],
)
def test_what_would_silently_be_made_anew_with_defaults_is_refused(compile, message):
    with pytest.raises(ValueError, match=message):
        networks_of(compiled(**compile)).describe()

    def build(tasks):
        model = network()
        only = {task: model.output[task] for task in tasks}
        model = keras.Model(model.input, only)
        model.compile(**{"optimizer": "sgd", "loss": dict.fromkeys(tasks, "mse"), **compile})
        return model

    with pytest.raises(ValueError, match=message):
        networks_of(build=build).recipe(TASKS).model()


def kinds(module, base):
    found = (getattr(module, name) for name in dir(module))
    return {kind for kind in found if isinstance(kind, type) and issubclass(kind, base)} - {base}


def test_what_keras_brings_is_not_refused():
    lost = {  # By Keras; they are refused.
        keras.metrics.CosineSimilarity: ["axis"],
    }
    needs = {
        "MeanMetricWrapper": {"fn": keras.losses.mean_squared_error},
        "PrecisionAtRecall": {"recall": 0.5},
        "RecallAtPrecision": {"precision": 0.5},
        "SensitivityAtSpecificity": {"specificity": 0.5},
        "SpecificityAtSensitivity": {"sensitivity": 0.5},
        "IoU": {"num_classes": 2, "target_class_ids": [0]},
        "BinaryIoU": {},
        "MeanIoU": {"num_classes": 2},
        "OneHotIoU": {"num_classes": 2, "target_class_ids": [0]},
        "OneHotMeanIoU": {"num_classes": 2},
        "MeanRelativeError": {"normalizer": [1.0]},
    }
    for kind in kinds(keras.metrics, keras.metrics.Metric):
        made = kind(**needs.get(kind.__name__, {}))
        if kind in lost:
            assert unsaid_arguments(made) == lost[kind]
        else:
            assert FromConfig.of_metric(made).make().get_config() == made.get_config()
    for kind in kinds(keras.optimizers, keras.optimizers.Optimizer):
        if "optimizer" not in kind.__name__.lower():  # These wrap others.
            copy_of(kind())


class Steps(keras.Model):
    def train_step(self, data):
        return super().train_step(data)


def test_a_model_with_steps_of_its_own_is_refused():
    model = network()
    model = Steps(model.input, model.output)
    model.compile("sgd", loss=dict.fromkeys(TASKS, "mse"))
    with pytest.raises(ValueError, match="overrides `train_step`"):
        keras_tag.GroupSearch(model, 2)


def test_every_argument_of_compile_reaches_every_network():
    model = compiled(
        run_eagerly=True, steps_per_execution=2, weighted_metrics={t: ["mae"] for t in TASKS}
    )
    made = networks_of(model).recipe(GROUP).model()
    assert made.run_eagerly
    assert made.steps_per_execution == 2
    assert {"depth_mae", "edges_mae"} <= set(made.evaluate(X, Y, verbose=0, return_dict=True))
    # Keras compiles no step by XLA once a test of this process made operations deterministic.
    for given in (compiled(jit_compile=True), compiled(jit_compile=False)):
        made = networks_of(given).recipe(GROUP).model()
        assert made.jit_compile is given.jit_compile


@pytest.mark.parametrize("scaled", [True, False])
def test_losses_are_scaled_where_the_given_model_scales_them(scaled):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        made = networks_of(compiled(auto_scale_loss=scaled))
        several = [
            made.recipe(GROUP).model().optimizer.by_network[0],
            made.joint(None)[0].optimizer,
        ]
    finally:
        keras.config.set_dtype_policy("float32")
    for optimizer in several:
        assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer) == scaled
        inner = getattr(optimizer, "inner_optimizer", None)
        assert not isinstance(inner, keras.optimizers.LossScaleOptimizer)


def test_the_split_off_rows_are_the_last_for_every_seed_with_their_weights():
    weights = {task: np.arange(64.0, dtype="float32") for task in TASKS}
    train, valid = Source(X, Y, weights, 16, True, TASKS).split(0.25)
    for seed in (1, 2):
        for part, expected in ((train, range(48)), (valid, range(48, 64))):
            seen = []
            for x, y, weight in part.batches(seed).data.as_numpy_iterator():
                rows = weight["edges"].astype(int)
                np.testing.assert_array_equal(x, X[rows])
                np.testing.assert_array_equal(y["edges"], Y["edges"][rows])
                seen.extend(rows)
            assert sorted(seen) == list(expected)
            assert (seen == list(expected)) == (part is valid)
