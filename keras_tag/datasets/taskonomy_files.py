"""Taskonomy on disk: the layout, the split lists and the encodings of labels."""

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_tag.datasets.image_files import read_image

SPLITS = ("train", "validation", "test")
DEPTH = "depth_zbuffer"
_FILE = re.compile(r"^(point_\d+_view_\d+)_domain_(\w+)\.png$")
_COLUMNS = {"train": "train", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Domain:
    """The encoding of one kind of label image: a label is `(number - mean) / scale`.

    Args:
        channels: How many channels a label has. A file may have more; then the first are taken.
        mean: Per channel, or one for all.
        scale: Per channel, or one for all.
        bits: 8 or 16, of the numbers in the file.
        masked: Whether a pixel without geometry has no label.
        smooth: Whether numbers may be averaged when the image is made smaller.
    """

    channels: int
    mean: float | tuple[float, ...]
    scale: float | tuple[float, ...]
    bits: int
    masked: bool
    smooth: bool = False


SEGMENTATION = "segment_semantic"
# A file has the classes from 1 ("background") to 17, and 0 for "uncertain", which is no label.
NUM_CLASSES = 17
# Of depth: what a file has where there is no geometry, and for a metre.
NO_GEOMETRY = 65535
PER_METRE = 512
# All other means and scales are those of the training code of Standley et al. (ICML 2020), which
# the paper's code uses too: tstandley/taskgrouping, taskonomy_loader.py.
DOMAINS = {
    SEGMENTATION: Domain(1, 1.0, 1.0, 8, masked=False),
    DEPTH: Domain(1, 1500.0, 1000.0, 16, masked=True),
    "normal": Domain(3, 127.5, 127.5, 8, masked=True),
    "keypoints2d": Domain(1, 50.0, 100.0, 16, masked=False, smooth=True),
    "edge_texture": Domain(1, 718.0, 1070.0, 16, masked=False, smooth=True),
    "edge_occlusion": Domain(1, 56.0248, 239.1265, 16, masked=True),
    "principal_curvature": Domain(
        2, (0.5175 * 255, 0.4987 * 255), (0.1373 * 255, 0.0359 * 255), 8, masked=True
    ),
}


@dataclass(frozen=True)
class Building:
    """The images of one building.

    Args:
        folder: Where it is below a domain's folder.
        views: What the names of its files begin with, sorted.
        spelled: Domain -> how the names of its files end.
    """

    folder: Path
    views: np.ndarray
    spelled: Mapping[str, str]

    def file(self, root: Path, domain: str, view: str) -> Path:
        """Return the file of one domain and view."""
        return root / domain / self.folder / f"{view}_domain_{self.spelled[domain]}.png"


def read_splits(
    splits: str | os.PathLike[str] | Mapping[str, Sequence[str] | str | os.PathLike[str]],
) -> dict[str, tuple[str, ...]]:
    """Read which building is in which split.

    Args:
        splits: See `taskonomy`.

    Returns:
        "train", "validation" and "test" -> names of buildings.

    Raises:
        FileNotFoundError: A list is not there.
        ValueError: A list that can't be read, a missing or empty split, or a building in two.
    """
    lists: dict[str, tuple[str, ...]] = {}
    if isinstance(splits, Mapping):
        for split, given in splits.items():
            names = _open(given).split() if isinstance(given, (str, os.PathLike)) else given
            lists[split] = tuple(names)
    else:
        rows = list(csv.DictReader(_open(splits).splitlines()))
        if not rows or not {"id", *_COLUMNS} <= set(rows[0]):
            raise ValueError(
                "Expected a split list in Taskonomy's format, a CSV file with the columns id, "
                f"train, val, test. Received: splits={str(splits)!r} with the columns "
                f"{list(rows[0]) if rows else []}."
            )
        for column, split in _COLUMNS.items():
            lists[split] = tuple(row["id"] for row in rows if row[column].strip() == "1")
    if set(lists) != set(SPLITS) or not all(lists.values()):
        raise ValueError(
            f"Expected `splits` to name buildings for each of {list(SPLITS)}. Received: "
            f"{ {split: len(names) for split, names in lists.items()} } buildings."
        )
    counts = Counter(name for split in SPLITS for name in lists[split])
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise ValueError(
            f"Expected every building in one split only. Received more than once: {twice}."
        )
    return lists


def find_buildings(
    root: Path, names: Sequence[str], domains: Sequence[str], limit: int | None, skip: bool
) -> list[Building]:
    """Find the images of some buildings, each with a file of every domain.

    Args:
        root: The folder with a folder for each domain.
        names: The names of the buildings.
        domains: The domains that every view must have, besides the image itself.
        limit: The most views of a building; None: all.
        skip: Leave out views without a file of some domain, instead of raising.

    Returns:
        One `Building` per name.

    Raises:
        FileNotFoundError: A folder or a file that is not there.
    """
    where = _building_folders(root)
    absent = [name for name in names if name not in where]
    if absent:
        raise FileNotFoundError(
            f"Expected a folder for every building of the split list in {str(root / 'rgb')!r}. "
            f"Missing: {absent[:10]}{' ...' * (len(absent) > 10)} ({len(absent)} of {len(names)})."
        )
    return [_read_building(root, where[name], domains, limit, skip) for name in names]


def _building_folders(root: Path) -> dict[str, Path]:
    """Return the name of a building -> its folder, relative to a domain's folder."""
    rgb = root / "rgb"
    if not rgb.is_dir():
        found = sorted(p.name for p in root.iterdir())[:10] if root.is_dir() else None
        raise FileNotFoundError(
            "Expected `root` to be a folder with Taskonomy's layout, "
            "root/rgb/<building>/point_X_view_Y_domain_rgb.png and the same for every task. "
            f"Received: root={str(root)!r}, which "
            + ("does not exist." if found is None else f"has no folder 'rgb'; it holds {found}.")
        )
    # One or two levels deep: the Omnidata tool puts a folder "taskonomy" in between.
    folders = (*rgb.glob("*/*/"), *rgb.glob("*/"))
    return {folder.name: folder.relative_to(rgb) for folder in folders}


def _read_building(
    root: Path, folder: Path, domains: Sequence[str], limit: int | None, skip: bool
) -> Building:
    listed = {domain: dict(_list(root / domain / folder)) for domain in ("rgb", *domains)}
    if not listed["rgb"]:
        raise FileNotFoundError(
            "Expected images named point_X_view_Y_domain_rgb.png in "
            f"{str(root / 'rgb' / folder)!r}. There are none."
        )
    spelled = {domain: next(iter(names.values()), domain) for domain, names in listed.items()}
    views = sorted(listed["rgb"])
    for domain in domains:
        absent = [view for view in views if view not in listed[domain]]
        if absent and not skip:
            building = Building(folder, np.array([]), spelled)
            raise FileNotFoundError(
                f"Expected a file of {domain!r} for every image. Missing: "
                f"{str(building.file(root, domain, absent[0]))!r}"
                + (f" and {len(absent) - 1} more" if len(absent) > 1 else "")
                + f" of {len(views)} in this building. Get them, leave the building out of the "
                "split list, or pass skip_incomplete=True."
            )
        views = [view for view in views if view in listed[domain]]
    # As bytes, to save memory: Taskonomy has 4.6 million images.
    return Building(folder, np.array(views[:limit], dtype=np.bytes_), spelled)


def _list(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what the name of every image in a folder begins and ends with."""
    if folder.is_dir():
        for entry in os.scandir(folder):
            match = _FILE.match(entry.name)
            if match:
                yield match[1], match[2]


def _open(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text("utf-8")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Expected a list of buildings in the file {str(path)!r}. There is none."
        ) from error


def read_domain(path: Path, domain: str) -> np.ndarray:
    """Read the numbers of one label image.

    Args:
        path: The file.
        domain: Its domain.

    Returns:
        `[height, width, channels]`, whole numbers.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file that is damaged or of another kind.
    """
    pixels = np.atleast_3d(read_image(path.read_bytes(), repr(str(path)), labels=True))
    bits, channels = 8 if pixels.itemsize == 1 else 16, pixels.shape[2]
    spec = DOMAINS[domain]
    grey = spec.channels == 1
    if bits != spec.bits or (channels != 1 if grey else channels < spec.channels):
        raise ValueError(
            f"Expected a {spec.bits}-bit {'grey' if grey else 'colour'} image of {domain!r} in "
            f"{str(path)!r}. Received: {bits}-bit pixels with {channels} channel(s)."
        )
    return pixels[..., : spec.channels]
