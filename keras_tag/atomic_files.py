"""Atomic writing of files: after a crash a file is the old one or the new one, never a part."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write a file through a temporary sibling, `fsync` and rename.

    Args:
        path: Where the file shall be. Its folder must exist.
        write: Called once with a binary file open for writing.

    Raises:
        FileNotFoundError: The folder of `path` does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"Expected the folder of `path` to exist. Received: path={str(target)!r}. "
            f"Create {str(target.parent)!r} first."
        )
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk.

    Args:
        path: A file or a folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
