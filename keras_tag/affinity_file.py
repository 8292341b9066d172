"""The file of an `Affinity`: one `.npz` of plain arrays, with a version; no pickle."""

import json
import os
import zipfile
from typing import Any, BinaryIO

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.affinity_errors import SamplingErrors
from keras_tag.affinity_history import AffinityHistory
from keras_tag.atomic_files import write_atomically

_FORMAT = "keras_tag.Affinity"
# 1: tasks, mean and count. 2: also history and errors, where there are any.
_FORMAT_VERSION = 2
_HISTORY = ("row", "epoch", "total", "count", "probes", "run")
_ERRORS = ("standard_error", "freedom", "pieces")


def save(affinity: Affinity, path: str | os.PathLike[str]) -> None:
    """See `Affinity.save`."""
    arrays: dict[str, Any] = {
        # Not a string array: NumPy drops a name's last NUL.
        "tasks": np.frombuffer(json.dumps(affinity.tasks).encode("ascii"), "uint8"),
        "mean": affinity.mean,
        "count": affinity.count,
        "between_runs": np.array(affinity.between_runs),
    }
    if affinity.history is not None:
        arrays |= {f"history_{name}": getattr(affinity.history, name) for name in _HISTORY}
    if affinity.errors is not None:
        arrays |= {f"errors_{name}": getattr(affinity.errors, name) for name in _ERRORS}

    def write(file: BinaryIO) -> None:
        np.savez_compressed(
            file, format=np.array(_FORMAT), format_version=np.array(_FORMAT_VERSION), **arrays
        )

    write_atomically(path, write)


def load(path: str | os.PathLike[str]) -> Affinity:
    """See `Affinity.load`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(
            f"Expected a file written by `Affinity.save`. Received: path={str(path)!r}, which "
            f"can't be read as one ({error})."
        ) from error
    if str(arrays.get("format", "")) != _FORMAT:
        raise ValueError(
            f"Expected a file written by `Affinity.save`. Received: path={str(path)!r}, which "
            f"holds {sorted(arrays)}."
        )
    version = int(arrays["format_version"])
    if version > _FORMAT_VERSION:
        raise ValueError(
            f"{str(path)!r} is of affinity format {version}; this keras_tag reads up to "
            f"{_FORMAT_VERSION}. Update keras_tag to read it."
        )
    try:
        return _affinity(arrays)
    except KeyError as error:
        raise ValueError(
            f"Expected a file written by `Affinity.save`. Received: path={str(path)!r}, which "
            f"lacks {error}."
        ) from error


def _affinity(arrays: dict[str, np.ndarray]) -> Affinity:
    history = errors = None
    if "history_row" in arrays:
        history = AffinityHistory(*(arrays[f"history_{name}"] for name in _HISTORY))
    if "errors_freedom" in arrays:
        errors = SamplingErrors(*(arrays[f"errors_{name}"] for name in _ERRORS))
    return Affinity(
        tuple(json.loads(arrays["tasks"].tobytes())),
        arrays["mean"],
        arrays["count"],
        history,
        errors,
        bool(arrays.get("between_runs", False)),
    )
