"""The paths to which each of several workers saves."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import tensorflow as tf


def worker_name() -> str | None:
    """Return this process's name in the cluster of `TF_CONFIG`, such as "worker_1".

    Returns:
        The name; None if there is no cluster, or one of a single process.
    """
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    cluster = resolver.cluster_spec().as_dict()
    if sum(len(cluster.get(job, ())) for job in ("chief", "worker")) < 2:
        return None
    return f"{resolver.task_type}_{resolver.task_id}"


def is_chief() -> bool:
    """Return whether this process's files are kept: those of the chief, or else of worker 0."""
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    chief = "chief_0" if "chief" in resolver.cluster_spec().as_dict() else "worker_0"
    return worker_name() in (None, chief)


def worker_path(path: str | os.PathLike[str]) -> str:
    """Return where this worker saves what is to be at `path` in the end.

    Saving a model that trains on several workers is collective: variables that are synchronised
    when they are read wait until every worker reads them, so a worker that saves alone waits for
    ever. All workers call `save`; the paths of all but the chief are in folders that are deleted
    when the process ends.

    Args:
        path: The path of the file on the chief.

    Returns:
        `path` on the chief (or worker 0, or without a cluster); elsewhere a file of the same name
        in a temporary folder.

    Example:
        >>> tag.save(keras_tag.worker_path("joint.keras"))
        >>> tag.affinity().save(keras_tag.worker_path("affinity.npz"))
    """
    if is_chief():
        return os.fspath(path)
    folder = tempfile.mkdtemp(prefix="keras_tag_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return os.path.join(folder, Path(path).name)
