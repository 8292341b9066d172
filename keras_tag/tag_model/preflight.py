"""`TAGModel.check`: a preflight on one batch."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.tag_model import checks
from keras_tag.tag_model.first_batch import FirstBatch
from keras_tag.tag_model.model_check import ModelCheck, SharedWeights, TaskCheck
from keras_tag.tag_model.probe import OneProbe, state_of
from keras_tag.tag_model.probe_cost import numbers, probe_cost
from keras_tag.tag_model.probe_graph import check_probe_graph
from keras_tag.tag_model.prober import Prober
from keras_tag.tag_model.promises import (
    can_be_cut,
    can_be_saved,
    plain_keras,
    repeatable,
)
from keras_tag.tag_model.sharing import Sharing
from keras_tag.tag_model.suggestions import of_cost, of_labels, of_losses, of_steps
from keras_tag.tag_model.wrapping_model import WrappingModel
from keras_tag.training.compile_spec import compile_arguments
from keras_tag.training.dropped_updates import DroppedUpdates
from keras_tag.training.missing_labels import TaskLabels, absent_labels
from keras_tag.training.task_losses import Labels, TaskLosses

# A step that is too long is made shorter by this factor, at most so many times.
_SHORTER, _TIMES = 4.0, 8


class CheckedModel(WrappingModel):
    """A `WrappingModel` whose data and settings can be checked before it is trained."""

    missing: float | None
    _prober: Prober

    def check(
        self, x: Any, y: Any = None, sample_weight: Any = None, *, batch_size: int | None = None
    ) -> ModelCheck:
        """Check on one batch, in some seconds, what training will find; nothing is trained.

        Says which tasks and labels are seen, which weights are shared, what holds for this model
        (training bit for bit as plain Keras, reproducible probes, `build_from`, saving), what a
        probe will cost, and what to do where something does not hold.

        Weights, optimizer, statistics, metrics, seeds and the record of affinities stay as they
        are. A model or optimizer that was not built is built, as `fit` would build it.

        Args:
            x: What `fit` gets: arrays, or a batched `tf.data.Dataset` or `PyDataset`, whose first
                batch is taken. A dataset that shuffles anew in every epoch goes on as after one
                epoch more.
            y: The labels, with arrays.
            sample_weight: The sample weights, with arrays.
            batch_size: As for `fit`: 32 by default. Of longer arrays so many rows are taken, evenly
                spread.

        Returns:
            A `ModelCheck`, which prints as text.

        Raises:
            ValueError: Where `fit` would raise as well: the model is not compiled, the data do not
                fit it, there are fewer than two tasks, no two of them share a trainable weight, or
                a layer or loss writes a `tf.Variable`.

        Example:
            >>> inputs = keras.Input((4,))
            >>> trunk = keras.layers.Dense(8, "relu")(inputs)
            >>> model = keras.Model(inputs, {name: keras.layers.Dense(1)(trunk) for name in "ab"})
            >>> tag = keras_tag.TAGModel(model)
            >>> tag.compile("adam", loss={"a": "mse", "b": "mse"})
            >>> x = np.random.default_rng(0).normal(size=(320, 4))
            >>> found = tag.check(x, {"a": x[:, :1], "b": x[:, 1:2]})
            >>> [task.labelled for task in found.tasks], found.promise("build_from").holds
            ([32, 32], True)
        """
        checks.check_compiled(self, "check")
        checks.check_supported(self)
        batch = FirstBatch.of(x, y, sample_weight, batch_size, self.missing)
        return checked(self, self._prober, batch)


def checked(model: Any, prober: Prober, batch: FirstBatch) -> ModelCheck:
    """Check a compiled `TAGModel` on a batch.

    Args:
        model: The `TAGModel`.
        prober: Its prober.
        batch: The batch.
    """
    inner = model.model
    data, query = prober.prepare(batch.data), prober.query()
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)

    def forward() -> tuple[Any, TaskLosses]:
        with DroppedUpdates(state_of(inner)):
            y_pred = model(x, training=True)
        return y_pred, prober.compiled.losses_of(y_pred)

    def traced() -> None:
        y_pred, losses = forward()
        with DroppedUpdates():
            losses(losses.labels(y, y_pred, sample_weight), y_pred)
        check_probe_graph(())

    if not model.run_eagerly:
        # Before anything runs that could write a variable of TensorFlow.
        tf.function(traced, autograph=False).get_concrete_function()
    with _explained(y):
        y_pred, losses = forward()
        labels = losses.labels(y, y_pred, sample_weight)
        look = functools.partial(prober.probe_once, data, query)
        sources = list(range(len(losses.tasks)))[: model.sources_per_probe]
        probe = look(sources)
        promised = repeatable(_difference(probe, look(sources[:1], probe.rate)))
        own_steps = np.diagonal(probe.affinity)
        # Other draws would be taken for what the step does.
        harmed = [] if promised.holds is False else np.flatnonzero(own_steps < 0).tolist()
        helps = None
        if harmed and model.lookahead == "gradient" and probe.rate and model.probe_data is None:
            helps = _rate_that_helps(look, harmed, probe.rate)
    sharing = prober.compiled.sharing
    weights = losses.loss_weights(compile_arguments(model).get("loss_weights"), y_pred)
    tasks = _tasks(losses, labels, weights, probe, sharing, batch.size)
    looked_at = [] if batch.complete else _looked_at(labels, model.missing)
    cut, unsaved = can_be_cut(inner)
    promises = (
        plain_keras(model, [task.task for task in tasks if task.missing], looked_at),
        promised,
        cut,
        can_be_saved(model, unsaved),
    )
    cost = probe_cost(model, sharing, probe.rate, prober.shadows, batch.steps)
    names = [losses.tasks[k] for k in harmed]
    said = [
        *of_labels(model, y, tasks, labels, looked_at),
        *of_losses(tasks),
        *of_steps(model, tasks, cost, probe.affinity, names, helps),
        *of_cost(model, cost, len(tasks)),
        *(f"{p.name}: {p.way_out}" for p in promises if p.way_out),
    ]
    return ModelCheck(
        batch.size,
        tasks,
        _shared(sharing),
        numbers(model.trainable_variables),
        numbers(inner.non_trainable_variables),
        promises,
        cost,
        tuple(said),
    )


@contextmanager
def _explained(y: Any) -> Iterator[None]:
    """Say what the labels are where the losses can't take them."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        ranges = {
            ".".join(map(str, path)) or "y": f"{np.min(leaf)} to {np.max(leaf)}"
            for path, leaf in keras.tree.flatten_with_path(y)
            if leaf is not None and tf.convert_to_tensor(leaf).dtype.is_integer
        }
        raise ValueError(
            f"Expected a batch that the model and its losses can take. Received: integer labels "
            f"{ranges}. TensorFlow answered: {error.message} If a label means that an example is "
            "not labelled, give it as TAGModel(model, missing=...)."
        ) from error


def _rate_that_helps(
    look: Callable[[list[int], float], OneProbe], harmed: list[int], rate: float
) -> float | None:
    """Return a lower rate, at which the steps help these tasks; None if none was found."""
    for _ in range(_TIMES):
        rate /= _SHORTER
        if (np.diagonal(look(harmed, rate).affinity)[harmed] > 0).all():
            return rate
    return None


def _difference(one: OneProbe, other: OneProbe) -> float:
    """Return the greatest difference of two probes, as a share of the losses."""
    scale = np.where(one.losses == 0, 1, np.abs(one.losses))
    losses = np.abs(one.losses - other.losses) / scale
    affinities = np.abs(one.affinity - other.affinity)
    both = np.concatenate([losses, affinities.ravel()])
    return float(np.max(both[np.isfinite(both)], initial=0.0))


def _tasks(
    losses: TaskLosses,
    labels: Labels,
    weights: Sequence[Any],
    probe: OneProbe,
    sharing: Sharing,
    size: int,
) -> tuple[TaskCheck, ...]:
    found = []
    alone = sharing.used.sum(axis=0) == 1
    for k, (task, own) in enumerate(labels.items()):
        used = sharing.used[k]
        found.append(
            TaskCheck(
                task,
                losses.loss_names[task],
                weights[k] if isinstance(weights[k], float) else None,
                tuple(own.y.shape),
                own.y.dtype.name,
                _labelled(own, size),
                _zeros(own.labelled),
                _zeros(own.unmasked),
                float(probe.losses[k]),
                float(probe.affinity[k, k]),
                numbers(_chosen(sharing, used & sharing.shared)),
                numbers(_chosen(sharing, used & alone)),
            )
        )
    return tuple(found)


def _labelled(own: TaskLabels, size: int) -> int:
    """Return how many examples have a label that counts."""
    weight = own.weight()
    if weight is None:
        return size
    counts = np.asarray(weight) != 0
    return int(counts.reshape(len(counts), -1).any(axis=1).sum())


def _zeros(mask: Any) -> int:
    return 0 if mask is None else int(np.sum(np.asarray(mask) == 0))


def _looked_at(labels: Labels, missing: float | None) -> list[str]:
    """Return the tasks whose labels may be missing, by their dtype."""
    return [
        task
        for task, own in labels.items()
        if own.y.dtype.is_floating or absent_labels(own.y, missing) is not None
    ]


def _shared(sharing: Sharing) -> tuple[SharedWeights, ...]:
    """Return the shared weights by the set of tasks that uses them, the largest first."""
    columns = [tuple(column) for column in sharing.used.T]
    parts = []
    for users in dict.fromkeys(c for c, s in zip(columns, sharing.shared, strict=True) if s):
        weights = _chosen(sharing, [c == users for c in columns] & sharing.shared)
        tasks = tuple(t for t, uses in zip(sharing.tasks, users, strict=True) if uses)
        parts.append(SharedWeights(tasks, tuple(v.path for v in weights), numbers(weights)))
    return tuple(sorted(parts, key=lambda part: -part.parameters))


def _chosen(sharing: Sharing, flags: Any) -> list[Any]:
    return [v for v, flag in zip(sharing.trainable, flags, strict=True) if flag]
