"""Two planted sets: tasks by formula, so that which of them are akin is stated, not guessed.

The structure (who reads which latent features) is fixed; the seed draws inputs and noise.
"""

import numpy as np

_BLOCKS = 3  # Of latent features, ...
_BLOCK_SIZE = 4  # ... so many in each.

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]


def planted_values(seed: int) -> tuple[tuple[str, ...], np.ndarray, Arrays]:
    """Regression: y_t = a_t . tanh(3 P_k x) + noise for the tasks t of family k.

    Families A (3 tasks), B (3) and C (2) read the latent features of block 0, 1 and 2 and nothing
    else. Within a family all need the same features, and 1,500 noisy examples are too few to find
    them alone; the families have nothing in common but the inputs.

    Args:
        seed: Draws inputs and noise.

    Returns:
        Task names, which are binary (none), and split -> (x, y).
    """
    names = ("A1", "A2", "A3", "B1", "B2", "B3", "C1", "C2")
    return names, np.zeros(len(names), bool), _targets(names, seed, 16, 1500, 0.3)


def planted_classes(seed: int) -> tuple[tuple[str, ...], np.ndarray, Arrays]:
    """Binary: whether a value as in `planted_values` is positive, with tasks between families.

    Two tasks each read block A, B or C; one reads A and B, one B and C. Overlapping groups are
    the natural answer: a bridging task is a friend of two families.

    Args:
        seed: Draws inputs and noise.

    Returns:
        Task names, which are binary (all), and split -> (x, y).
    """
    names = ("A1", "A2", "B1", "B2", "C1", "C2", "AB", "BC")
    arrays = _targets(names, seed, 12, 3000, 0.1)
    signs = {split: (x, (y > 0).astype(np.float64)) for split, (x, y) in arrays.items()}
    return names, np.ones(len(names), bool), signs


def _targets(
    names: tuple[str, ...], seed: int, features: int, train_size: int, noise: float
) -> Arrays:
    structure = np.random.default_rng(1)
    projection = structure.normal(size=(features, _BLOCKS * _BLOCK_SIZE))
    projection /= np.linalg.norm(projection, axis=0)
    reads = np.array([[name.count(family) for name in names] for family in "ABC"])
    mixture = structure.normal(size=(_BLOCKS * _BLOCK_SIZE, len(names)))
    mixture *= np.repeat(reads, _BLOCK_SIZE, axis=0)
    mixture /= np.linalg.norm(mixture, axis=0)
    arrays = {}
    sizes = {"train": train_size, "validation": 500, "test": 2000}
    for index, (split, size) in enumerate(sizes.items()):
        draw = np.random.default_rng([seed, index])
        x = draw.normal(size=(size, features))
        latent = np.tanh(3 * x @ projection) / 0.85  # About unit variance.
        y = latent @ mixture + noise * draw.normal(size=(size, len(names)))
        arrays[split] = (x, y / np.sqrt(1 + noise**2))
    return arrays
