"""The run of a probe: before a training step of a `TAGModel`, or alone."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.tag_model.compiled_tasks import CompiledTasks
from keras_tag.tag_model.lookahead import (
    GradientStepper,
    ProbePoint,
    Stepper,
    cosine_affinity,
    first_order_affinity,
    stepped_affinity,
)
from keras_tag.tag_model.metadata import changed_settings, measured_with, part_settings
from keras_tag.tag_model.probe import Batch, JointGradient, OneProbe, Probe, state_of
from keras_tag.tag_model.probe_graph import check_probe_graph
from keras_tag.tag_model.probe_record import ProbeRecord
from keras_tag.tag_model.probed_steps import ProbeSwitch, TrainFunctions
from keras_tag.tag_model.step_rate import matching_rate
from keras_tag.training.compile_spec import compile_arguments
from keras_tag.training.dropped_updates import DroppedUpdates
from keras_tag.training.replicas import split_batch


class Prober:
    """Runs the probes of a `TAGModel`.

    `probe` runs before a training step, at the weights before its update; `measure` probes a batch
    without a training step.

    Args:
        model: The `TAGModel`, which holds the settings of its probes.
        record: Where the affinities are summed.
        moves: Returns whether probes move a shared variable; None: all are moved.
    """

    def __init__(
        self, model: Any, record: ProbeRecord, moves: Callable[[Any], bool] | None
    ) -> None:
        self.model = model
        self._record = record
        self._moves = moves
        self._compiled: CompiledTasks | None = None
        self._probing: Callable[..., Any] | None = None
        self._query: Any = None
        # The rate of the latest probe's gradient steps.
        self._rate: float | None = None
        self.switch = ProbeSwitch()
        self.batch_size: int | None = None

    @property
    def compiled(self) -> CompiledTasks:
        """What follows from the latest `compile`."""
        if self._compiled is None or not self._compiled.present:
            self._compiled = CompiledTasks(self.model, self.model.missing, self._moves)
        return self._compiled

    @property
    def shadows(self) -> bool:
        """Whether a probe takes the compiled optimizer's step, on copies."""
        kind = self.model.lookahead
        if kind == "optimizer" or kind == "cosine" or self.model.lookahead_rate is not None:
            return kind == "optimizer"
        return self.compiled.shadow_for_rate() is not None

    def measure(self, data: Any) -> np.ndarray:
        """Probe one batch, without training.

        Args:
            data: `(x, y)` or `(x, y, sample_weight)` of arrays or tensors, also ragged or sparse.

        Returns:
            `[num_tasks, num_tasks]` float64, rows = source, columns = target; NaN where it could
            not be measured.
        """
        return self.probe_once(self.prepare(data), self.query()).affinity

    def prepare(self, data: Any) -> Any:
        """Return a batch as tensors, once the variables are made that a probe of it reads."""
        composite = (tf.RaggedTensor, tf.SparseTensor)
        data = keras.tree.map_structure(
            lambda leaf: leaf if isinstance(leaf, composite) else tf.convert_to_tensor(leaf), data
        )
        self._make_variables(data)
        return data

    def query(self) -> Any:
        """Return a batch of `probe_data`, from its beginning; None where there are none."""
        return None if self.model.probe_data is None else next(self._queries())

    def probe_once(
        self,
        data: Any,
        query: Any,
        sources: Sequence[int] | None = None,
        rate: float | None = None,
    ) -> OneProbe:
        """Probe one batch outside of training.

        Args:
            data: From `prepare`.
            query: From `query`.
            sources: The tasks that take a step, by index; None: all.
            rate: The rate of gradient steps; None: as in training.
        """
        strategy = self.model.distribute_strategy
        if strategy.num_replicas_in_sync == 1:
            args = (data, query, None, sources, rate)
            affinity, losses, _, step = strategy.run(self.look_ahead, args)
        else:
            look_ahead = tf.function(
                lambda *args: strategy.run(self.look_ahead, (*args, None, sources, rate)),
                autograph=False,
            )
            found = look_ahead(split_batch(data, strategy), query)
            local = strategy.experimental_local_results
            affinity, losses, _, step = (None if f is None else local(f)[0] for f in found)
        measured: np.ndarray = affinity.numpy().astype("float64")
        return OneProbe(
            np.where(np.isfinite(measured), measured, np.nan),
            losses.numpy().astype("float64"),
            None if step is None else float(step.numpy()),
        )

    def train_functions(self, make: Callable[[], Any]) -> TrainFunctions:
        """Return the function that Keras is to call for every training step.

        Args:
            make: Makes Keras's train function anew.
        """
        self._probing = None
        self._query = self._queries() if self.model.probe_data is not None else None
        return TrainFunctions(self.model, self._record, self.switch, make, self)

    def probe(
        self, batch: Any, like: Any
    ) -> tuple[tuple[np.ndarray, np.ndarray], list[tf.Tensor] | None]:
        """Probe the batch of a training step, before the step.

        Args:
            batch: The batch, as Keras's train function takes it.
            like: The iterator that it comes from.

        Returns:
            The affinity, `[num_tasks, num_tasks]` float64, with the losses before, `[num_tasks]`;
            and the joint gradient, one tensor per trainable variable, or None if it is not reused.
        """
        model = self.model
        data = without_optionals(batch)
        if self._probing is None:
            self._make_variables(data)
            if not model.optimizer.built:
                # Unbuilt, it has no loss scale that a graph could read.
                with model.distribute_strategy.scope():
                    model.optimizer.build(model.trainable_variables)
            self._probing = self._probe_function(like)
        query = None if self._query is None else next(self._query)
        first = None
        if model.sources_per_probe is not None:
            first = tf.constant(self._record.next_source, "int64")
        affinity, _, gradient, rate = self._probing(data, query, first)
        self._record.prepare(self.compiled.sharing.tasks)
        local = model.distribute_strategy.experimental_local_results
        self._rate = None if rate is None else float(local(rate)[0].numpy())
        return local(affinity)[0].numpy().astype("float64"), gradient

    def _probe_function(self, like: Any) -> Callable[..., Any]:
        """Return the probe of `train_step` on all replicas, compiled as Keras compiles a step."""
        model = self.model
        strategy = model.distribute_strategy

        def run(*args: Any) -> Any:
            self.switch.probing = True
            try:
                found = strategy.run(model.train_step, (args,))
            finally:
                self.switch.probing = False
            if not tf.executing_eagerly():
                check_probe_graph(self.compiled.shadow_variables)
            return found

        if model.run_eagerly:
            return run
        function = tf.function(
            run, autograph=False, reduce_retracing=True, jit_compile=model.jit_compile
        )
        if strategy.num_replicas_in_sync == 1 and isinstance(like, tf.data.Iterator):
            # Of any size that a batch can have: a smaller last one is not traced again.
            query = None if self._query is None else self._query.element_spec
            first = None if model.sources_per_probe is None else tf.TensorSpec((), "int64")
            function.get_concrete_function(without_optionals(like.element_spec), query, first)
        return function

    def look_ahead(
        self,
        data: Any,
        query: Any = None,
        first: tf.Tensor | None = None,
        sources: Sequence[Any] | None = None,
        rate: float | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor] | None, tf.Tensor | None]:
        """Probe a batch with a forward pass whose effects are discarded.

        The outer tape records the forward pass and gives each task's gradient on the shared
        variables (equation 1). A task's step is applied to copies of their values, in scopes in
        which every task's loss is measured again (equation 2).

        Args:
            data: The batch of a replica.
            query: A batch of `probe_data`, or None.
            first: The first source of `sources_per_probe`; None: every task is a source.
            sources: The sources, in place of `first`.
            rate: The rate of gradient steps; None: the one in force.

        Returns:
            The affinity, the losses before, the joint gradient or None, and the rate of the
            steps, None where they have none.
        """
        model = self.model
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        state = state_of(model.model)
        with (
            tf.GradientTape(persistent=True) as tape,
            DroppedUpdates(state, model.trainable_variables) as scope,
        ):
            y_pred = model(x, training=True)
        losses = self.compiled.losses_of(y_pred)
        labels = losses.labels(y, y_pred, sample_weight)

        joint = None
        # Variables among them are read in the graph.
        weights = losses.loss_weights(compile_arguments(model).get("loss_weights"), y_pred)
        if model.reuse_gradients:
            joint = JointGradient(model.trainable_variables, weights)
        num_tasks = len(losses.tasks)
        if first is not None and model.sources_per_probe < num_tasks:
            sources = [(first + k) % num_tasks for k in range(model.sources_per_probe)]
        probe = Probe(
            forward=lambda x: model(x, training=True),
            losses=losses,
            trainable=model.trainable_variables,
            state=state,
            # Small gradients of a float16 network vanish unless the loss is scaled up.
            scale=model.optimizer.scale_loss(tf.ones(())),
            weights=weights,
        )
        point = probe.point(
            Batch.of(x, labels, losses),
            y_pred,
            tape,
            scope,
            lambda backward: self.compiled.find_sharing(losses.tasks, backward),
            None if query is None else keras.utils.unpack_x_y_sample_weight(query),
            joint,
        )
        affinity, step = self._affinity(point, sources, rate)
        return affinity, point.losses, None if joint is None else joint.sum, step

    def _affinity(
        self, point: ProbePoint, sources: Sequence[Any] | None, given: float | None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Look ahead from a point.

        Returns:
            `[num_tasks, num_tasks]`, rows = source, columns = target; and the rate of the steps, a
            scalar, None where they have none.
        """
        model = self.model
        if model.lookahead == "cosine":
            return cosine_affinity(point), None
        if model.lookahead == "optimizer":
            return stepped_affinity(point, self._shadow(), model.steps, sources), None
        rate = self._step_rate(point, given)
        # A rate that is not known is no number, and no pair is measured.
        known = tf.math.is_finite(rate)
        step = tf.where(known, rate, tf.zeros_like(rate))
        if model.lookahead == "first_order":
            affinity = first_order_affinity(point, step)
        else:
            affinity = stepped_affinity(point, GradientStepper(step), model.steps, sources)
        return tf.where(known, affinity, tf.constant(np.nan, affinity.dtype)), rate

    def _step_rate(self, point: ProbePoint, given: float | None) -> tf.Tensor:
        """Return the rate of a gradient step, a scalar."""
        model = self.model
        given = model.lookahead_rate if given is None else given
        if given is not None:
            return tf.constant(given, "float64")
        if self.compiled.shadow_for_rate() is None:
            return tf.stop_gradient(tf.convert_to_tensor(model.optimizer.learning_rate))
        return matching_rate(point, self._shadow())

    def _shadow(self) -> Stepper:
        """Return the shadow optimizer, moving the shared variables."""
        compiled = self.compiled
        return compiled.shadow().of(compiled.sharing.variables, self.model.trainable_variables)

    def describe(self) -> dict[str, Any]:
        """Return what probes are made with, as plain JSON types."""
        compiled = self.compiled
        rate = self._rate if self._rate is not None and np.isfinite(self._rate) else None
        return measured_with(
            self.model, compiled.known_losses(), compiled.sharing, self.batch_size, rate
        )

    def new_part(self) -> dict[str, Any] | None:
        """Return the settings of the part of the record that the latest probe begins.

        It warns if `compile` has changed what is measured.

        Returns:
            Plain JSON types; None if the probe is one of the last part.
        """
        compiled, record = self.compiled, self._record
        settings = part_settings(self.model, compiled)
        if not record.parts:
            return settings
        before = record.parts[-1]["settings"]
        if compiled.loaded:
            # A file's optimizer has the rate that callbacks left it with.
            settings["learning_rate"] = before["learning_rate"]
        changed = changed_settings(before, settings, compiled.known_losses())
        if not changed:
            record.describe_part(settings)
            return None
        if not record.part_is_empty:
            warnings.warn(
                "A new part of the affinity record begins with this `fit`, because `compile` has "
                f"changed {', '.join(changed)}: affinities of before and after are of different "
                "steps. `affinity()` is the mean over the probes of the last part; "
                "`affinity(parts='all')` is the mean over all.",
                stacklevel=2,
            )
        return settings

    def _make_variables(self, data: Any) -> None:
        """Make, outside of any graph, the variables that a probe reads.

        A replica can't create variables. Under a strategy Keras has built the model by now.
        """
        model = self.model
        if not model.built:
            # In a scope they could not be made.
            model(keras.utils.unpack_x_y_sample_weight(data)[0], training=False)
        with model.distribute_strategy.scope():
            if model.lookahead == "optimizer":
                self.compiled.shadow()
            elif model.lookahead != "cosine" and model.lookahead_rate is None:
                self.compiled.shadow_for_rate()

    def _queries(self) -> Any:
        """Return batches of `probe_data`, without end, distributed like the training data."""
        data = self.model.probe_data
        if not isinstance(data, tf.data.Dataset):
            data = tf.data.Dataset.from_tensor_slices(tuple(data))
            data = data.batch(int(data.cardinality()))
        data = data.repeat()
        strategy = self.model.distribute_strategy
        if strategy.num_replicas_in_sync > 1:
            data = strategy.experimental_distribute_dataset(data)
        return iter(data)


def without_optionals(batch: Any) -> Any:
    """Return a batch, or its spec, with None where Keras's iterators have an optional nothing."""
    optional = (tf.experimental.Optional, tf.OptionalSpec)
    return keras.tree.map_structure(
        lambda leaf: None if isinstance(leaf, optional) else leaf, batch
    )
