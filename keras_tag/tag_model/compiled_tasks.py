"""Task losses, shared variables and shadow optimizer of a `TAGModel` as it is compiled.

They are found when they are first needed, which may be while a step is traced, and found anew
after the next `compile`.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_tag.tag_model import checks
from keras_tag.tag_model.backward import Backward
from keras_tag.tag_model.shadow_optimizer import ShadowOptimizer
from keras_tag.tag_model.sharing import Sharing, find_sharing
from keras_tag.training.compile_spec import compile_arguments
from keras_tag.training.output_columns import label_columns
from keras_tag.training.task_losses import TaskLosses


class CompiledTasks:
    """The tasks of a compiled `TAGModel`.

    `loaded` is set where the optimizer, and with it the learning rate, came from a file.

    Args:
        model: The `TAGModel`.
        missing: A label value that means "not labelled"; None: NaN only.
        moves: Returns whether probes move a shared variable; None: all are moved.
    """

    def __init__(
        self, model: Any, missing: float | None, moves: Callable[[Any], bool] | None
    ) -> None:
        self._model = model
        self._loss = model.loss
        self._optimizer = model.optimizer
        self._arguments = compile_arguments(model)
        self._missing = missing
        with tf.init_scope():
            optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
            # As compiled: callbacks change it later.
            self.learning_rate = optimizer.get_config().get("learning_rate")
        self.loaded = False
        self._moves = moves
        self._losses: TaskLosses | None = None
        self._sharing: Sharing | None = None
        self._shadow: ShadowOptimizer | None = None
        self._shadow_of: list[int] = []
        self._no_shadow = False

    @property
    def present(self) -> bool:
        """Whether the model has not been compiled again since."""
        return self._arguments is compile_arguments(self._model)

    def losses_of(self, y_pred: Any) -> TaskLosses:
        """Return the task losses of a model with these outputs.

        Raises:
            ValueError: There are fewer than two.
        """
        if self._losses is None:
            names = getattr(self._model, "output_names", None)
            columns = label_columns([self._model.model], names or [])
            losses = TaskLosses(self._loss, y_pred, names, self._missing, columns)
            checks.check_two_tasks(losses.tasks)
            self._losses = losses
        return self._losses

    def known_losses(self) -> TaskLosses | None:
        """Return the task losses; None if the outputs can't be known before the model sees data."""
        wrapped = self._model.model
        if self._losses is None and getattr(wrapped, "inputs", None):
            return self.losses_of(wrapped.compute_output_spec(wrapped.inputs))
        return self._losses

    def find_sharing(self, tasks: Sequence[str], backward: Backward) -> Sharing:
        """Find which task uses which trainable variable, and keep it.

        Args:
            tasks: The n task names.
            backward: The backward passes of their losses.
        """
        known, trainable = self._sharing, self._model.trainable_variables
        # A layer may have been frozen since.
        if known is None or list(map(id, known.trainable)) != list(map(id, trainable)):
            used = backward.connections
            known = self._sharing = find_sharing(tasks, trainable, used, self._moves)
        return known

    @property
    def sharing(self) -> Sharing:
        """The result of `find_sharing`.

        Raises:
            ValueError: Nothing was probed yet.
        """
        if self._sharing is None:
            raise ValueError(
                "Expected a probed model: which variables are shared is found at the first probe. "
                "Call `fit` or `measure_affinity` first."
            )
        return self._sharing

    def shadow(self) -> ShadowOptimizer:
        """Return the shadow of the compiled optimizer; the first call makes it."""
        trainable = self._model.trainable_variables
        # A layer may have been frozen since.
        if self._shadow is None or self._shadow_of != list(map(id, trainable)):
            self._shadow_of = list(map(id, trainable))
            with tf.init_scope():
                if not self._optimizer.built:
                    self._optimizer.build(trainable)
                self._shadow = ShadowOptimizer(self._optimizer, trainable)
        return self._shadow

    @property
    def shadow_variables(self) -> list[Any]:
        """The variables of `shadow`; none unless probes take steps of the compiled optimizer."""
        return [] if self._shadow is None else self._shadow.variables

    def shadow_for_rate(self) -> ShadowOptimizer | None:
        """Return the shadow whose steps gradient steps are to match.

        Returns:
            None where the learning rate is the rate of a gradient step: with SGD; with gradient
            accumulation, which steps at some batches only; and with an optimizer that can't be
            copied, of which it warns.
        """
        optimizer = getattr(self._optimizer, "inner_optimizer", self._optimizer)
        if type(optimizer) is keras.optimizers.SGD or optimizer.gradient_accumulation_steps:
            return None
        if self._no_shadow:
            return None
        try:
            return self.shadow()
        except (TypeError, NotImplementedError) as error:
            self._no_shadow = True
            warnings.warn(
                f"The optimizer {type(optimizer).__name__} can't be copied from its get_config() "
                f"({error}), so look-aheads step at its learning rate. Such a step may be much "
                "longer or shorter than the optimizer's: give `lookahead_rate`.",
                stacklevel=2,
            )
            return None
