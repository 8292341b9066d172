"""`WarmStart`: networks that begin with the weights of the joint model."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import keras


@dataclass(frozen=True, repr=False)
class WarmStart:
    """Which weights were taken from the joint model.

    Args:
        copied: Per network, the paths of the weights that were copied.
        fresh: Per network, the paths of those that were not, because the joint model has none of
            that name and shape.
    """

    copied: tuple[tuple[str, ...], ...]
    fresh: tuple[tuple[str, ...], ...]

    @classmethod
    def from_model(cls, model: keras.Model, networks: Sequence[keras.Model]) -> "WarmStart":
        """Copy weights wherever path (as in `trunk/kernel`) and shape are the same.

        Args:
            model: The joint model.
            networks: The networks, changed in place. What they share a name with in `model` they
                copy: trunks, heads and moving statistics.

        Returns:
            What was done.

        Raises:
            ValueError: A model without weights yet.
        """
        for part in (model, *networks):
            if not part.built:
                raise ValueError(
                    "Expected models that are built, so that there are weights to copy. Received: "
                    f"{part.name!r}, which is not. Call it on a batch first (a network: inside of "
                    "build_model)."
                )
        return cls(*zip(*(_copy(model, network) for network in networks), strict=True))

    def __str__(self) -> str:
        lines = []
        for index, (copied, fresh) in enumerate(zip(self.copied, self.fresh, strict=True)):
            lines.append(f"{index}: {len(copied)} weights copied, {len(fresh)} fresh")
            lines.extend(f"   fresh: {path}" for path in fresh)
        return "\n".join(lines)

    __repr__ = __str__


def _copy(source: keras.Model, target: keras.Model) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Copy what fits; the paths that were copied and those that were not."""
    sources, targets = _by_path(source), _by_path(target)
    copied, fresh = [], []
    for path, variables in targets.items():
        candidates = sources.get(path, [])
        # A path may stand for several weights (layers of one name): all of them fit, or none.
        if [v.shape for v in candidates] == [v.shape for v in variables]:
            for variable, candidate in zip(variables, candidates, strict=True):
                variable.assign(candidate)
            copied.append(path)
        else:
            fresh.append(path)
    return tuple(copied), tuple(fresh)


def _by_path(model: keras.Model) -> dict[str, list[keras.Variable]]:
    variables = defaultdict(list)
    for variable in model.weights:
        variables[variable.path].append(variable)
    return variables
