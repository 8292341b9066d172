"""CelebA on disk, as TensorFlow Datasets prepares it.

This module never uses the network, and imports TensorFlow only where it is needed.
"""

import os
from pathlib import Path
from typing import Any

# The files on CelebA's public page ("Align&Cropped Images" and the lists beside them), under the
# names that TensorFlow Datasets expects.
FILES = (
    "img_align_celeba.zip",
    "list_attr_celeba.txt",
    "list_eval_partition.txt",
    "list_landmarks_align_celeba.txt",
    "identity_CelebA.txt",
)


def prepare_celeb_a(
    folder: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None
) -> Path:
    """Prepare CelebA from files that you downloaded by hand.

    The automatic download from Google Drive often fails because the file's daily quota is used up.
    A browser usually succeeds: from "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html" get the
    five files `img_align_celeba.zip` (1.4 GB), `list_attr_celeba.txt`, `list_eval_partition.txt`,
    `list_landmarks_align_celeba.txt` and `identity_CelebA.txt`. They are checked against the
    checksums of TensorFlow Datasets and converted by its own CelebA builder, which holds all images
    in memory, compressed, until it is done. No network is used.

    Args:
        folder: Where the five files are.
        data_dir: Where TensorFlow Datasets keeps its data. None: the environment variable
            TFDS_DATA_DIR, or `~/tensorflow_datasets`.

    Returns:
        The folder with the prepared data, for `celeb_a(data_dir=...)`.

    Raises:
        FileNotFoundError: One of the files is not there.
        ImportError: tensorflow-datasets is not installed.

    Example:
        >>> keras_tag.datasets.prepare_celeb_a("Downloads")
        >>> data = keras_tag.datasets.celeb_a()
    """
    place = Path(folder).expanduser()
    absent = [name for name in FILES if not (place / name).is_file()]
    if absent:
        raise FileNotFoundError(
            f"Expected the five files {', '.join(FILES)} in folder={str(place)!r}. Missing: "
            f"{', '.join(absent)}. Get them from "
            "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (as .txt, not as .csv)."
        )
    tfds = import_tfds()
    target = default_data_dir(data_dir)
    builder = tfds.builder("celeb_a", data_dir=target)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=place, try_download_gcs=False)
    )
    return Path(builder.data_path)


def default_data_dir(data_dir: str | os.PathLike[str] | None) -> Path:
    """Return the folder in which TensorFlow Datasets keeps its data."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def prepared_celeb_a(data_dir: str | os.PathLike[str] | None) -> Path:
    """Return the folder with the newest prepared version of CelebA.

    Args:
        data_dir: As in `celeb_a`.

    Returns:
        The folder that holds `dataset_info.json`.

    Raises:
        FileNotFoundError: CelebA is not prepared there. (TensorFlow Datasets itself would try a
            download for minutes.)
    """
    place = default_data_dir(data_dir)
    for parent in (place, place / "celeb_a"):
        if (parent / "dataset_info.json").is_file():
            return parent
        found = [info.parent for info in parent.glob("[0-9]*/dataset_info.json")]
        if found:
            return max(found, key=lambda folder: [int(n) for n in folder.name.split(".")])
    said = "" if data_dir is None else f"data_dir={str(data_dir)!r}, "
    raise FileNotFoundError(
        f"Expected CelebA, prepared by TensorFlow Datasets. Received: {said}and there is no "
        f"{str(place / 'celeb_a' / '*' / 'dataset_info.json')!r}. Prepare it once, with\n"
        f"    tfds build celeb_a --data_dir {place}\n"
        "That downloads 1.4 GB from Google Drive, and often fails because the file's daily quota "
        "is used up (an error about a wrong checksum). Then get the five files by hand from "
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html into one folder, and run\n"
        f"    keras_tag.datasets.prepare_celeb_a(folder, data_dir={str(place)!r})"
    )


def import_tfds() -> Any:
    """Return TensorFlow Datasets, or raise an error that says how to install it."""
    try:
        import importlib_resources  # noqa: F401  tensorflow-datasets does not require it.
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            f"CelebA is read through tensorflow-datasets, which is not installed ({error}). "
            'Run: pip install "keras_tag[datasets]"'
        ) from error
    return tfds
