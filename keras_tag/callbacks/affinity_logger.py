"""`AffinityLogger`: affinities in TensorBoard, epoch by epoch."""

import io
import os
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.affinity import Affinity
from keras_tag.callbacks.tag_models import check_tag_model
from keras_tag.plotting import affinity_size, plot_affinity
from keras_tag.training.workers import is_chief

_MOST_TASKS_WITH_PAIRS = 12


class AffinityLogger(keras.callbacks.Callback):
    """Writes what was measured to TensorBoard after every epoch.

    Scalars, by epoch: `affinity/SOURCE/TARGET`, the mean over this epoch's probes (SOURCE is whose
    update, TARGET whose loss); `standard_error/...`, of the mean over the run so far;
    `probes/count`, of this epoch; `probes/seconds_per_step` and `probes/seconds_per_plain_step`,
    the median time of the steps with and without a probe; `probes/share_of_time`, what probing
    adds to this epoch's steps. Times are those that the host sees.

    With more than 12 tasks only the diagonals are written as scalars: n * n curves help nobody.

    Images: `affinity/epoch` and `affinity/run`, heatmaps of this epoch's means and the run's.

    Args:
        log_dir: TensorBoard's folder; files go into its subfolder `affinity`. `{log_dir}` of a
            `keras.callbacks.TensorBoard` is fine.

    Raises:
        ImportError: TensorBoard is not installed.
        ValueError: In `fit`, a model that is no `TAGModel`.

    Example:
        >>> log = keras_tag.callbacks.AffinityLogger("logs")
        >>> tag.fit(train, epochs=10, callbacks=[log])  # then: tensorboard --logdir logs
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        if find_spec("tensorboard") is None:
            raise ImportError(
                "AffinityLogger writes with TensorBoard, which is not installed. Install it: "
                'pip install "keras_tag[tensorboard]".'
            )
        self.log_dir = os.path.join(os.fspath(log_dir), "affinity")

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the file."""
        check_tag_model(self.model, "AffinityLogger")
        # All workers measure the same; one writes it.
        if is_chief():
            self._writer = tf.summary.create_file_writer(self.log_dir)
        else:
            self._writer = tf.summary.create_noop_writer()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin to count."""
        self._seconds: dict[bool, list[float]] = {True: [], False: []}
        self._probes = self.model.probes

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Take the time."""
        self._begun = perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Take the time, of a step with a probe or of one without."""
        self._seconds[self.model.last_step_probed].append(perf_counter() - self._begun)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write."""
        with self._writer.as_default(step=epoch):
            self._write_cost()
            if self.model.probes > self._probes:
                run = self.model.affinity()
                self._write_affinity(run, run.over(slice(-1, None)))
        self._writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        """Close the file."""
        self._writer.close()

    def _write_cost(self) -> None:
        tf.summary.scalar("probes/count", self.model.probes - self._probes)
        median = {key: float(np.median(times)) for key, times in self._seconds.items() if times}
        if True in median:
            tf.summary.scalar("probes/seconds_per_step", median[True])
        if False in median:
            tf.summary.scalar("probes/seconds_per_plain_step", median[False])
        if len(median) == 2:
            # Medians, because the first step of either kind is traced.
            extra = (median[True] - median[False]) * len(self._seconds[True])
            whole = sum(median[key] * len(self._seconds[key]) for key in median)
            tf.summary.scalar("probes/share_of_time", max(0.0, extra) / whole)

    def _write_affinity(self, run: Affinity, epoch: Affinity) -> None:
        every = len(run.tasks) <= _MOST_TASKS_WITH_PAIRS
        for name, values in (("affinity", epoch.mean), ("standard_error", run.standard_error)):
            for (i, j), value in np.ndenumerate(values):
                if (every or i == j) and np.isfinite(value):
                    tf.summary.scalar(f"{name}/{run.tasks[i]}/{run.tasks[j]}", value)
        for name, affinity in (("epoch", epoch), ("run", run)):
            tf.summary.image(f"affinity/{name}", _heatmap(affinity)[None])


def _heatmap(affinity: Affinity) -> np.ndarray:
    """Draw `[height, width, 3]` uint8 pixels. Drawn without pyplot, which would keep the figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=affinity_size(len(affinity.tasks)), layout="constrained")
    plot_affinity(affinity, figure.add_subplot())
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    image: np.ndarray = tf.io.decode_png(file.getvalue(), channels=3).numpy()
    return image
