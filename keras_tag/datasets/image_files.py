"""Reading of images as arrays, with errors that name the file."""

import io
import os
from pathlib import Path

import numpy as np

# Pillow's modes for one channel of 16 bits or more.
_GREY_16 = ("I;16", "I;16B", "I;16L", "I")


def read_image(data: bytes, name: str) -> np.ndarray:
    """Decode an image in colour.

    Args:
        data: A JPEG or PNG file's contents.
        name: What to call it when it can't be decoded.

    Returns:
        uint8 `[height, width, 3]`.

    Raises:
        ValueError: The data are damaged.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels: np.ndarray = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"Expected an image in {name}. It can't be decoded: {error}.") from error
    return pixels


def read_label_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a PNG of labels without converting its numbers.

    Args:
        path: The file.

    Returns:
        `[height, width]` or `[height, width, channels]`, uint8 or int32 (16-bit files).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode in _GREY_16:
                return np.asarray(image).astype(np.int32)
            return np.asarray(image.convert("RGB") if image.mode in ("P", "RGBA") else image)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Expected a file {str(path)!r}. There is none.") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(
            f"Expected an image in {str(Path(path))!r}. It can't be decoded: {error}."
        ) from error
