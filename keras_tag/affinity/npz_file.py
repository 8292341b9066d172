"""The file of an `Affinity`: one `.npz` of plain arrays, with a version; no pickle."""

import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np

from keras_tag.affinity.history import AffinityHistory
from keras_tag.affinity.measurement import Measurement
from keras_tag.affinity.standard_errors import SamplingErrors
from keras_tag.atomic_files import write_atomically

_FORMAT = "keras_tag.Affinity"
# 1: tasks, mean and count. 2: also history and errors, where there are any, and metadata.
_FORMAT_VERSION = 2
_PARTS = {"history": AffinityHistory, "errors": SamplingErrors}
# Array -> kind of its dtype, and its axes: n tasks, b blocks, p pieces of time; t, m bytes of text.
_AXES = {
    "format_version": ("i", ""),
    "between_runs": ("b", ""),
    "tasks": ("u", "t"),
    "metadata": ("u", "m"),
    "mean": ("f", "nn"),
    "count": ("i", "nn"),
    "history_row": ("i", "b"),
    "history_epoch": ("i", "b"),
    "history_total": ("f", "bnn"),
    "history_count": ("i", "bnn"),
    "history_probes": ("i", "b"),
    "history_run": ("i", "b"),
    "errors_standard_error": ("f", "nn"),
    "errors_freedom": ("f", "nn"),
    "errors_pieces": ("f", "pnn"),
}
# Enough for a hundred tasks and a thousand epochs. A file that claims more is a zip bomb.
_MOST_BYTES = 2**32


def save(measurement: Measurement, path: str | os.PathLike[str]) -> None:
    """Write a measurement; see `Affinity.save`."""
    arrays: dict[str, Any] = {
        "tasks": _json_bytes(measurement.tasks),
        "mean": measurement.mean,
        "count": measurement.count,
        "between_runs": np.array(measurement.between_runs),
        "metadata": _json_bytes(measurement.metadata),
    }
    for part in _PARTS:
        values = getattr(measurement, part)
        if values is not None:
            arrays |= {f"{part}_{name}": array for name, array in vars(values).items()}

    def write(file: BinaryIO) -> None:
        np.savez_compressed(
            file, format=np.array(_FORMAT), format_version=np.array(_FORMAT_VERSION), **arrays
        )

    write_atomically(path, write)


def load(path: str | os.PathLike[str]) -> Measurement:
    """Read what `save` wrote; see `Affinity.load`."""
    # All else in the file of a newer version may be of another kind.
    head = _read(path, ("format", "format_version"))
    if str(head["format"]) != _FORMAT:
        raise _no_affinity(path, f"says that it is of format {str(head['format'])!r}")
    version = head.get("format_version", np.array(None))
    if version.shape or version.dtype.kind not in "iu":
        raise _no_affinity(path, "has no number for its format's version")
    if version > _FORMAT_VERSION:
        raise ValueError(
            f"{str(path)!r} is of affinity format {version}; this keras_tag reads up to "
            f"{_FORMAT_VERSION}. Update keras_tag to read it."
        )
    arrays = _read(path, _AXES)
    present = [part for part in _PARTS if any(name.startswith(f"{part}_") for name in arrays)]
    needed = [name for name in _AXES if name.split("_")[0] in ("tasks", "mean", "count", *present)]
    lost = [name for name in needed if name not in arrays]
    if lost:
        raise _no_affinity(path, f"lacks {lost}")
    wrong = _misshapen(arrays)
    if wrong:
        raise _no_affinity(path, f"has other shapes or dtypes in {wrong}")
    try:
        texts = {
            name: json.loads(arrays[name].tobytes())
            for name in ("tasks", "metadata")
            if name in arrays
        }
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error
    made: dict[str, Any] = {
        part: kind(**{name: arrays[f"{part}_{name}"] for name in kind.__annotations__})
        for part, kind in _PARTS.items()
        if part in present
    }
    return Measurement(
        texts["tasks"],
        arrays["mean"],
        arrays["count"],
        made.get("history"),
        made.get("errors"),
        bool(arrays.get("between_runs", False)),
        # Files of earlier versions have none.
        texts.get("metadata", {}),
    )


def _read(path: str | os.PathLike[str], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Return those arrays of the archive that have these names; others are not read."""
    try:
        return _unpacked(path, names)
    except FileNotFoundError:
        raise
    except Exception as error:
        # A damaged file raises zlib, zipfile, tokenizer, memory and other errors.
        raise _unreadable(path, error) from error


def _unpacked(path: str | os.PathLike[str], names: Iterable[str]) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if "format" not in members:
            raise ValueError(f"it holds {sorted(members)}")
        wanted = {name: members[name] for name in names if name in members}
        size = sum(info.file_size for info in wanted.values())
        if size > _MOST_BYTES:
            raise ValueError(f"unpacked it has {size:,} bytes, more than any affinity")
        for name, info in wanted.items():
            with archive.open(info) as member:
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
    return arrays


def _misshapen(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Return the names of arrays whose dtype, or shape beside the others, is wrong."""
    sizes: dict[str, int] = {}
    wrong = []
    for name, (kind, axes) in _AXES.items():
        array = arrays.get(name)
        if array is None:
            continue
        fits = array.dtype.kind == kind and array.ndim == len(axes)
        for axis, size in zip(axes, array.shape, strict=False):
            fits = fits and sizes.setdefault(axis, size) == size
        if not fits:
            wrong.append(name)
    runs = arrays.get("history_run", np.zeros(0, "int64"))
    if not wrong and runs.size and not 0 <= runs.min() <= runs.max() < len(runs):
        wrong.append("history_run")
    return wrong


def _json_bytes(value: Any) -> np.ndarray:
    """Return a value as JSON in an array of bytes. An array of strings would lose a last NUL."""
    return np.frombuffer(json.dumps(value).encode("ascii"), "uint8")


def _unreadable(path: str | os.PathLike[str], error: Exception) -> ValueError:
    return _no_affinity(path, f"can't be read as one ({type(error).__name__}: {error})")


def _no_affinity(path: str | os.PathLike[str], why: str) -> ValueError:
    return ValueError(
        f"Expected a file written by `Affinity.save`. Received: path={str(path)!r}, which {why}."
    )
