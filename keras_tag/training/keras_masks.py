"""The Keras mask of a tensor, such as `Embedding(mask_zero=True)` gives to every output after it.

Keras multiplies the mask into the sample weights of a loss and divides a mean by the number of
unmasked positions. It has no public function that reads a mask outside of a layer's call.
`tests/training/test_keras_masks.py` fails when a release keeps masks elsewhere.
"""

from typing import Any


def mask_of(tensor: Any) -> Any:
    """Return the mask of a tensor, 1 or True where a position counts; None if it has none."""
    return getattr(tensor, "_keras_mask", None)
