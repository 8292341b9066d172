"""The run of a probe: within a training step of a `TAGModel`, or alone."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.tag_model.compiled_tasks import CompiledTasks
from keras_tag.tag_model.lookahead import (
    GradientStepper,
    Stepper,
    cosine_affinity,
    first_order_affinity,
    stepped_affinity,
)
from keras_tag.tag_model.metadata import measured_with
from keras_tag.tag_model.probe import Batch, JointGradient, Probe, State, state_of
from keras_tag.tag_model.probe_record import ProbeRecord
from keras_tag.tag_model.probed_steps import OpenProbe, OpenProbes, ProbeSwitch, TrainFunctions
from keras_tag.training.compile_spec import compile_arguments
from keras_tag.training.replicas import split_batch
from keras_tag.training.task_losses import Labels, TaskLosses


class Prober:
    """Runs the probes of a `TAGModel`.

    A probed training step opens a probe before its forward pass; `within_step` measures when the
    joint loss is computed, while the weights are still those before the update. `measure` probes
    a batch without a training step.

    Args:
        model: The `TAGModel`, which holds the settings of its probes.
        record: Where the affinities are summed.
        moves: Returns whether probes move a shared variable; None: all are moved.
    """

    def __init__(
        self, model: Any, record: ProbeRecord, moves: Callable[[Any], bool] | None
    ) -> None:
        self._model = model
        self._record = record
        self._moves = moves
        self._compiled: CompiledTasks | None = None
        self._open_probes = OpenProbes()
        self.switch = ProbeSwitch()
        self.batch_size: int | None = None

    @property
    def compiled(self) -> CompiledTasks:
        """What follows from the latest `compile`."""
        if self._compiled is None or not self._compiled.present:
            self._compiled = CompiledTasks(self._model, self._model.missing, self._moves)
        return self._compiled

    def measure(self, data: Any) -> np.ndarray:
        """Probe one batch, without training.

        Args:
            data: `(x, y, sample_weight)` of tensors.

        Returns:
            `[num_tasks, num_tasks]` float64, rows = source, columns = target; NaN where it could
            not be measured.
        """
        model = self._model
        if not model.built:
            # Makes the variables of a model that has not seen data; in a scope they could not be.
            model(data[0], training=False)
        query = next(self._queries()) if model.probe_data is not None else None
        strategy = model.distribute_strategy
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

    def train_functions(self, make: Callable[[], Any]) -> TrainFunctions:
        """Return Keras's train function twice, plain and probing.

        Args:
            make: Makes Keras's train function anew.
        """
        self._make_variables()
        plain, probing = make(), make()
        queries = self._queries() if self._model.probe_data is not None else None
        return TrainFunctions(
            self._model, self._record, self.switch, plain, probing, queries, self._describe
        )

    def train_step(self, data: Any, train: Callable[[Any], Any]) -> Any:
        """Run a training step and, in the probing function, one probe within it.

        The probe shares the step's forward pass: the task gradients come from a persistent tape
        around it.

        Args:
            data: The step's batch; in the probing function with `probe_data`, a pair of it and
                the batch of `probe_data`.
            train: Keras's training step.

        Returns:
            What `train` returns.
        """
        # The counter waits for the data: their end, or a failure to read them, is no step.
        leaves = tf.nest.flatten(data, expand_composites=True)
        with tf.control_dependencies([leaf for leaf in leaves if tf.is_tensor(leaf)]):
            self._record.step.assign_add(1)
        if not self.switch.on:
            return train(data)
        data, query = data if self._model.probe_data is not None else (data, None)
        with contextlib.ExitStack() as recording:
            state = state_of(self._model.model)
            tape = recording.enter_context(tf.GradientTape(persistent=True))
            self._open_probes.open(OpenProbe(tape, recording.close, state, query))
            try:
                logs = train(data)
            finally:
                self._open_probes.take()
        self._record.finish(after=self._model.trainable_variables)
        return logs

    def within_step(
        self,
        loss: tf.Tensor,
        losses: TaskLosses,
        x: Any,
        labels: Labels,
        y_pred: Any,
        discarded: bool,
    ) -> tf.Tensor:
        """Probe the present training step, if it is one to be probed.

        Args:
            loss: The step's joint loss.
            losses: The task losses.
            x: The step's inputs.
            labels: The step's labels.
            y_pred: The step's outputs.
            discarded: Whether TensorFlow will discard the present trace. A probe in it would be
                traced for nothing.

        Returns:
            The joint loss, which the update is made from. It waits for the probe: a probe that
            raises moves no weight.
        """
        probe = self._open_probes.take()
        if probe is None:
            return loss
        model = self._model
        probe.stop_recording()
        self._record.prepare(losses.tasks)
        if discarded:
            return loss
        joint = None
        if model.reuse_gradients:
            weights = losses.loss_weights(compile_arguments(model).get("loss_weights"), y_pred)
            joint = JointGradient(model.trainable_variables, weights)
        sources = None
        if model.sources_per_probe is not None and model.sources_per_probe < len(losses.tasks):
            with tf.control_dependencies([loss]):
                sources = self._record.sources(model.sources_per_probe)
        affinity, before = self._look_ahead(
            losses,
            Batch.of(x, labels, losses),
            y_pred,
            probe.tape,
            probe.state,
            probe.query,
            joint,
            sources=sources,
        )
        self._record.add(affinity, before)
        if joint is not None:
            loss = joint.in_place_of(loss, extra=model.losses)
        with tf.control_dependencies([affinity]):
            return loss * tf.ones_like(loss)

    def _probe_alone(self, data: Any, query: Any) -> tf.Tensor:
        """Probe a batch with a forward pass whose effects are discarded."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        state = state_of(self._model.model)
        with (
            tf.GradientTape(persistent=True) as tape,
            keras.StatelessScope(state_mapping=state) as scope,
        ):
            y_pred = self._model(x, training=True)
        losses = self.compiled.losses_of(y_pred)
        batch = Batch.of(x, losses.labels(y, y_pred, sample_weight), losses)

        def source(variable: Any) -> tf.Tensor:
            # A layer may rewrite a weight in its forward pass (SpectralNormalization does); in a
            # scope the step starts from, and is the gradient at, what it wrote.
            written = scope.get_current_value(variable)
            return variable.value if written is None else written

        return self._look_ahead(losses, batch, y_pred, tape, state, query, source=source)[0]

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
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return an affinity matrix, `[num_tasks, num_tasks]`, and the losses before."""
        model, compiled = self._model, self.compiled
        probe = Probe(
            forward=lambda x: model(x, training=True),
            losses=losses,
            trainable=model.trainable_variables,
            state=state,
            # Small gradients of a float16 network vanish unless the loss is scaled up.
            scale=model.optimizer.scale_loss(tf.ones(())),
        )
        rate = model.optimizer.learning_rate
        if model.lookahead_rate is not None:
            rate = tf.constant(model.lookahead_rate, "float64")
        point = probe.point(
            batch,
            y_pred,
            tape,
            lambda *seen: compiled.find_sharing(losses.tasks, *seen),
            rate,
            None if query is None else keras.utils.unpack_x_y_sample_weight(query),
            joint,
            source,
        )
        if model.lookahead == "first_order":
            return first_order_affinity(point), point.losses
        if model.lookahead == "cosine":
            return cosine_affinity(point), point.losses
        stepper: Stepper = GradientStepper(point.rate)
        if model.lookahead == "optimizer":
            stepper = compiled.shadow().of(compiled.sharing.variables, model.trainable_variables)
        return stepped_affinity(point, stepper, model.steps, sources), point.losses

    def _describe(self) -> dict[str, Any]:
        """Return what probes are made with, as plain JSON types."""
        compiled = self.compiled
        return measured_with(
            self._model, compiled.known_losses(), compiled.sharing, self.batch_size
        )

    def _make_variables(self) -> None:
        """Make what a probe needs outside of any graph, where that is possible.

        Under a strategy it must be: a replica can't create variables. There Keras has built the
        model by now; elsewhere a model that has not seen data makes them when it is first traced.
        """
        compiled = self.compiled
        losses = compiled.known_losses()
        if losses is None or not self._model.built:
            return
        with self._model.distribute_strategy.scope():
            self._record.prepare(losses.tasks)
            if self._model.lookahead == "optimizer":
                compiled.shadow()

    def _queries(self) -> Iterator[Any]:
        """Return batches of `probe_data`, without end, distributed like the training data."""
        data = self._model.probe_data
        if not isinstance(data, tf.data.Dataset):
            data = tf.data.Dataset.from_tensor_slices(tuple(data))
            data = data.batch(int(data.cardinality()))
        data = data.repeat()
        strategy = self._model.distribute_strategy
        if strategy.num_replicas_in_sync > 1:
            data = strategy.experimental_distribute_dataset(data)
        return iter(data)
