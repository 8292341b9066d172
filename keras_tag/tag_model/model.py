"""`TAGModel`: a Keras model whose `fit` also measures inter-task affinity."""

import dataclasses
import functools
import inspect
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.tag_model import checks
from keras_tag.tag_model.fit_callbacks import FollowFit, with_own_callback
from keras_tag.tag_model.metadata import batch_size_of
from keras_tag.tag_model.preflight import CheckedModel
from keras_tag.tag_model.probe import with_gradient
from keras_tag.tag_model.probe_record import ProbeRecord
from keras_tag.tag_model.probed_steps import StepFunctions
from keras_tag.tag_model.prober import Prober
from keras_tag.tag_model.sharing import serialize_shared, shared_filter
from keras_tag.training.compile_spec import targets_of_metrics
from keras_tag.training.distributed_model import check_in_scope, check_same_strategy
from keras_tag.training.missing_labels import check_missing, known_complete
from keras_tag.training.replicas import exact_share

if TYPE_CHECKING:
    import pandas as pd


@keras.saving.register_keras_serializable(package="keras_tag")
class TAGModel(CheckedModel):
    """Trains a multi-task model as Keras does, and measures inter-task affinity while it trains.

    Every `every`-th training step is probed before its joint update: for each task i the shared
    variables are moved by task i's step alone, every task's loss is measured on the same batch,
    and the move is discarded. Training is not disturbed: weights, metrics and History are those
    of the wrapped model's own `fit`, bit for bit where no label is missing. A step is Keras's own
    graph (docs/promises.md says where not); a probe is another function, which runs before it.

    `compile`, `evaluate` and `predict` are Keras's own; `fit` is Keras's with one callback more.

    Args:
        model: The model to train, with at least two outputs (a flat dict or list of them). It is
            wrapped, never cloned: training the `TAGModel` trains it.
        every: Probe when the number of steps taken is a multiple of this; the second step in place
            of the first, which starts at once. None: every 10th step, in a `fit` of more than 1,000
            steps so that 100 steps are probed, from 5,000 steps on every 50th step; every 10th if
            the length of the data is not known. "auto": the first steps of `fit` are timed; from
            then on `every` is the smallest number that keeps probing below `overhead`. The number
            is printed; given instead of "auto" it repeats the run.
        overhead: With every="auto", the time for probes as a fraction of plain training.
        lookahead: How a task's step is taken. "gradient": `theta - rate * gradient`, the paper's
            equation 1. "optimizer": the compiled optimizer's real step, slots and all, on shadow
            copies. "first_order": the first-order term of "gradient", without look-ahead passes.
            "cosine": cosine similarity of the task gradients, TAG's rival.
        lookahead_rate: The rate of a "gradient" or "first_order" step. None: as long as the
            optimizer's step, to first order; with SGD its current learning rate. Affinity is not
            divided by it.
        shared: Which variables a task's step moves. None: every trainable variable that at least
            two tasks' losses depend on, found by gradient connection. Or those of them that
            belong to a sequence of layers or layer names, or for which a predicate
            `variable -> bool` is true.
        steps: Successive steps of the same task in a look-ahead ("gradient" and "optimizer").
        missing: A label value that means "not labelled", such as -1. NaN always means so.
        probe_data: Where losses before and after are measured: None, the training batch itself; or
            other data, one batch `(x, y)` or `(x, y, sample_weight)` of arrays or a batched
            `tf.data.Dataset` that is drawn from endlessly. It is not saved with the model.
        reuse_gradients: At probed steps, take the joint gradient as the weighted sum of the task
            gradients instead of a backward pass of its own. Equal up to rounding, so `fit` is
            then not bit-identical to the wrapped model's.
        sources_per_probe: How many tasks are the source in one probe; None: all n. With m, each
            probe takes the next m tasks in turn: the measured rows are exact, a probe costs m / n
            of the passes, and every pair is measured m / n times as often.
        **kwargs: `name`, for `keras.Model`.

    Attributes:
        initial_weights: The wrapped model's weights when `fit` was first called, for
            `build_from(tag, start="initial")`; None before, and for a model that was not built.
            Set it to an empty list before `fit`, and they are not kept.

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
        check_missing(missing)
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
        self._record = ProbeRecord(name="probe_record")
        self._prober = Prober(self, self._record, shared_filter(shared))
        self.initial_weights: list[np.ndarray] | None = None
        if model.built:
            self.build(getattr(model, "input_shape", None))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`, serialised, without `probe_data`, which is data."""
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

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the saved model was compiled."""
        super().compile_from_config(config)
        self._prober.compiled.loaded = True

    def load_weights(self, *args: Any, **kwargs: Any) -> None:
        """Load weights as Keras does, also those that the wrapped model saved."""
        super().load_weights(*args, **kwargs)
        if self.compiled and self.loss is not None:
            self._prober.compiled.loaded = True

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "TAGModel":
        """Make the model that `get_config` describes."""
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
        losses = self._prober.compiled.known_losses()
        if losses is None and self._record.tasks:
            return self._record.tasks
        if losses is None:
            raise ValueError(
                f"The tasks of {type(self.model).__name__!r} are known when it has seen data: call "
                "`fit`, `evaluate` or `measure_affinity` first."
            )
        return losses.tasks

    def affinity(self, *, parts: Literal["last", "all"] = "last") -> Affinity:
        """Return the mean affinity over the probes so far.

        A `compile` that changes which variables are shared, the loss weights, the losses, the rate
        or the look-ahead begins a new part of the record, and `fit` warns of it.

        Args:
            parts: The mean over the probes of the last part, or over those of all parts.

        Returns:
            An `Affinity`, rows = source, columns = target; NaN and count 0 for a pair that was
            never measured. Its metadata are the settings of the latest epoch.

        Raises:
            ValueError: No probe has been made; or `parts` is neither "last" nor "all".
        """
        checks.check_parts(parts)
        all_parts = parts == "all"
        history = self._record.history(all_parts=all_parts) if self._record.tasks else None
        if history is None or not history.count.any():
            raise ValueError(
                "Expected at least one probe. Received none: call `fit` first (the second step is "
                f"probed, and every {self.probes_every}th). If it ran them, every loss was 0 or "
                "not finite, or no task had labels when it was its turn."
            )
        affinity = Affinity.from_history(self._record.tasks, history)
        metadata = self._record.measured_with
        if all_parts:
            metadata["parts"] = len(self._record.parts)
        return dataclasses.replace(affinity, metadata=metadata)

    @property
    def probes(self) -> int:
        """How many probes were made; where `affinity().count` is less, some were left out."""
        return self._record.probes

    @property
    def probes_every(self) -> int | str:
        """How often the present or latest `fit` probes: every so many steps, or still "auto"."""
        return self._prober.switch.every if self.every is None else self.every

    def pause_probing(self) -> None:
        """Train on without probes, from the next step, until `resume_probing`; also in `fit`."""
        self._prober.switch.paused = True

    def resume_probing(self) -> None:
        """Probe every `probes_every`-th step again."""
        self._prober.switch.paused = False

    @property
    def probing_paused(self) -> bool:
        """Whether `pause_probing` was called last. It is not saved with the model."""
        return self._prober.switch.paused

    @property
    def last_step_probed(self) -> bool:
        """Whether the latest training step of `fit` was probed; for callbacks that measure cost."""
        return self._prober.switch.last_step_probed

    def reset_affinity(self) -> None:
        """Forget the probes made so far; weights and step counter stay."""
        self._record.reset()

    @property
    def shared_variables(self) -> tuple[Any, ...]:
        """The trainable variables that probes move, in the model's order.

        Raises:
            ValueError: Not known before the first probe (`fit` or `measure_affinity`).
        """
        return self._prober.compiled.sharing.variables

    def sharing_report(self) -> "pd.DataFrame":
        """Return which task's loss depends on which trainable variable, and which are shared.

        Returns:
            A frame with one row per trainable variable (index: its path) and the columns
            "parameters" (how many numbers), "shared" (whether probes move it) and one per task
            (whether its loss depends on it).

        Raises:
            ValueError: Not known before the first probe (`fit` or `measure_affinity`).
        """
        return self._prober.compiled.sharing.report()

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
        return self._prober.measure(keras.utils.pack_x_y_sample_weight(x, y, sample_weight))

    # Keras's training, probed.

    @functools.wraps(keras.Model.fit)
    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train as Keras does, with the callback that probing needs."""
        call = inspect.signature(keras.Model.fit).bind(self, *args, **kwargs)
        if self.initial_weights is None and self.model.built:
            read = keras.ops.convert_to_tensor
            self.initial_weights = [read(weight).numpy() for weight in self.model.weights]
        given, prober = call.arguments, self._prober
        prober.switch.verbose = given.get("verbose", "auto") != 0
        prober.batch_size = batch_size_of(given.get("x"), given.get("batch_size"))
        own = FollowFit(self, self._record, prober.switch)
        given["callbacks"] = with_own_callback(given.get("callbacks"), own)
        complete = known_complete(given.get("y"), self.missing)
        with prober.switch.data(complete):
            return super().fit(*call.args[1:], **call.kwargs)

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as Keras does."""
        given = inspect.signature(keras.Model.evaluate).bind(self, *args, **kwargs).arguments
        with self._prober.switch.data(known_complete(given.get("y"), self.missing)):
            return super().evaluate(*args, **kwargs)

    def make_train_function(self, force: bool = False) -> Any:
        """Make the function that chooses before every step whether it is probed."""
        if self.train_function is None or force:
            checks.check_compiled(self, "fit")
            checks.check_supported(self)
            self.train_function = self._prober.train_functions(self.make_kerass_train_function)
        self.train_function.begin()
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        """Make the function that Keras calls for every step of `evaluate`."""
        if self.test_function is None or force:
            self.test_function = StepFunctions(self._prober.switch, self.make_kerass_test_function)
        self.test_function.begin()
        return self.test_function

    def train_step(self, data: Any) -> Any:
        """Run Keras's training step; before a step that is probed, its probe, with nested tapes."""
        switch = self._prober.switch
        if switch.probing:
            return self._prober.look_ahead(*data)
        data, switch.gradient = data if switch.reuses else (data, None)
        try:
            return super().train_step(data)
        finally:
            switch.gradient = None

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return Keras's joint loss over the labels that are there."""
        switch = self._prober.switch
        losses = self._prober.compiled.losses_of(y_pred)
        labels = losses.labels_for_keras(y, y_pred, sample_weight, switch.complete)
        loss = super().compute_loss(
            x,
            losses.pack({task: own.y for task, own in labels.items()}, y, y_pred),
            y_pred,
            losses.pack_weights({t: own.loss_weight for t, own in labels.items()}, y_pred),
            training,
        )
        if losses.all_means:
            loss = exact_share(loss)
        if switch.gradient is None:
            return loss
        return with_gradient(loss, switch.gradient, self.trainable_variables, self.losses)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Return Keras's metrics; `weighted_metrics` see labelled examples only."""
        losses = self._prober.compiled.losses_of(y_pred)
        complete = self._prober.switch.complete
        labels = losses.labels_for_keras(y, y_pred, sample_weight, complete)
        clean = losses.pack(targets_of_metrics(self, labels), y, y_pred)
        weights = losses.pack_weights({t: own.metric_weight for t, own in labels.items()}, y_pred)
        return super().compute_metrics(x, clean, y_pred, weights)
