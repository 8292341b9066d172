"""`TAGModel.check`: a preflight on one batch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.tag_model import checks
from keras_tag.tag_model.first_batch import FirstBatch, check_ranks
from keras_tag.tag_model.forward_graph import ForwardGraph, variables_of
from keras_tag.tag_model.model_check import ModelCheck, SharedWeights, TaskCheck
from keras_tag.tag_model.probe import OneProbe, state_of
from keras_tag.tag_model.probe_cost import numbers, probe_cost
from keras_tag.tag_model.prober import Prober
from keras_tag.tag_model.promises import (
    can_be_cut,
    can_be_saved,
    compiled_by_xla,
    nothing_changes,
    plain_keras,
    repeatable,
)
from keras_tag.tag_model.sharing import Sharing
from keras_tag.tag_model.suggestions import Observed, suggestions
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
                fit it, there are fewer than two tasks, or no two of them share a trainable weight.

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
    check_ranks(getattr(inner, "input", ()), batch.data[0])
    data = prober.prepare(batch.data)
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    graph = None if model.run_eagerly else ForwardGraph.of(inner, x)
    with _explained(y), _put_back(() if graph is None else graph.others) as changed:
        with DroppedUpdates(state_of(inner)):
            y_pred = model(x, training=True)
        losses = prober.compiled.losses_of(y_pred)

        def evaluate() -> Any:
            with DroppedUpdates():
                return losses(losses.labels(y, y_pred, sample_weight), y_pred)

        of_losses = () if graph is None else variables_of(evaluate)
        with _put_back(of_losses) as changed_by_losses:
            labels = losses.labels(y, y_pred, sample_weight)
            trial = _Trial(prober, data, losses.tasks)
            promised = repeatable(graph, trial.difference)
            if promised.holds is not False:
                # Other draws would be taken for what the step does.
                trial.shorten()
        changed += changed_by_losses
    sharing = prober.compiled.sharing
    weights = losses.loss_weights(compile_arguments(model).get("loss_weights"), y_pred)
    tasks = _tasks(losses, labels, weights, trial.probe, sharing, batch.size)
    looked_at = [] if batch.complete else _looked_at(losses, labels, model.missing)
    cut, unsaved = can_be_cut(inner)
    promises = (
        plain_keras(model, [task.task for task in tasks if task.missing], looked_at),
        compiled_by_xla(model, graph, looked_at),
        nothing_changes(list(dict.fromkeys(changed)), graph),
        promised,
        cut,
        can_be_saved(model, cut, unsaved),
    )
    cost = probe_cost(model, sharing, trial.probe.rate, prober.shadows, graph, batch.steps)
    unheld = [
        task
        for task, own in zip(losses.tasks, labels.by_task, strict=True)
        if model.missing is not None and absent_labels(own.y, model.missing) is None
    ]
    seen = Observed(
        tasks,
        cost,
        trial.probe.affinity,
        trial.harmed,
        trial.helps,
        {t: _lowest(own) for t, own in zip(losses.tasks, labels.by_task, strict=True)},
        unheld,
        [key for key in y if key not in losses.tasks] if isinstance(y, Mapping) else [],
    )
    return ModelCheck(
        batch.source,
        batch.size,
        tasks,
        _shared(sharing),
        numbers(model.trainable_variables),
        numbers(inner.non_trainable_variables),
        promises,
        cost,
        tuple(suggestions(model, seen, promises)),
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


class _Trial:
    """Probes of one batch outside of training.

    Args:
        prober: The prober.
        data: The batch, from its `prepare`.
        tasks: The tasks.
    """

    def __init__(self, prober: Prober, data: Any, tasks: Sequence[str]) -> None:
        self._prober, self._data, self._query = prober, data, prober.query()
        self._tasks, model = tasks, prober.model
        steps = model.lookahead in ("gradient", "optimizer")
        sources = list(range(min(model.sources_per_probe or len(tasks), len(tasks))))
        self.probe = self._once(sources if steps else None)
        again = self._once(sources[:1] if steps else None, self.probe.rate)
        self.difference = _difference(self.probe, again)
        self.harmed: list[str] = []
        self.helps: float | None = None

    def shorten(self) -> None:
        """Find the tasks that their own step harms, and a rate at which it does not."""
        model, rate = self._prober.model, self.probe.rate
        if model.lookahead == "cosine":
            return
        harmed = [int(k) for k in np.flatnonzero(np.diagonal(self.probe.affinity) < 0)]
        self.harmed = [self._tasks[k] for k in harmed]
        if not harmed or model.lookahead != "gradient" or not rate or model.probe_data is not None:
            return
        for _ in range(_TIMES):
            rate /= _SHORTER
            if all(np.diagonal(self._once(harmed, rate).affinity)[harmed] > 0):
                self.helps = rate
                return

    def _once(self, sources: Sequence[int] | None, rate: float | None = None) -> OneProbe:
        return self._prober.probe_once(self._data, self._query, sources, rate)


def _difference(one: OneProbe, other: OneProbe) -> float:
    """Return the greatest difference of two probes, as a share of the losses."""
    scale = np.where(one.losses == 0, 1, np.abs(one.losses))
    losses = np.abs(one.losses - other.losses) / scale
    affinities = np.abs(one.affinity - other.affinity)
    both = np.concatenate([losses, affinities.ravel()])
    return float(np.max(both[np.isfinite(both)], initial=0.0))


@contextmanager
def _put_back(variables: Sequence[Any]) -> Iterator[list[str]]:
    """Put variables back that are changed inside, and collect the names of these."""
    before = [tf.identity(variable) for variable in variables]
    changed: list[str] = []
    try:
        yield changed
    finally:
        for variable, value in zip(variables, before, strict=True):
            if not np.array_equal(variable.numpy(), value.numpy()):
                variable.assign(value)
                changed.append(variable.name)


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
    for k, (task, own) in enumerate(zip(losses.tasks, labels.by_task, strict=True)):
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


def _lowest(own: TaskLabels) -> float:
    return float(np.min(np.asarray(tf.cast(own.y, "float64")), initial=np.inf))


def _looked_at(losses: TaskLosses, labels: Labels, missing: float | None) -> list[str]:
    """Return the tasks whose labels may be missing, by their dtype."""
    return [
        task
        for task, own in zip(losses.tasks, labels.by_task, strict=True)
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
