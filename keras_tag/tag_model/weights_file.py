"""Weights files of a wrapper in the layout of the wrapped model's own.

Keras saves a wrapper's layers, the wrapped model and the record, as groups `layers/...`, and its
optimizer as `optimizer`. In a file in the wrapped model's layout what is inside of the wrapped
model's group is at the root, where the wrapped model finds it, and the record is in a group of its
own, which the wrapped model does not read. Only names of HDF5 groups change.
"""

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py  # type: ignore[import-untyped,unused-ignore]

_OWN = "keras_tag"
_RECORD = "layers/probe_record"
_OPTIMIZER = "optimizer"


def to_wrapped_layout(path: Any) -> None:
    """Bring a file that Keras has just saved into the wrapped model's layout.

    Args:
        path: The file; shards and remote files are left as they are.
    """
    if not _is_local(path, ".weights.h5"):
        return
    with h5py.File(path, "r+") as file:
        wrapped = next(name for name in file["layers"] if f"layers/{name}" != _RECORD)
        own = file.create_group(_OWN)
        own.attrs["wrapped"] = wrapped
        file.move(_RECORD, f"{_OWN}/record")
        file.move("layers", f"{_OWN}/layers")
        inner = file[f"{_OWN}/layers/{wrapped}"]
        for name in list(inner):
            # The wrapper's own variables, an empty group, make room for the wrapped model's.
            if name == "vars" and name in file:
                del file[name]
            if name not in file:
                file.move(f"{_OWN}/layers/{wrapped}/{name}", name)
        del file[f"{_OWN}/layers"]


@contextlib.contextmanager
def in_wrapper_layout(path: Any) -> Iterator[Any]:
    """Yield a file in the layout in which Keras loads a wrapper.

    Args:
        path: A file; one that is in the wrapped model's layout is copied, any other is yielded as
            it is.
    """
    if not _is_local(path, ".weights.h5") or not _has(path, _OWN):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        # A copy, because Keras loads no file that links to another.
        copy = shutil.copy(path, os.path.join(folder, "copy.weights.h5"))
        with h5py.File(copy, "r+") as file:
            wrapped = file[_OWN].attrs["wrapped"]
            inner = file.create_group(f"layers_/{wrapped}")
            for name in list(file):
                if name not in (_OWN, _OPTIMIZER, "layers_"):
                    file.move(name, f"{inner.name}/{name}")
            file.move("layers_", "layers")
            file.move(f"{_OWN}/record", _RECORD)
            file.create_group("vars")
        yield copy


def is_of_another_model(path: Any) -> bool:
    """Return whether a file was saved by a model that is not a `TAGModel`.

    Args:
        path: A `.weights.h5` or `.keras` file.
    """
    if _is_local(path, ".weights.h5"):
        return not _has(path, _OWN) and not _has(path, _RECORD)
    if _is_local(path, ".keras"):
        with zipfile.ZipFile(path) as archive, archive.open("config.json") as config:
            return bool(json.load(config).get("class_name") != "TAGModel")
    return False


def _has(path: Any, name: str) -> bool:
    with h5py.File(path, "r") as file:
        return name in file


def _is_local(path: Any, ending: str) -> bool:
    return os.fspath(path).endswith(ending) and os.path.exists(path)
