"""Files of generated rooms, in Taskonomy's layout and encodings."""

import csv
import os
from pathlib import Path

import numpy as np

from dense_rooms.scenes import View, furnish, place_camera, render

NO_GEOMETRY = 65535  # Taskonomy's largest depth: nothing there.
_DEPTH_UNITS = 512  # to the metre
# Of the same size as in Taskonomy: keypoints2d are below about 0.005 * 2**16, and edge_texture is
# mostly below 0.08 * 2**16.
_KEYPOINT_PEAK = 1_000
_EDGE_PEAK = 6_000


def write_scenes(
    root: str | os.PathLike[str],
    *,
    buildings: int = 8,
    points: int = 12,
    views: int = 2,
    image_size: int = 64,
    seed: int = 0,
) -> Path:
    """Write generated rooms as Taskonomy's files, to try dense tasks without its 11 TB.

    A building is a style (size, colours); each of its points is a room with furniture of its own,
    and a view is a camera in it. Five tasks are computed from the geometry, not annotated:
    `depth_zbuffer`, `normal`, `segment_semantic`, `edge_texture` and `keypoints2d`. Encodings are
    Taskonomy's: depth is 16-bit, 512 to the metre, 65535 where there is no geometry (here: behind
    the window); normals are bytes around 127; class 0 is "uncertain", 1 "background".

    Args:
        root: A folder; made if it is not there.
        buildings: How many buildings, at least 3: the last quarter of them, and one at least, is
            for validation, and as many before those for testing.
        points: How many rooms a building has.
        views: How many images there are of a room.
        image_size: The side of an image in pixels.
        seed: Determines all images and labels.

    Returns:
        The file with the split list, in Taskonomy's own format, for `taskonomy(splits=...)`.

    Raises:
        ValueError: A number out of its range.

    Example:
        >>> splits = write_scenes("scenes", buildings=4, views=1)
        >>> data = keras_tag.datasets.taskonomy("scenes", image_size=64, splits=splits)

    Reference:
        The layout: github.com/StanfordVL/taskonomy, data/README.md. Zamir et al., "Taskonomy:
        Disentangling Task Transfer Learning", CVPR 2018.
    """
    if buildings < 3:
        raise ValueError(
            f"Expected `buildings` >= 3, one for each split. Received: buildings={buildings}."
        )
    for name, value, least in (
        ("points", points, 1),
        ("views", views, 1),
        ("image_size", image_size, 8),
        ("seed", seed, 0),
    ):
        if value < least:
            raise ValueError(f"Expected `{name}` >= {least}. Received: {name}={value}.")
    place = Path(root)
    for building in range(buildings):
        for point in range(points):
            room = furnish(
                np.random.default_rng([seed, building, point]),
                np.random.default_rng([seed, building]),
            )
            for number in range(views):
                rng = np.random.default_rng([seed, building, point, number])
                view = render(room, place_camera(room, rng), image_size)
                _write(place, f"room{building:03d}", f"point_{point}_view_{number}", view)
    return _write_splits(place, buildings)


def encode_view(view: View) -> dict[str, np.ndarray]:
    """Return a view as the pixels of Taskonomy's files.

    Args:
        view: A rendered view.

    Returns:
        Domain -> uint8 or uint16 array; "rgb" and the five tasks.
    """
    depth = np.where(np.isfinite(view.depth), view.depth, 0.0) * _DEPTH_UNITS
    seen = np.isfinite(view.depth)
    return {
        "rgb": np.round(view.rgb * 255).astype(np.uint8),
        "depth_zbuffer": np.where(seen, np.round(depth), NO_GEOMETRY).astype(np.uint16),
        "normal": np.round(view.normal * 127.5 + 127.5 - 1e-6).astype(np.uint8),
        "segment_semantic": view.kind.astype(np.uint8),
        "edge_texture": np.round(view.edges * _EDGE_PEAK).astype(np.uint16),
        "keypoints2d": np.round(view.keypoints * _KEYPOINT_PEAK).astype(np.uint16),
    }


def _write(root: Path, building: str, stem: str, view: View) -> None:
    from PIL import Image

    for domain, pixels in encode_view(view).items():
        folder = root / domain / building
        folder.mkdir(parents=True, exist_ok=True)
        # In Taskonomy the files of this one domain are spelled otherwise than its folder.
        spelled = domain.replace("segment_semantic", "segmentsemantic")
        Image.fromarray(pixels).save(folder / f"{stem}_domain_{spelled}.png")


def _write_splits(root: Path, buildings: int) -> Path:
    held_out = max(buildings // 4, 1)
    file = root / "splits_taskonomy" / "train_val_test_scenes.csv"
    file.parent.mkdir(exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as opened:
        rows = csv.writer(opened)
        rows.writerow(["id", "train", "val", "test"])
        for index in range(buildings):
            validation = index >= buildings - held_out
            test = not validation and index >= buildings - 2 * held_out
            rows.writerow(
                [f"room{index:03d}", int(not validation and not test), int(validation), int(test)]
            )
    return file
