"""Atomic writing of files: after a crash a file is the old one or the new one, never a part."""

import os
import tempfile
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
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files. Set the permissions that open() would have set.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
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
