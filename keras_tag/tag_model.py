"""`TAGModel`: a Keras model whose `fit` also measures inter-task affinity."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.affinity import Affinity
from keras_tag.lookahead import ProbePoint, gradient_lookahead
from keras_tag.probe_record import ProbeRecord
from keras_tag.sharing import Sharing, connections, find_sharing, shared_filter
from keras_tag.task_losses import Labels, TaskLosses

_LOOKAHEADS = {"gradient": gradient_lookahead}


@dataclass(eq=False)
class _OpenProbe:
    """A training step that is to be probed, between its forward pass and its loss."""

    tape: tf.GradientTape
    stop_recording: Callable[[], None]
    state_before: list[tuple[Any, tf.Tensor]]


@keras.saving.register_keras_serializable(package="keras_tag")
class TAGModel(keras.Model):
    """Trains a multi-task model as Keras does, and measures inter-task affinity while it trains.

    Every `every`-th training step is probed before its joint update: for each task i the shared
    variables are moved by task i's step alone, every task's loss is measured on the same batch,
    and the move is gone again. Training is not disturbed: weights, metrics and History are those
    of the wrapped model's own `fit`.

    `compile`, `fit`, `evaluate` and `predict` are Keras's own.

    Args:
        model: The model to train, with at least two outputs (a flat dict or list of them). It is
            wrapped, never cloned: training the `TAGModel` trains it.
        every: Probe when the number of steps taken is a multiple of this.
        lookahead: How a task's step is taken. "gradient": `theta - rate * gradient`, the paper's
            equation 1.
        lookahead_rate: The rate of that step. None: the optimizer's current learning rate.
            Affinity is not divided by it.
        shared: Which variables a task's step moves. None: every trainable variable that at least
            two tasks' losses depend on, found by gradient connection. Or those of them that
            belong to a sequence of layers or layer names, or for which a predicate
            `variable -> bool` says yes.
        missing: A label value that means "not labelled", such as -1. NaN means so without asking.
        **kwargs: `name`, for `keras.Model`.

    Raises:
        TypeError: `model` is not a `keras.Model`.
        ValueError: An argument out of its range, or a model with a training step of its own.

    Example:
        >>> inputs = keras.Input((4,))
        >>> trunk = keras.layers.Dense(8, "relu")(inputs)
        >>> model = keras.Model(inputs, {name: keras.layers.Dense(1)(trunk) for name in "ab"})
        >>> tag = TAGModel(model, every=1)
        >>> tag.compile("sgd", loss={"a": "mse", "b": "mse"})
        >>> x = np.random.default_rng(0).normal(size=(32, 4))
        >>> history = tag.fit(x, {"a": x[:, :1], "b": x[:, 1:2]}, verbose=0)
        >>> tag.affinity().tasks
        ('a', 'b')

    Reference:
        Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS
        2021, arXiv:2109.04617, section 3.
    """

    train_function: Any  # Keras's, which declares it without a type.

    def __init__(
        self,
        model: keras.Model,
        *,
        every: int = 10,
        lookahead: str = "gradient",
        lookahead_rate: float | None = None,
        shared: Any = None,
        missing: float | None = None,
        **kwargs: Any,
    ) -> None:
        _check_model(model)
        _check_every(every)
        if lookahead not in _LOOKAHEADS:
            raise ValueError(
                f"Expected `lookahead` to be one of {sorted(_LOOKAHEADS)}. Received: "
                f"lookahead={lookahead!r}."
            )
        # The wrapped model converts its inputs itself, each to its own dtype.
        kwargs.setdefault("dtype", model.dtype_policy)
        super().__init__(autocast=False, **kwargs)
        self.model = model
        self.every = int(every)
        self.lookahead = lookahead
        self.lookahead_rate = lookahead_rate
        self.shared = shared
        self.missing = missing
        self._shared_filter = shared_filter(shared)
        self._record = ProbeRecord(name="probe_record")
        if hasattr(model, "output_names"):
            # Keras names a list's losses and metrics by these.
            self.output_names = model.output_names
        self._task_losses: TaskLosses | None = None
        self._task_losses_of: Any = None
        self._sharing: Sharing | None = None
        self._probing = False
        self._open_probe: _OpenProbe | None = None
        self._next_step: int | None = None
        if model.built:
            self.build(getattr(model, "input_shape", None))

    # What the wrapped model is asked for.

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The wrapped model's outputs. `training` reaches it through Keras's call context."""
        return self.model(inputs)

    def summary(self, *args: Any, **kwargs: Any) -> Any:
        """The wrapped model's summary."""
        return self.model.summary(*args, **kwargs)

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Nothing to build when the wrapped model was loaded built."""
        if self.model.built:
            self.build(None)
        else:
            super().build_from_config(config)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`, serialised."""
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "every": self.every,
            "lookahead": self.lookahead,
            "lookahead_rate": self.lookahead_rate,
            "shared": _serialize_shared(self.shared),
            "missing": self.missing,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "TAGModel":
        """Rebuild from `get_config`."""
        config = dict(config)
        for key in ("model", "shared"):
            config[key] = keras.saving.deserialize_keras_object(config[key], custom_objects)
        return cls(**config)

    # What the user reads.

    @property
    def tasks(self) -> tuple[str, ...]:
        """The task names, in the order of the affinity's rows and columns.

        Raises:
            ValueError: Not known before the model has been compiled and, for a model whose
                outputs can't be known beforehand, seen data.
        """
        return self._losses_of(self._symbolic_outputs()).tasks

    def affinity(self) -> Affinity:
        """The mean affinity over all probes so far.

        Returns:
            An `Affinity`, rows = source, columns = target; NaN and count 0 for a pair that was
            never measured.

        Raises:
            ValueError: No probe has been made.
        """
        if self._record.total is None or not self._record.count.numpy().any():
            raise ValueError(
                "Expected at least one probe. Received none: call `fit` first (step t is probed "
                f"when t % {self.every} == 0, so the first step always is). If `fit` ran, every "
                "loss was 0 or not finite."
            )
        return Affinity(self.tasks, *self._record.mean())

    def reset_affinity(self) -> None:
        """Forget the probes made so far; weights and step counter stay."""
        self._record.reset()

    @property
    def shared_variables(self) -> tuple[Any, ...]:
        """The trainable variables that probes move, in the model's order.

        Raises:
            ValueError: Not known before the first probe (`fit` or `measure_affinity`).
        """
        if self._sharing is None:
            raise ValueError(
                "Expected a probed model: which variables are shared is seen when losses are "
                "computed. Call `fit` or `measure_affinity` first."
            )
        return self._sharing.variables

    def measure_affinity(self, x: Any, y: Any, sample_weight: Any = None) -> np.ndarray:
        """Probe one batch at the present weights, without training.

        Changes nothing: weights, optimizer, BatchNorm statistics, metrics and random state are
        bit-identical afterwards, also when it raises. The optimizer is used as it is.

        Args:
            x: The inputs of one batch, arrays or tensors.
            y: The targets, as for `fit`.
            sample_weight: As for `fit`.

        Returns:
            `[num_tasks, num_tasks]` float64, rows = source, columns = target, tasks in the order
            of `tasks`. NaN where it could not be measured (a task without a label in the batch).

        Raises:
            ValueError: The model is not compiled, or the batch does not fit it.
        """
        self._check_compiled("measure_affinity")
        x, y, sample_weight = keras.tree.map_structure(
            lambda leaf: None if leaf is None else tf.convert_to_tensor(leaf), (x, y, sample_weight)
        )
        if not self.built:
            # Creates the variables of a model that has not seen data; inside a scope it could not.
            keras.tree.map_structure(lambda leaf: leaf, self(x, training=False))
        affinity = self._probe_alone(x, y, sample_weight).numpy().astype("float64")
        affinity[~np.isfinite(affinity)] = np.nan
        return affinity

    # How a step is probed.

    def make_train_function(self, force: bool = False) -> Any:
        """Two compiled functions, plain and probing, and the host's choice between them.

        The choice is made in Python, not in the graph: a collective inside `tf.cond` fails under
        a distribution strategy, and convolutions there are many times slower.
        """
        # A callback may restore the step counter after this call: read it at the first step.
        self._next_step = None
        if self.train_function is not None and not force:
            return self.train_function
        self._check_compiled("fit")
        super().make_train_function(force=True)
        plain = self.train_function
        super().make_train_function(force=True)
        probing = self.train_function

        def train_function(iterator: Any) -> Any:
            if self._next_step is None:
                self._next_step = int(self._record.step.numpy())
            probe = self._next_step % self.every == 0
            self._next_step += self.steps_per_execution
            # Read by `train_step` when it is traced (and at every step when run eagerly).
            self._probing = probe
            try:
                return (probing if probe else plain)(iterator)
            finally:
                self._probing = False

        self.train_function = train_function
        return train_function

    def train_step(self, data: Any) -> dict[str, Any]:
        """Keras's training step; in a probing function also one probe, before the update.

        The probe shares the step's forward pass: a persistent tape around Keras's own gives the
        task gradients, and `compute_loss` probes while the weights are still those before.
        """
        self._record.step.assign_add(1)
        if not self._probing:
            return super().train_step(data)
        with contextlib.ExitStack() as recording:
            state_before = self._state()
            tape = recording.enter_context(tf.GradientTape(persistent=True))
            self._open_probe = _OpenProbe(tape, recording.close, state_before)
            try:
                return super().train_step(data)
            finally:
                self._open_probe = None

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Keras's joint loss over the labels that are there; probes first if this step is to be."""
        losses = self._losses_of(y_pred)
        labels = losses.labels(y, y_pred, sample_weight)
        loss = super().compute_loss(
            x,
            losses.pack(labels.y, y, y_pred),
            y_pred,
            _none_if_all_none(losses.pack(labels.loss_weight, sample_weight, y_pred)),
            training,
        )
        if self._open_probe is None:
            return loss
        probe, self._open_probe = self._open_probe, None
        probe.stop_recording()
        affinity = self._probe(losses, labels, x, y_pred, probe.tape, probe.state_before)
        self._record.prepare(len(losses.tasks))
        self._record.add(affinity)
        # The joint update waits for the probe: a probe that raises moves no weight.
        with tf.control_dependencies([affinity]):
            return loss * tf.ones_like(loss)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Keras's metrics; `weighted_metrics` see labelled examples only."""
        losses = self._losses_of(y_pred)
        labels = losses.labels(y, y_pred, sample_weight)
        return super().compute_metrics(
            x,
            losses.pack(labels.y, y, y_pred),
            y_pred,
            _none_if_all_none(losses.pack(labels.metric_weight, sample_weight, y_pred)),
        )

    def _probe_alone(self, x: Any, y: Any, sample_weight: Any) -> tf.Tensor:
        """A probe with a forward pass of its own, which is not kept."""
        state_before = self._state()
        with (
            tf.GradientTape(persistent=True) as tape,
            keras.StatelessScope(state_mapping=state_before),
        ):
            y_pred = self(x, training=True)
            losses = self._losses_of(y_pred)
            labels = losses.labels(y, y_pred, sample_weight)
        return self._probe(losses, labels, x, y_pred, tape, state_before)

    def _probe(
        self,
        losses: TaskLosses,
        labels: Labels,
        x: Any,
        y_pred: Any,
        tape: tf.GradientTape,
        state_before: list[tuple[Any, tf.Tensor]],
    ) -> tf.Tensor:
        """One affinity matrix, `[num_tasks, num_tasks]`, rows = source, columns = target."""
        with tape:
            before = losses(labels, y_pred)
        sharing = self._find_sharing(losses, before, tape)
        sources = [v.value for v in sharing.variables]
        values = [tf.stop_gradient(source) for source in sources]
        moved = {id(v) for v in sharing.variables}
        # Constants for every tape: a look-ahead pass is recorded by none of them.
        kept = [
            (v, tf.stop_gradient(v.value)) for v in self.trainable_variables if id(v) not in moved
        ]

        def gradient(task: int) -> list[tf.Tensor]:
            gradients = tape.gradient(
                before[task], sources, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            return [tf.convert_to_tensor(g) for g in gradients]

        def losses_at(at: Sequence[tf.Tensor]) -> tf.Tensor:
            shared = zip(sharing.variables, map(tf.stop_gradient, at), strict=True)
            with keras.StatelessScope(state_mapping=[*shared, *kept, *state_before]):
                return tf.stack(losses(labels, self(x, training=True)))

        rate = self.optimizer.learning_rate if self.lookahead_rate is None else self.lookahead_rate
        point = ProbePoint(values, sharing.used, tf.stack(before), gradient, losses_at)
        return _LOOKAHEADS[self.lookahead](point, tf.stop_gradient(tf.convert_to_tensor(rate)))

    def _state(self) -> list[tuple[Any, tf.Tensor]]:
        """The state a forward pass in training mode changes: statistics and seeds."""
        return [(v, tf.identity(v.value)) for v in self.model.non_trainable_variables]

    def _find_sharing(
        self, losses: TaskLosses, values: Sequence[tf.Tensor], tape: tf.GradientTape
    ) -> Sharing:
        variables = self.trainable_variables
        known = self._sharing
        if known is None or not {id(v) for v in known.variables} <= {id(v) for v in variables}:
            used = connections(values, variables, tape)
            known = find_sharing(losses.tasks, variables, used, self._shared_filter)
            self._sharing = known
        return known

    def _losses_of(self, y_pred: Any) -> TaskLosses:
        if self._task_losses is None or self._task_losses_of is not self.loss:
            self._task_losses = TaskLosses(
                self.loss, y_pred, getattr(self, "output_names", None), self.missing
            )
            self._task_losses_of = self.loss
        return self._task_losses

    def _symbolic_outputs(self) -> Any:
        self._check_compiled("tasks")
        if self._task_losses is not None and self._task_losses_of is self.loss:
            return None
        if getattr(self.model, "inputs", None):
            return self.model.compute_output_spec(self.model.inputs)
        raise ValueError(
            f"The tasks of {type(self.model).__name__!r} are known when it has seen data: call "
            "`fit`, `evaluate` or `measure_affinity` first."
        )

    def _check_compiled(self, what: str) -> None:
        if not self.compiled or self.loss is None:
            raise ValueError(
                f"Expected a model compiled with a loss before `{what}`. Call "
                "`compile(optimizer, loss={task: loss, ...})` first."
            )


def _check_model(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected `model` to be a keras.Model. Received: {type(model).__name__}.")
    for method in ("train_step", "test_step", "compute_loss", "compute_metrics"):
        if getattr(type(model), method) is not getattr(keras.Model, method):
            raise ValueError(
                f"Expected a model that trains with Keras's own steps. {type(model).__name__} "
                f"overrides `{method}`, which a wrapper would silently leave out. Move what it "
                "does into losses given to `compile`, into `add_loss`, or into the layers."
            )


def _check_every(every: Any) -> None:
    if isinstance(every, bool) or not isinstance(every, (int, np.integer)) or every < 1:
        raise ValueError(
            f"Expected `every` to be an integer of at least 1. Received: every={every!r}."
        )


def _none_if_all_none(structure: Any) -> Any:
    leaves = structure.values() if isinstance(structure, dict) else structure
    return None if all(leaf is None for leaf in leaves) else structure


def _serialize_shared(shared: Any) -> Any:
    if shared is None or isinstance(shared, str):
        return shared
    if callable(shared) and not isinstance(shared, keras.layers.Layer):
        return keras.saving.serialize_keras_object(shared)
    entries = [shared] if isinstance(shared, keras.layers.Layer) else shared
    paths: list[str] = []
    for entry in entries:
        # A layer is not the wrapped model's own copy after loading; its variables' paths are.
        paths += [entry] if isinstance(entry, str) else [v.path for v in entry.trainable_variables]
    return paths
