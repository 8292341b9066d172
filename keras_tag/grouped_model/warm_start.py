"""`WarmStart`: networks that begin with the weights of another model."""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_tag.copying.layer_walk import flattened
from keras_tag.copying.saved_state import SavedState
from keras_tag.tag_model import TAGModel


@dataclass(frozen=True, repr=False)
class WarmStart:
    """Which weights were taken from another model.

    Args:
        copied: Per network, the paths of the weights that were copied.
        fresh: Per network, the paths of those that were not, because the other model has none of
            that name and shape.
    """

    copied: tuple[tuple[str, ...], ...]
    fresh: tuple[tuple[str, ...], ...]

    @classmethod
    def from_model(cls, model: keras.Model, networks: Sequence[keras.Model]) -> "WarmStart":
        """Copy all state of layers of the same name and class, and weights of the same path.

        Args:
            model: The model to copy from, usually the joint one.
            networks: The networks, changed in place.

        Returns:
            What was copied.

        Raises:
            ValueError: A model is not built, so it has no weights.
        """
        model = model.model if isinstance(model, TAGModel) else model
        for part in (model, *networks):
            if not part.built:
                raise ValueError(
                    "Expected models that are built, so that there are weights to copy. Received: "
                    f"{part.name!r}, which is not. Call it on a batch first (a network: inside of "
                    "build_model)."
                )
        taken: set[int] = set()
        report = cls(*zip(*(_copy(model, network, taken) for network in networks), strict=True))
        left = [weight.path for weight in model.weights if id(weight) not in taken]
        if left:
            warnings.warn(
                f"No network takes these weights of {model.name!r}: {left}. A weight is copied to "
                "a layer of the same name and class, or to a weight of the same path, and only if "
                "the shapes are the same.",
                stacklevel=5,
            )
        return report

    def __str__(self) -> str:
        lines = []
        for index, (copied, fresh) in enumerate(zip(self.copied, self.fresh, strict=True)):
            lines.append(f"{index}: {len(copied)} weights copied, {len(fresh)} fresh")
            lines.extend(f"   fresh: {path}" for path in fresh)
        return "\n".join(lines)

    __repr__ = __str__


def _copy(
    source: keras.Model, target: keras.Model, taken: set[int]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Copy what fits into one network.

    Args:
        source: The model to copy from.
        target: The network.
        taken: Receives the identities of the source's weights that were copied.

    Returns:
        The paths of the network's weights that were copied, and of those that were not.
    """
    by_layer: set[int] = set()
    layers = {layer.name: layer for layer in source.layers}
    for layer in target.layers:
        original = layers.get(layer.name)
        if original is not None and _alike(original, layer):
            _copy_layer(original, layer)
            by_layer |= {id(weight) for weight in layer.weights}
            taken |= {id(weight) for weight in original.weights}
    copied, fresh = [], []
    sources, targets = _by_path(source), _by_path(target)
    for path, weights in targets.items():
        candidates = sources.get(path, [])
        if all(id(weight) in by_layer for weight in weights):
            copied.append(path)
        # A path may stand for several weights (layers of one name): all of them fit, or none.
        elif [w.shape for w in candidates] == [w.shape for w in weights]:
            for weight, candidate in zip(weights, candidates, strict=True):
                weight.assign(candidate)
            taken |= {id(candidate) for candidate in candidates}
            copied.append(path)
        else:
            fresh.append(path)
    return tuple(copied), tuple(fresh)


def _alike(one: Any, other: Any) -> bool:
    """Return whether two layers contain the same classes of layers and shapes of weights."""
    return _kinds(one) == _kinds(other) and [tuple(w.shape) for w in one.weights] == [
        tuple(w.shape) for w in other.weights
    ]


def _kinds(layer: Any) -> list[type]:
    return [type(inner) for inner in (layer, *flattened(layer))]


def _copy_layer(source: Any, target: Any) -> None:
    """Copy weights and what else the layers save, such as vocabularies."""
    for inner, copy in zip(flattened(source), flattened(target), strict=True):
        SavedState.of(inner).load(copy)
    SavedState.of(source).load(target)
    for weight, original in zip(target.weights, source.weights, strict=True):
        weight.assign(original)


def _by_path(model: keras.Model) -> dict[str, list[keras.Variable]]:
    weights = defaultdict(list)
    for weight in model.weights:
        weights[weight.path].append(weight)
    return weights
