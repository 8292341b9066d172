"""`SavedState`: what layers save by methods of their own, such as vocabularies."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np


@dataclass(frozen=True)
class SavedState:
    """What a layer saves by methods of its own, on the host.

    Args:
        variables: What its `save_own_variables` saves; empty if the method is Keras's.
        assets: File name -> content, what its `save_assets` saves.
    """

    variables: Mapping[str, np.ndarray]
    assets: Mapping[str, bytes]

    @classmethod
    def of(cls, layer: Any) -> "SavedState":
        """Let a layer save."""
        variables: dict[str, Any] = {}
        assets: dict[str, bytes] = {}
        if _saves_variables(layer):
            layer.save_own_variables(variables)
        if _overrides(layer, "save_assets"):
            with tempfile.TemporaryDirectory() as folder:
                layer.save_assets(folder)
                assets = {file.name: file.read_bytes() for file in Path(folder).iterdir()}
        return cls({key: on_host(value) for key, value in variables.items()}, assets)

    def load(self, layer: Any) -> None:
        """Let another layer of the same class load it."""
        # In the order in which Keras loads them.
        if _saves_variables(layer):
            layer.load_own_variables(dict(self.variables))
        if self.assets:
            with tempfile.TemporaryDirectory() as folder:
                for name, content in self.assets.items():
                    (Path(folder) / name).write_bytes(content)
                layer.load_assets(folder)


def on_host(value: Any) -> np.ndarray:
    """Return a copy of a weight, a tensor or an array that nothing changes later."""
    copied: np.ndarray = keras.ops.convert_to_tensor(value).numpy()
    return copied


def _saves_variables(layer: Any) -> bool:
    # The methods of layers that can have LoRA merge it into the kernel: it would be lost.
    return _overrides(layer, "load_own_variables") and not hasattr(layer, "lora_enabled")


def _overrides(layer: Any, method: str) -> bool:
    """Return whether a layer's class has its own version of a method of `keras.layers.Layer`."""
    return getattr(type(layer), method, None) is not getattr(keras.layers.Layer, method, None)
