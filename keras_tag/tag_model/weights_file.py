"""Weights files of a wrapper that the wrapped model can load, and the other way round."""

import json
import os
import zipfile
from typing import Any

import h5py  # type: ignore[import-untyped,unused-ignore]

# What only a file of a `TAGModel` holds: the name of its record.
_RECORD = "_record"
# Where the wrapped model's weights are in such a file.
_WRAPPED = "model"


def link_wrapped_weights(path: Any) -> None:
    """Link the wrapped model's weights in a file to where a file of its own has them.

    Links take no space, and Keras reads only what it looks for: the file can then be loaded into
    the `TAGModel` and into the wrapped model.

    Args:
        path: A file that Keras has just saved; other than HDF5 files (shards, remote files) are
            left as they are.
    """
    if not _is_local(path, ".weights.h5"):
        return
    with h5py.File(path, "r+") as file:
        for name in list(file[_WRAPPED]):
            # Keras makes an empty group for the wrapper's own variables, of which it has none.
            if name in file and not len(file[name]):
                del file[name]
            if name not in file:
                file[name] = file[_WRAPPED][name]


def is_of_wrapped_model(path: Any) -> bool:
    """Return whether a file was saved by a model that is not a `TAGModel`.

    Args:
        path: A `.weights.h5` or `.keras` file.
    """
    if _is_local(path, ".weights.h5"):
        with h5py.File(path, "r") as file:
            return _RECORD not in file
    if _is_local(path, ".keras"):
        with zipfile.ZipFile(path) as archive, archive.open("config.json") as config:
            return bool(json.load(config).get("class_name") != "TAGModel")
    return False


def _is_local(path: Any, ending: str) -> bool:
    return os.fspath(path).endswith(ending) and os.path.exists(path)
