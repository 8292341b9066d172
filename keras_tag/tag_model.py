"""`TAGModel`: a Keras model whose `fit` also measures inter-task affinity."""

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
import tensorflow as tf

from keras_tag import tag_model_checks as checks
from keras_tag.affinity import Affinity
from keras_tag.compiled import all_labelled, compile_config
from keras_tag.distributed import DistributedModel, check_in_scope, check_same_strategy
from keras_tag.lookahead import (
    GradientStepper,
    Stepper,
    cosine_affinity,
    first_order_affinity,
    stepped_affinity,
)
from keras_tag.probe import Batch, JointGradient, Probe, SmallState, State, state_of
from keras_tag.probe_record import ProbeRecord, RecordEpochs, with_first
from keras_tag.probe_schedule import OverheadClock
from keras_tag.replicas import exact_share, split_batch
from keras_tag.shadow_optimizer import ShadowOptimizer
from keras_tag.sharing import Sharing, connections, find_sharing, serialize_shared, shared_filter
from keras_tag.task_losses import TaskLosses

if TYPE_CHECKING:
    import pandas as pd


@dataclass(eq=False)
class _OpenProbe:
    """A training step that is to be probed, between its forward pass and its loss."""

    tape: tf.GradientTape
    stop_recording: Callable[[], None]
    state: State
    query: Any


class _OpenProbes:
    """The open probe of every replica: TensorFlow traces each in a thread of its own.

    A layer that reduces over the replicas in its forward pass (a synchronised BatchNormalization)
    makes the threads take turns inside of it, so that several probes are open at once.
    """

    def __init__(self) -> None:
        self._by_thread: dict[int, _OpenProbe] = {}

    def open(self, probe: _OpenProbe) -> None:
        """A step that is to be probed begins."""
        self._by_thread[threading.get_ident()] = probe

    def take(self) -> _OpenProbe | None:
        """The probe of this replica's step, once; None if there is none."""
        return self._by_thread.pop(threading.get_ident(), None)


@dataclass(eq=False)
class _Compiled:
    """What follows from the present `compile`; found when it is first needed.

    Kept in an object of its own because Keras copies dicts and lists that are set on a model.
    """

    loss: Any = None
    optimizer: Any = None
    losses: TaskLosses | None = None
    sharing: Sharing | None = None
    shadow: ShadowOptimizer | None = None


@keras.saving.register_keras_serializable(package="keras_tag")
class TAGModel(DistributedModel):
    """Trains a multi-task model as Keras does, and measures inter-task affinity while it trains.

    Every `every`-th training step is probed before its joint update: for each task i the shared
    variables are moved by task i's step alone, every task's loss is measured on the same batch,
    and the move is gone again. Training is not disturbed: weights, metrics and History are those
    of the wrapped model's own `fit`.

    `compile`, `evaluate` and `predict` are Keras's own; `fit` is Keras's with one callback more,
    which keeps the affinities by epoch.

    Args:
        model: The model to train, with at least two outputs (a flat dict or list of them). It is
            wrapped, never cloned: training the `TAGModel` trains it.
        every: Probe when the number of steps taken is a multiple of this. "auto": the first steps
            of `fit` are timed; from then on `every` is the smallest number that keeps probing
            below `overhead`. It is printed, and repeats the run when it is given instead.
        overhead: With every="auto", the time for probes as a fraction of plain training.
        lookahead: How a task's step is taken. "gradient": `theta - rate * gradient`, the paper's
            equation 1. "optimizer": the compiled optimizer's real step, slots and all, on shadow
            copies. "first_order": the first-order term of "gradient", without look-ahead passes.
            "cosine": cosine similarity of the task gradients, TAG's rival.
        lookahead_rate: The rate of a "gradient" or "first_order" step. None: the optimizer's
            current learning rate. Affinity is not divided by it.
        shared: Which variables a task's step moves. None: every trainable variable that at least
            two tasks' losses depend on, found by gradient connection. Or those of them that
            belong to a sequence of layers or layer names, or for which a predicate
            `variable -> bool` says yes.
        steps: How many successive steps of the same task a look-ahead takes ("gradient" and
            "optimizer").
        missing: A label value that means "not labelled", such as -1. NaN means so without asking.
        probe_data: Where losses before and after are measured: None, the training batch itself; or
            other data, one batch `(x, y)` or `(x, y, sample_weight)` of arrays or a batched
            `tf.data.Dataset` that is drawn from endlessly. It is not saved with the model.
        reuse_gradients: At probed steps, take the joint gradient as the weighted sum of the task
            gradients instead of a backward pass of its own. Equal up to rounding, so `fit` is
            then not bit-identical to the wrapped model's.
        sources_per_probe: How many tasks' steps a probe looks at; None: all n. With m, probe
            after probe takes the next m tasks in turn: each measured row is exact, costs m / n of
            the passes, and every pair is measured m / n times as often.
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
        every: int | Literal["auto"] = 10,
        overhead: float = 0.1,
        lookahead: str = "gradient",
        lookahead_rate: float | None = None,
        shared: Any = None,
        steps: int = 1,
        missing: float | None = None,
        probe_data: Any = None,
        reuse_gradients: bool = False,
        sources_per_probe: int | None = None,
        **kwargs: Any,
    ) -> None:
        checks.check_model(model)
        checks.check_every(every, overhead)
        checks.check_whole("steps", steps)
        checks.check_lookahead(lookahead, lookahead_rate, steps)
        # The wrapped model converts its inputs itself, each to its own dtype.
        kwargs.setdefault("dtype", model.dtype_policy)
        super().__init__(autocast=False, **kwargs)
        check_same_strategy(model, self)
        check_in_scope("the model", model.variables, self.distribute_strategy)
        self.model = model
        self.every: int | str = every if every == "auto" else int(every)
        self.overhead = float(overhead)
        self.lookahead = lookahead
        self.lookahead_rate = lookahead_rate
        self.shared = shared
        self.steps = int(steps)
        self.missing = missing
        self.probe_data = probe_data
        self.reuse_gradients = bool(reuse_gradients)
        checks.check_sources(sources_per_probe, lookahead, reuse_gradients)
        self.sources_per_probe = sources_per_probe
        if hasattr(model, "output_names"):
            # Keras names a list's losses and metrics by these.
            self.output_names = model.output_names
        self._shared_filter = shared_filter(shared)
        self._record = ProbeRecord(name="probe_record")
        self._compiled_state = _Compiled()
        # How the host and the step it traces talk to each other.
        self._probing = False
        self._open_probes = _OpenProbes()
        self._next_step: int | None = None
        self._probing_paused = False
        self._last_step_probed = False
        if model.built:
            self.build(getattr(model, "input_shape", None))

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
        """The arguments of `__init__`, serialised; `probe_data` is data and left out."""
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "every": self.every,
            "overhead": self.overhead,
            "lookahead": self.lookahead,
            "lookahead_rate": self.lookahead_rate,
            "shared": serialize_shared(self.shared),
            "steps": self.steps,
            "missing": self.missing,
            "reuse_gradients": self.reuse_gradients,
            "sources_per_probe": self.sources_per_probe,
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
            ValueError: The model is not compiled; or its outputs can't be known before it has
                seen data, and it has not.
        """
        checks.check_compiled(self, "tasks")
        losses = self._known_losses()
        if losses is None and self._record.tasks:
            return self._record.tasks
        if losses is None:
            raise ValueError(
                f"The tasks of {type(self.model).__name__!r} are known when it has seen data: call "
                "`fit`, `evaluate` or `measure_affinity` first."
            )
        return losses.tasks

    def affinity(self) -> Affinity:
        """The mean affinity over all probes so far.

        Returns:
            An `Affinity`, rows = source, columns = target; NaN and count 0 for a pair that was
            never measured.

        Raises:
            ValueError: No probe has been made.
        """
        history = self._record.history() if self._record.tasks else None
        if history is None or not history.count.any():
            raise ValueError(
                "Expected at least one probe. Received none: call `fit` first (step t is probed "
                f"when t % every == 0, so the first step always is; every={self.every}). If `fit` "
                "ran, every loss was 0 or not finite."
            )
        return Affinity.from_history(self._record.tasks, history)

    @property
    def probes(self) -> int:
        """How many probes were made; where `affinity().count` is less, some were left out."""
        return self._record.probes

    def pause_probing(self) -> None:
        """Train on without probes, from the next step, until `resume_probing`; also in `fit`."""
        self._probing_paused = True

    def resume_probing(self) -> None:
        """Probe every `every`-th step again."""
        self._probing_paused = False

    @property
    def probing_paused(self) -> bool:
        """Whether `pause_probing` was called last. It is not saved with the model."""
        return self._probing_paused

    @property
    def last_step_probed(self) -> bool:
        """Whether the latest training step of `fit` was probed; for callbacks that measure cost."""
        return self._last_step_probed

    def reset_affinity(self) -> None:
        """Forget the probes made so far; weights and step counter stay."""
        self._record.reset()

    @property
    def shared_variables(self) -> tuple[Any, ...]:
        """The trainable variables that probes move, in the model's order.

        Raises:
            ValueError: Not known before the first probe (`fit` or `measure_affinity`).
        """
        return self._known_sharing().variables

    def sharing_report(self) -> "pd.DataFrame":
        """Which task's loss depends on which trainable variable, and which of them probes move.

        Returns:
            A frame with one row per trainable variable (index: its path) and the columns
            "parameters" (how many numbers), "shared" (whether probes move it) and one per task
            (whether its loss depends on it).

        Raises:
            ValueError: Not known before the first probe (`fit` or `measure_affinity`).
        """
        return self._known_sharing().report()

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
        checks.check_compiled(self, "measure_affinity")
        data = keras.tree.map_structure(
            tf.convert_to_tensor, keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        )
        if not self.built:
            # Makes the variables of a model that has not seen data; in a scope they could not be.
            self(data[0], training=False)
        query = next(self._queries()) if self.probe_data is not None else None
        strategy = self.distribute_strategy
        if strategy.num_replicas_in_sync == 1:
            affinity = self._probe_alone(data, query)
        else:
            self._make_variables()
            data = split_batch(data, strategy)
            probe = tf.function(
                lambda *args: strategy.run(self._probe_alone, args), autograph=False
            )
            affinity = strategy.experimental_local_results(probe(data, query))[0]
        measured: np.ndarray = affinity.numpy()
        return np.where(np.isfinite(measured), measured, np.nan).astype("float64")

    # How a step is probed.

    @functools.wraps(keras.Model.fit)
    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Keras's, with one callback more: affinities are kept by epoch."""
        call = inspect.signature(keras.Model.fit).bind(self, *args, **kwargs)
        epochs = RecordEpochs(self._record)
        call.arguments["callbacks"] = with_first(epochs, call.arguments.get("callbacks"))
        return super().fit(*call.args[1:], **call.kwargs)

    def make_train_function(self, force: bool = False) -> Any:
        """Two compiled functions, plain and probing, and the host's choice between them.

        The choice is made in Python, not in the graph: a collective inside `tf.cond` fails under
        a distribution strategy, and convolutions there are many times slower.
        """
        # A callback may restore the step counter after this call: read it at the first step.
        self._next_step = None
        if self.train_function is not None and not force:
            return self.train_function
        checks.check_compiled(self, "fit")
        checks.check_supported(self)
        self._make_variables()
        super().make_train_function(force=True)
        plain = self.train_function
        super().make_train_function(force=True)
        probing = self.train_function
        queries = self._queries() if self.probe_data is not None else None
        small_state = SmallState(self)
        clock = OverheadClock(self.overhead, self.optimizer.iterations.numpy)

        def train_function(iterator: Any) -> Any:
            if self.every != "auto" or self._probing_paused:
                return step(iterator)
            with clock.timed():
                logs = step(iterator)
            if clock.every is not None:
                self.every = clock.every
                print(
                    f"keras_tag: every={self.every} keeps probing below {self.overhead:.0%} of "
                    "training. Give that number instead of 'auto' to repeat this run."
                )
            return logs

        def step(iterator: Any) -> Any:
            if self._next_step is None:
                self._next_step = int(self._record.step.numpy())
            if self.every == "auto":
                probe = clock.probes_next()
            else:
                probe = self._next_step % int(self.every) == 0
            probe = probe and not self._probing_paused
            self._last_step_probed = probe
            if probe and queries is not None:
                iterator = iter([(next(iterator), next(queries))])
            self._next_step += self.steps_per_execution
            if not probe:
                return plain(iterator)
            # Read by `train_step` when it is traced (and at every step when run eagerly).
            self._probing = True
            try:
                with small_state.kept_if_raised():
                    logs = probing(iterator)
            finally:
                self._probing = False
            self._record.close_full_block(self.steps_per_execution)
            return logs

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
        data, query = data if self.probe_data is not None else (data, None)
        with contextlib.ExitStack() as recording:
            state = state_of(self.model)
            tape = recording.enter_context(tf.GradientTape(persistent=True))
            self._open_probes.open(_OpenProbe(tape, recording.close, state, query))
            try:
                return super().train_step(data)
            finally:
                self._open_probes.take()

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
            losses.pack_weights(labels.loss_weight, y_pred),
            training,
        )
        if losses.all_means:
            loss = exact_share(loss)
        probe = self._open_probes.take()
        if probe is None:
            return loss
        probe.stop_recording()
        joint = None
        if self.reuse_gradients:
            weights = losses.loss_weights(compile_config(self)["loss_weights"], y_pred)
            joint = JointGradient(self.trainable_variables, weights)
        self._record.prepare(losses.tasks)
        sources = None
        if self.sources_per_probe is not None and self.sources_per_probe < len(losses.tasks):
            sources = self._record.sources(self.sources_per_probe)
        affinity = self._look_ahead(
            losses,
            Batch.of(x, labels, losses),
            y_pred,
            probe.tape,
            probe.state,
            probe.query,
            joint,
            sources=sources,
        )
        self._record.add(affinity)
        if joint is not None:
            loss = joint.in_place_of(loss, extra=self.losses)
        # The joint update waits for the probe: a probe that raises moves no weight.
        with tf.control_dependencies([affinity]):
            return loss * tf.ones_like(loss)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Keras's metrics; `weighted_metrics` see labelled examples only."""
        losses = self._losses_of(y_pred)
        labels = losses.labels(y, y_pred, sample_weight)
        waits = all_labelled(self, losses.tasks, labels)
        with tf.control_dependencies(waits):
            clean = losses.pack([tf.identity(leaf) for leaf in labels.y], y, y_pred)
        weights = losses.pack_weights(labels.metric_weight, y_pred)
        return super().compute_metrics(x, clean, y_pred, weights)

    def _probe_alone(self, data: Any, query: Any) -> tf.Tensor:
        """A probe with a forward pass of its own, which is not kept."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        state = state_of(self.model)
        with (
            tf.GradientTape(persistent=True) as tape,
            keras.StatelessScope(state_mapping=state) as scope,
        ):
            y_pred = self(x, training=True)
        losses = self._losses_of(y_pred)
        batch = Batch.of(x, losses.labels(y, y_pred, sample_weight), losses)

        def source(variable: Any) -> tf.Tensor:
            # A layer may rewrite a weight in its forward pass (SpectralNormalization does); in a
            # scope the step starts from, and is the gradient at, what it wrote.
            written = scope.get_current_value(variable)
            return variable.value if written is None else written

        return self._look_ahead(losses, batch, y_pred, tape, state, query, source=source)

    def _look_ahead(
        self,
        losses: TaskLosses,
        batch: Batch,
        y_pred: Any,
        tape: tf.GradientTape,
        state: State,
        query: Any = None,
        joint: JointGradient | None = None,
        source: Callable[[Any], tf.Tensor] = lambda variable: variable.value,
        sources: Sequence[tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """One affinity matrix, `[num_tasks, num_tasks]`, rows = source, columns = target."""
        probe = Probe(
            forward=lambda x: self(x, training=True),
            losses=losses,
            trainable=self.trainable_variables,
            state=state,
            # Small gradients of a float16 network vanish unless the loss is scaled up.
            scale=self.optimizer.scale_loss(tf.ones(())),
        )
        rate = self.optimizer.learning_rate
        if self.lookahead_rate is not None:
            rate = tf.constant(self.lookahead_rate, "float64")
        point = probe.point(
            batch,
            y_pred,
            tape,
            lambda *seen: self._find_sharing(losses.tasks, *seen),
            rate,
            None if query is None else keras.utils.unpack_x_y_sample_weight(query),
            joint,
            source,
        )
        if self.lookahead == "first_order":
            return first_order_affinity(point)
        if self.lookahead == "cosine":
            return cosine_affinity(point)
        stepper: Stepper = GradientStepper(point.rate)
        if self.lookahead == "optimizer":
            stepper = self._shadow().of(self.shared_variables, self.trainable_variables)
        return stepped_affinity(point, stepper, self.steps, sources)

    def _present(self) -> _Compiled:
        """What was found for the present `compile`."""
        known = self._compiled_state
        if known.loss is not self.loss or known.optimizer is not self.optimizer:
            known = self._compiled_state = _Compiled(self.loss, self.optimizer)
        return known

    def _known_losses(self) -> TaskLosses | None:
        """The task losses, if the outputs are known already or can be without data."""
        losses = self._present().losses
        if losses is None and getattr(self.model, "inputs", None):
            losses = self._losses_of(self.model.compute_output_spec(self.model.inputs))
        return losses

    def _make_variables(self) -> None:
        """Make what a probe needs outside of any graph, where that is possible.

        Under a strategy it must be: a replica can't create variables. There Keras has built the
        model by now; elsewhere a model that has not seen data makes them when it is first traced.
        """
        losses = self._known_losses()
        if losses is None or not self.built:
            return
        with self.distribute_strategy.scope():
            self._record.prepare(losses.tasks)
            if self.lookahead == "optimizer":
                self._shadow()

    def _losses_of(self, y_pred: Any) -> TaskLosses:
        present = self._present()
        if present.losses is None:
            names = getattr(self, "output_names", None)
            losses = TaskLosses(self.loss, y_pred, names, self.missing)
            checks.check_two_tasks(losses.tasks)
            present.losses = losses
        return present.losses

    def _find_sharing(
        self,
        tasks: Sequence[str],
        losses: Sequence[tf.Tensor],
        sources: Sequence[tf.Tensor],
        tape: tf.GradientTape,
    ) -> Sharing:
        present, trainable = self._present(), self.trainable_variables
        known = present.sharing
        if known is None or list(map(id, known.trainable)) != list(map(id, trainable)):
            used = connections(losses, sources, tape)
            known = find_sharing(tasks, trainable, used, self._shared_filter)
            present.sharing = known
        return known

    def _known_sharing(self) -> Sharing:
        sharing = self._present().sharing
        if sharing is None:
            raise ValueError(
                "Expected a probed model: which variables are shared is seen when losses are "
                "computed. Call `fit` or `measure_affinity` first."
            )
        return sharing

    def _shadow(self) -> ShadowOptimizer:
        """The shadow of the compiled optimizer; made when it is first needed."""
        present = self._present()
        if present.shadow is None:
            with tf.init_scope():
                if not self.optimizer.built:
                    self.optimizer.build(self.trainable_variables)
                present.shadow = ShadowOptimizer(self.optimizer, self.trainable_variables)
        return present.shadow

    def _queries(self) -> Iterator[Any]:
        """Batches of `probe_data`, without end, distributed like the training data."""
        data = self.probe_data
        if not isinstance(data, tf.data.Dataset):
            data = tf.data.Dataset.from_tensor_slices(tuple(data))
            data = data.batch(int(data.cardinality()))
        data = data.repeat()
        strategy = self.distribute_strategy
        if strategy.num_replicas_in_sync > 1:
            data = strategy.experimental_distribute_dataset(data)
        return iter(data)
