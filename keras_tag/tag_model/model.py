"""`TAGModel`: a Keras model whose `fit` also measures inter-task affinity."""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
import tensorflow as tf

from keras_tag.affinity import Affinity
from keras_tag.tag_model import checks
from keras_tag.tag_model.compiled_tasks import CompiledTasks
from keras_tag.tag_model.fit_callbacks import WarnOfNegativeLosses
from keras_tag.tag_model.lookahead import (
    GradientStepper,
    Stepper,
    cosine_affinity,
    first_order_affinity,
    stepped_affinity,
)
from keras_tag.tag_model.metadata import batch_size_of, measured_with
from keras_tag.tag_model.open_probes import OpenProbe, OpenProbes
from keras_tag.tag_model.probe import Batch, JointGradient, Probe, State, state_of
from keras_tag.tag_model.probe_record import ProbeRecord, RecordEpochs, with_first
from keras_tag.tag_model.probed_steps import EveryByLength, ProbeSwitch, TrainFunctions
from keras_tag.tag_model.sharing import serialize_shared, shared_filter
from keras_tag.training.compile_spec import all_labelled, compile_config
from keras_tag.training.distributed_model import (
    DistributedModel,
    check_in_scope,
    check_same_strategy,
)
from keras_tag.training.replicas import exact_share, split_batch
from keras_tag.training.task_losses import TaskLosses

if TYPE_CHECKING:
    import pandas as pd


@keras.saving.register_keras_serializable(package="keras_tag")
class TAGModel(DistributedModel):
    """Trains a multi-task model as Keras does, and measures inter-task affinity while it trains.

    Every `every`-th training step is probed before its joint update: for each task i the shared
    variables are moved by task i's step alone, every task's loss is measured on the same batch,
    and the move is gone again. Training is not disturbed: weights, metrics and History are those
    of the wrapped model's own `fit`.

    `compile`, `evaluate` and `predict` are Keras's own; `fit` is Keras's with a few callbacks more.

    Args:
        model: The model to train, with at least two outputs (a flat dict or list of them). It is
            wrapped, never cloned: training the `TAGModel` trains it.
        every: Probe when the number of steps taken is a multiple of this. None: every 10th step,
            in a `fit` of more than 1,000 steps as many as make 100 probes, from 5,000 steps on
            every 50th; every 10th if the data don't say how long they are. "auto": the first steps
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
        every: int | Literal["auto"] | None = None,
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
        self.every: int | str | None = int(every) if isinstance(every, np.integer) else every
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
        self._compiled_tasks: CompiledTasks | None = None
        self._switch = ProbeSwitch()
        self._open_probes = OpenProbes()
        self._batch_size: int | None = None
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
        losses = self._present().known_losses()
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
            never measured. Its metadata say what the latest epoch was measured with.

        Raises:
            ValueError: No probe has been made.
        """
        history = self._record.history() if self._record.tasks else None
        if history is None or not history.count.any():
            raise ValueError(
                "Expected at least one probe. Received none: call `fit` first (step t is probed "
                f"when t % {self.probes_every} == 0, so the first step always is). If `fit` ran, "
                "every loss was 0 or not finite."
            )
        affinity = Affinity.from_history(self._record.tasks, history)
        return dataclasses.replace(affinity, metadata=self._record.measured_with)

    @property
    def probes(self) -> int:
        """How many probes were made; where `affinity().count` is less, some were left out."""
        return self._record.probes

    @property
    def probes_every(self) -> int | str:
        """Every how many steps the present or latest `fit` probes; "auto" until the clock knows."""
        return self._switch.every if self.every is None else self.every

    def pause_probing(self) -> None:
        """Train on without probes, from the next step, until `resume_probing`; also in `fit`."""
        self._switch.paused = True

    def resume_probing(self) -> None:
        """Probe every `probes_every`-th step again."""
        self._switch.paused = False

    @property
    def probing_paused(self) -> bool:
        """Whether `pause_probing` was called last. It is not saved with the model."""
        return self._switch.paused

    @property
    def last_step_probed(self) -> bool:
        """Whether the latest training step of `fit` was probed; for callbacks that measure cost."""
        return self._switch.last_step_probed

    def reset_affinity(self) -> None:
        """Forget the probes made so far; weights and step counter stay."""
        self._record.reset()

    @property
    def shared_variables(self) -> tuple[Any, ...]:
        """The trainable variables that probes move, in the model's order.

        Raises:
            ValueError: Not known before the first probe (`fit` or `measure_affinity`).
        """
        return self._present().sharing.variables

    def sharing_report(self) -> "pd.DataFrame":
        """Which task's loss depends on which trainable variable, and which of them probes move.

        Returns:
            A frame with one row per trainable variable (index: its path) and the columns
            "parameters" (how many numbers), "shared" (whether probes move it) and one per task
            (whether its loss depends on it).

        Raises:
            ValueError: Not known before the first probe (`fit` or `measure_affinity`).
        """
        return self._present().sharing.report()

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
        """Keras's, with callbacks of our own for what only callbacks are told."""
        call = inspect.signature(keras.Model.fit).bind(self, *args, **kwargs)
        self._batch_size = batch_size_of(call.arguments.get("x"), call.arguments.get("batch_size"))
        own: list[keras.callbacks.Callback] = [
            RecordEpochs(self._record),
            EveryByLength(self._switch, self.steps_per_execution),
        ]
        if self.lookahead != "cosine":
            own.append(WarnOfNegativeLosses(self._record))
        for callback in reversed(own):
            callbacks = with_first(callback, call.arguments.get("callbacks"))
            call.arguments["callbacks"] = callbacks
        return super().fit(*call.args[1:], **call.kwargs)

    def make_train_function(self, force: bool = False) -> Any:
        """Two compiled functions, plain and probing; which one runs is chosen before every step."""
        if self.train_function is None or force:
            checks.check_compiled(self, "fit")
            checks.check_supported(self)
            self._make_variables()
            super().make_train_function(force=True)
            plain = self.train_function
            super().make_train_function(force=True)
            probing = self.train_function
            queries = self._queries() if self.probe_data is not None else None
            self.train_function = TrainFunctions(
                self, self._record, self._switch, plain, probing, queries, self._describe
            )
        self.train_function.begin()
        return self.train_function

    def train_step(self, data: Any) -> dict[str, Any]:
        """Keras's training step; in a probing function also one probe, before the update.

        The probe shares the step's forward pass: a persistent tape around Keras's own gives the
        task gradients, and `compute_loss` probes while the weights are still those before.
        """
        # Not a step if the data ended, or broke.
        leaves = tf.nest.flatten(data, expand_composites=True)
        with tf.control_dependencies([leaf for leaf in leaves if tf.is_tensor(leaf)]):
            self._record.step.assign_add(1)
        if not self._switch.on:
            return super().train_step(data)
        data, query = data if self.probe_data is not None else (data, None)
        with contextlib.ExitStack() as recording:
            state = state_of(self.model)
            tape = recording.enter_context(tf.GradientTape(persistent=True))
            self._open_probes.open(OpenProbe(tape, recording.close, state, query))
            try:
                logs = super().train_step(data)
            finally:
                self._open_probes.take()
        self._record.finish(after=self.trainable_variables)
        return logs

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Keras's joint loss over the labels that are there; probes first if this step is to be."""
        losses = self._present().losses_of(y_pred)
        labels = losses.labels(y, y_pred, sample_weight)
        known = len(self.metrics_variables)
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
        self._record.prepare(losses.tasks)
        if not tf.executing_eagerly() and len(self.metrics_variables) > known:
            # Keras has just made its loss trackers. TensorFlow keeps no trace that makes variables,
            # it traces again: a probe in this one would be traced for nothing.
            return loss
        joint = None
        if self.reuse_gradients:
            weights = losses.loss_weights(compile_config(self)["loss_weights"], y_pred)
            joint = JointGradient(self.trainable_variables, weights)
        sources = None
        if self.sources_per_probe is not None and self.sources_per_probe < len(losses.tasks):
            with tf.control_dependencies([loss]):
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
        losses = self._present().losses_of(y_pred)
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
        losses = self._present().losses_of(y_pred)
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
        present = self._present()
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
            lambda *seen: present.find_sharing(losses.tasks, *seen),
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
            stepper = present.shadow().of(present.sharing.variables, self.trainable_variables)
        return stepped_affinity(point, stepper, self.steps, sources)

    def _present(self) -> CompiledTasks:
        """What follows from the present `compile`."""
        tasks = self._compiled_tasks
        if tasks is None or not tasks.present:
            tasks = CompiledTasks(self, self.missing, self._shared_filter)
            self._compiled_tasks = tasks
        return tasks

    def _describe(self) -> dict[str, Any]:
        present = self._present()
        return measured_with(self, present.known_losses(), present.sharing, self._batch_size)

    def _make_variables(self) -> None:
        """Make what a probe needs outside of any graph, where that is possible.

        Under a strategy it must be: a replica can't create variables. There Keras has built the
        model by now; elsewhere a model that has not seen data makes them when it is first traced.
        """
        present = self._present()
        losses = present.known_losses()
        if losses is None or not self.built:
            return
        with self.distribute_strategy.scope():
            self._record.prepare(losses.tasks)
            if self.lookahead == "optimizer":
                present.shadow()

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
