"""Keras's `fit` under `tf.distribute`: early errors for its limits, work-arounds across hosts.

Under `tf.distribute.MultiWorkerMirroredStrategy` Keras 3.15.1's own `fit` fails twice:

1. Before the first step it takes the mean of one nested batch over all workers, only to know its
   shapes, and the strategy can't reduce nested values.
2. It reduces the scalar logs of a step over axis 0, which scalars don't have.

The first can't be reached through public names. `tests/distribution/test_workarounds_are_needed.py`
runs plain Keras and fails as soon as a release needs neither. Both work-arounds can go then.
"""

import functools
import inspect
from typing import Any

import keras
import tensorflow as tf

from keras_tag.training.compile_spec import CompiledModel
from keras_tag.training.missing_labels import with_sentinels_kept


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Return the number of processes, on one host or several, that train together.

    Args:
        strategy: Any strategy.

    Returns:
        1, except under a `MultiWorkerMirroredStrategy` of several workers.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    return int(strategy.num_replicas_in_sync) // len(strategy.extended.worker_devices)


class DistributedModel(CompiledModel):
    """A `keras.Model` whose `fit` and `evaluate` also work across hosts.

    Attributes:
        missing: A label value that means "not labelled", next to NaN; None: NaN only.
    """

    missing: float | None = None

    @functools.wraps(keras.Model.fit)
    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Check what Keras's `fit` can do under the present strategy, and call it."""
        check_distribution(self)
        call = inspect.signature(keras.Model.fit).bind(self, *args, **kwargs)
        given = call.arguments
        given["y"] = with_sentinels_kept(given.get("y"), self.missing)
        valid = given.get("validation_data")
        if isinstance(valid, (tuple, list)) and len(valid) > 1:
            y = with_sentinels_kept(valid[1], self.missing)
            given["validation_data"] = (valid[0], y, *valid[2:])
        return super().fit(*call.args[1:], **call.kwargs)

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as Keras does."""
        call = inspect.signature(keras.Model.evaluate).bind(self, *args, **kwargs)
        call.arguments["y"] = with_sentinels_kept(call.arguments.get("y"), self.missing)
        return super().evaluate(*call.args[1:], **call.kwargs)

    def train_step(self, data: Any) -> dict[str, Any]:
        """As in `keras.Model`."""
        return self.reducible(super().train_step(data))

    def test_step(self, data: Any) -> dict[str, Any]:
        """As in `keras.Model`."""
        return self.reducible(super().test_step(data))

    def reducible(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Return the logs of a step in the shape that Keras can reduce over workers."""
        if num_workers(self.distribute_strategy) == 1:
            return logs
        return {name: tf.reshape(value, (1,)) for name, value in logs.items()}

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        strategy = self.distribute_strategy
        if iterator is not None and num_workers(strategy) > 1:
            for _, _, batches in iterator:
                # Keras uses its shapes only, which one replica's part of it has.
                data_batch = keras.tree.map_structure(
                    lambda value: strategy.experimental_local_results(value)[0], next(batches)
                )
                break
            iterator = None
        super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)


def check_distribution(model: keras.Model) -> None:
    """Check that Keras's `fit` can do what was asked for under the model's strategy.

    Args:
        model: A compiled model.

    Raises:
        ValueError: Keras can't do it, or something was made outside of the strategy's scope.
    """
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync == 1:
        return
    check_in_scope("the model", model.variables, strategy)
    steps = model.steps_per_execution
    if steps > 1:
        raise ValueError(
            "Expected steps_per_execution=1 under a distribution strategy, where Keras can't run "
            f"several steps at once. Received: steps_per_execution={steps}."
        )
    for optimizer in getattr(model.optimizer, "by_network", [model.optimizer]):
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if optimizer is None:
            continue
        check_in_scope("the optimizer", optimizer.variables, strategy)
        if optimizer.gradient_accumulation_steps:
            raise ValueError(
                "Expected an optimizer without gradient accumulation under a distribution "
                "strategy, where Keras can't decide in the graph when to step. Received: "
                f"gradient_accumulation_steps={optimizer.gradient_accumulation_steps}. Use a "
                "larger batch: the replicas share it."
            )
        if optimizer.use_ema and optimizer.ema_overwrite_frequency:
            raise ValueError(
                "Expected ema_overwrite_frequency=None under a distribution strategy, where Keras "
                "can't decide in the graph when to overwrite. Received: ema_overwrite_frequency="
                f"{optimizer.ema_overwrite_frequency}. Without it, the averages are put in place "
                "when `fit` ends."
            )


def check_in_scope(what: str, variables: Any, strategy: tf.distribute.Strategy) -> None:
    """Check that variables were made in `with strategy.scope():`.

    Args:
        what: The object that has these variables, for the error.
        variables: Keras variables.
        strategy: The strategy of the model that is trained.

    Raises:
        ValueError: Some were made elsewhere.
    """
    if strategy.num_replicas_in_sync == 1:
        return
    made = strategy.extended.variable_created_in_scope
    outside = [variable.path for variable in variables if not made(variable.value)]
    if outside:
        raise ValueError(
            f"Expected {what} to be made in the strategy's scope. Received: {len(outside)} "
            f"variables made outside of it, such as {outside[0]!r}. Build the model, wrap it and "
            "compile it inside one `with strategy.scope():`; `fit` may be called outside."
        )


def check_same_strategy(model: keras.Model, wrapper: keras.Model) -> None:
    """Check that a wrapped model and its wrapper were made under the same strategy.

    Args:
        model: The wrapped model.
        wrapper: The model around it.

    Raises:
        ValueError: They were not.
    """
    if model.distribute_strategy is wrapper.distribute_strategy:
        return
    theirs, ours = (type(m.distribute_strategy).__name__ for m in (model, wrapper))
    raise ValueError(
        f"Expected the {type(wrapper).__name__} to be made in the scope in which the wrapped model "
        f"was made. Received: a model of {theirs} and a wrapper of {ours}. Build the model, wrap "
        "it and compile it inside one `with strategy.scope():`."
    )
