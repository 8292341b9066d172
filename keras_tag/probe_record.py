"""What the probes of a run add up to: sums and counts that are saved with the weights."""

import json
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class ProbeRecord(keras.layers.Layer):
    """Running sums of affinities, as variables that a training step can add to.

    A Keras metric would be reset by `evaluate`; plain non-trainable variables are not. They are
    made when the number of tasks is known: at the first probe, or from a file.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trainable=False, dtype="float64", **kwargs)
        self.step = self._variable("step", (), "int64")
        self.probes = self._variable("probes", (), "int64")
        # A string, because Keras would copy a list or tuple set on a layer.
        self._task_names = ""
        self.total: Any = None
        self.count: Any = None
        # Nothing here depends on an input, so there is no build step to wait for.
        self.built = True

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks whose affinities are summed; empty before `prepare`."""
        return tuple(json.loads(self._task_names)) if self._task_names else ()

    def prepare(self, tasks: Sequence[str]) -> None:
        """Make the `[num_tasks, num_tasks]` sums, or check that they are of these tasks.

        Args:
            tasks: The task names.

        Raises:
            ValueError: Affinities were measured, of other tasks.
        """
        tasks = tuple(tasks)
        if self.total is None:
            shape = (len(tasks), len(tasks))
            self.total = self._variable("total", shape, "float64")
            self.count = self._variable("count", shape, "int64")
        elif self.tasks != tasks:
            raise ValueError(
                f"Expected the same tasks for the whole run: affinities of {list(self.tasks)} were "
                f"measured. Received: tasks {list(tasks)}. Wrap the model in a new TAGModel to "
                "measure other tasks."
            )
        self._task_names = json.dumps(tasks)

    def add(self, affinity: tf.Tensor) -> None:
        """Add one probe; entries that are not finite are left out and not counted.

        Args:
            affinity: `[num_tasks, num_tasks]`.
        """
        self.probes.assign_add(1)
        affinity = tf.cast(affinity, self.total.dtype)
        finite = tf.math.is_finite(affinity)
        self.total.assign_add(tf.where(finite, affinity, tf.zeros_like(affinity)))
        self.count.assign_add(tf.cast(finite, self.count.dtype))

    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean (NaN where nothing was counted) and the counts, `[num_tasks, num_tasks]`."""
        count = self.count.numpy()
        with np.errstate(invalid="ignore"):
            return self.total.numpy() / count, count

    def reset(self) -> None:
        """Forget the affinities; the step goes on."""
        self.probes.assign(0)
        if self.total is not None:
            self.total.assign(np.zeros(self.total.shape))
            self.count.assign(np.zeros(self.count.shape, "int64"))

    def save_own_variables(self, store: Any) -> None:
        """Write step, sums and counts under their names."""
        store["step"] = self.step.numpy()
        store["probes"] = self.probes.numpy()
        if self.total is not None:
            store["tasks"] = np.frombuffer(self._task_names.encode("utf-8"), "uint8")
            store["total"] = self.total.numpy()
            store["count"] = self.count.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Read what `save_own_variables` wrote; the file says which tasks it is of."""
        self.step.assign(np.asarray(store["step"]))
        self.probes.assign(np.asarray(store["probes"]))
        if "total" in store:
            self.prepare(json.loads(bytes(np.asarray(store["tasks"])).decode("utf-8")))
            self.total.assign(np.asarray(store["total"]))
            self.count.assign(np.asarray(store["count"]))
        else:
            self.reset()

    def _variable(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        # Every replica holds the same affinity already: taking the first does not count it twice.
        return self.add_weight(
            shape=shape,
            initializer="zeros",
            dtype=dtype,
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )
