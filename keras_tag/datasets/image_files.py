"""Reading of images as arrays, with errors that name the file."""

import io

import numpy as np


def read_image(data: bytes, name: str, *, labels: bool = False) -> np.ndarray:
    """Decode an image.

    Args:
        data: A JPEG or PNG file's contents.
        name: What to call it when it can't be decoded.
        labels: Whether its numbers are labels, which stay as they are stored. Otherwise it is
            decoded in colour.

    Returns:
        uint8 `[height, width, 3]`; of labels `[height, width]` or `[height, width, channels]`,
        uint8 or of more bits.

    Raises:
        ValueError: The data are damaged.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            as_stored = labels and image.mode not in ("P", "RGBA")
            pixels: np.ndarray = np.asarray(image if as_stored else image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"Expected an image in {name}. It can't be decoded: {error}.") from error
    return pixels
