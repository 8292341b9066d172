"""Rooms of simple geometry and their views, rendered by casting rays.

A room is the inside of a box with a window in its far wall; boxes and spheres stand on its floor.
For every pixel a ray is cast; depth, normal, class, edges and corners follow from the surface that
it hits, so that labels are exact.
World and camera coordinates: x right, y up; the camera looks along +z. NumPy only.
"""

from dataclasses import dataclass

import numpy as np

# Taskonomy's numbers of semantic classes: 0 is "uncertain", the others are lines of its list.
UNCERTAIN, BACKGROUND, COUCH, FRIDGE, BOOK, VASE = 0, 1, 4, 14, 15, 17
_BOX_CLASSES = (COUCH, FRIDGE, BOOK)
_SIZES = {COUCH: (1.3, 0.7, 0.8), FRIDGE: (0.7, 1.6, 0.7), BOOK: (0.5, 0.3, 0.5)}
_FIELD_OF_VIEW = np.deg2rad(61.2)  # Taskonomy's mean.
_CHECK = 0.9  # metres: the side of a floor tile.
_STRIPE = 1.1  # metres: the width of a stripe of the walls.
_FLOOR = 2  # The room's faces are numbered: -x, +x, -y (floor), +y, -z, +z (far wall).
_FAR = 5


@dataclass(frozen=True)
class Box:
    """A box that stands upright, its sides parallel to the walls."""

    low: np.ndarray
    high: np.ndarray
    kind: int
    colour: np.ndarray


@dataclass(frozen=True)
class Sphere:
    """A sphere."""

    centre: np.ndarray
    radius: float
    kind: int
    colour: np.ndarray


@dataclass(frozen=True)
class Room:
    """A room with its furniture.

    Args:
        walls: The room itself, a `Box` seen from inside.
        window: `[2, 2]`: from (x, y) to (x, y) on the far wall, in metres. There is no geometry
            behind it.
        stripe: The colour of the other stripes of the walls.
        tile: The colour of the other tiles of the floor.
        boxes: Furniture.
        spheres: Furniture.
    """

    walls: Box
    window: np.ndarray
    stripe: np.ndarray
    tile: np.ndarray
    boxes: tuple[Box, ...]
    spheres: tuple[Sphere, ...]


@dataclass(frozen=True)
class Camera:
    """The position and the direction of a camera.

    Args:
        position: `[3]`, metres.
        yaw: Radians to the right.
        pitch: Radians upwards.
    """

    position: np.ndarray
    yaw: float
    pitch: float

    @property
    def rotation(self) -> np.ndarray:
        """`[3, 3]`: its columns are the camera's x, y and z axes in the world."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        c, s = np.cos(self.pitch), np.sin(self.pitch)
        return turn @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]])


@dataclass(frozen=True)
class View:
    """An image with its labels, as arrays of `[size, size]` pixels.

    Args:
        rgb: float `[size, size, 3]` in [0, 1].
        depth: Distance along the camera's axis in metres; infinite where there is no geometry.
        normal: `[size, size, 3]`, unit vectors in the camera's coordinates, but with z towards the
            camera. Zero where there is no geometry.
        kind: Semantic classes, as Taskonomy numbers them.
        edges: In [0, 1]: borders of surfaces and of their tiles and stripes, a little blurred.
        keypoints: In [0, 1]: the corners that are not hidden, as small bumps.
    """

    rgb: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    kind: np.ndarray
    edges: np.ndarray
    keypoints: np.ndarray


@dataclass(frozen=True)
class _Hits:
    """The nearest surface of every pixel."""

    depth: np.ndarray
    point: np.ndarray
    normal: np.ndarray  # in the world
    kind: np.ndarray
    colour: np.ndarray
    patch: np.ndarray  # which patch of one colour of which face: neighbours differ at an edge


def furnish(rng: np.random.Generator, style: np.random.Generator) -> Room:
    """Make a room with random furniture.

    Args:
        rng: Determines the furniture.
        style: Determines the size and colours of the room, which the rooms of a building share.

    Returns:
        A `Room`.
    """
    half, height, length = style.uniform([2.2, 2.4, 5.0], [3.2, 3.2, 8.0])
    wall, stripe, floor, tile = style.uniform(0.25, 0.95, (4, 3))
    corner = np.array([half, height, length])
    walls = Box(np.array([-half, 0.0, 0.0]), corner, BACKGROUND, wall)
    left, top = rng.uniform(-half, half - 1.4), rng.uniform(1.6, height - 0.2)
    window = np.array([[left, top - rng.uniform(0.6, 1.2)], [left + rng.uniform(0.9, 1.4), top]])
    boxes, spheres = [], []
    for _ in range(rng.integers(2, 5)):
        at = np.array([rng.uniform(-half + 0.7, half - 0.7), 0.0, rng.uniform(2.2, length - 0.6)])
        colour = rng.uniform(0.1, 1.0, 3)
        if rng.random() < 0.4:
            radius = rng.uniform(0.25, 0.55)
            spheres.append(Sphere(at + np.array([0, radius, 0]), radius, VASE, colour))
        else:
            kind = int(rng.choice(_BOX_CLASSES))
            size = np.array(_SIZES[kind]) * rng.uniform(0.8, 1.2)
            low = at - size * [0.5, 0.0, 0.5]
            boxes.append(Box(low, low + size, kind, colour))
    return Room(walls, window, stripe, np.stack([floor, tile]), tuple(boxes), tuple(spheres))


def place_camera(room: Room, rng: np.random.Generator) -> Camera:
    """Place a camera near the front wall, directed into the room.

    Args:
        room: The room.
        rng: Determines position and direction.

    Returns:
        A `Camera`.
    """
    half = room.walls.high[0]
    position = np.array([rng.uniform(-0.5, 0.5) * half, rng.uniform(1.0, 1.8), 0.3])
    return Camera(position, rng.uniform(-0.3, 0.3), rng.uniform(-0.25, 0.05))


def render(room: Room, camera: Camera, size: int) -> View:
    """Render a view.

    Args:
        room: The room.
        camera: The camera in it.
        size: The side of the image in pixels.

    Returns:
        A `View`.
    """
    # A colour is the mean of four rays, as in a real camera. Labels have no mean: one ray each.
    fine = _shade(_cast(room, camera, 2 * size), room)
    rgb = fine.reshape(size, 2, size, 2, 3).mean((1, 3))
    hits = _cast(room, camera, size)
    seen = np.isfinite(hits.depth)
    normal = hits.normal @ camera.rotation * [1, 1, -1]
    return View(
        rgb=rgb,
        depth=hits.depth,
        normal=np.where(seen[..., None], normal, 0.0),
        kind=hits.kind,
        edges=_edges(hits.patch),
        keypoints=_keypoints(room, camera, hits.depth),
    )


def _cast(room: Room, camera: Camera, size: int) -> _Hits:
    """Return the nearest surface that every pixel's ray hits."""
    across = np.tan(_FIELD_OF_VIEW / 2) * ((np.arange(size) + 0.5) / size * 2 - 1)
    x, y = np.meshgrid(across, -across)
    # With z = 1 in the camera, the ray's parameter is the depth along the camera's axis.
    rays = np.stack([x, y, np.ones_like(x)], -1) @ camera.rotation.T
    rays = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    origin = camera.position
    to_low = (room.walls.low - origin) / rays
    to_high = (room.walls.high - origin) / rays
    depth, normal, face = _leave(to_low, to_high, rays)
    point = origin + depth[..., None] * rays
    kind = np.full(depth.shape, BACKGROUND)
    colour, patch = _decorate(room, point, face)
    # Behind the window there is no geometry.
    (left, low), (right, high) = room.window
    inside = (point[..., 0] > left) & (point[..., 0] < right)
    inside &= (point[..., 1] > low) & (point[..., 1] < high) & (face == _FAR)
    depth = np.where(inside, np.inf, depth)
    kind[inside], patch[inside] = UNCERTAIN, -1
    colour[inside] = [0.75, 0.87, 1.0]
    things: tuple[Box | Sphere, ...] = (*room.boxes, *room.spheres)
    for index, thing in enumerate(things):
        near, turned, side = _meet(thing, origin, rays)
        hit = near < depth
        depth = np.where(hit, near, depth)
        normal = np.where(hit[..., None], turned, normal)
        kind[hit], colour[hit] = thing.kind, thing.colour
        patch[hit] = 10_000 * (index + 1) + side[hit]
    with np.errstate(invalid="ignore"):
        point = origin + depth[..., None] * rays
    return _Hits(depth, point, normal, kind, colour, patch)


def _leave(
    to_low: np.ndarray, to_high: np.ndarray, rays: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where rays from inside a box leave it: depth, inward normal, number of the face."""
    ends = np.maximum(to_low, to_high)
    axis = ends.argmin(-1)
    depth = np.take_along_axis(ends, axis[..., None], -1)[..., 0]
    upwards = np.take_along_axis(rays, axis[..., None], -1)[..., 0] > 0
    normal = np.eye(3)[axis] * np.where(upwards, -1, 1)[..., None]
    return depth, normal, 2 * axis + upwards


def _meet(
    thing: Box | Sphere, origin: np.ndarray, rays: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where rays hit an object: depth (infinite if not), normal, number of the face."""
    if isinstance(thing, Box):
        return _meet_box(thing, origin, rays)
    return _meet_sphere(thing, origin, rays)


def _meet_box(
    box: Box, origin: np.ndarray, rays: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where rays hit a box from outside: depth (infinite if not), normal, face."""
    to_low, to_high = (box.low - origin) / rays, (box.high - origin) / rays
    starts, ends = np.minimum(to_low, to_high), np.maximum(to_low, to_high)
    axis = starts.argmax(-1)
    depth = starts.max(-1)
    hit = (depth < ends.min(-1)) & (depth > 0)
    upwards = np.take_along_axis(rays, axis[..., None], -1)[..., 0] > 0
    normal = np.eye(3)[axis] * np.where(upwards, -1, 1)[..., None]
    return np.where(hit, depth, np.inf), normal, 2 * axis + upwards


def _meet_sphere(
    sphere: Sphere, origin: np.ndarray, rays: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where rays hit a sphere: depth (infinite if not), normal, 0 for its only face."""
    to_centre = sphere.centre - origin
    a = (rays**2).sum(-1)
    b = rays @ to_centre
    root = b**2 - a * (to_centre @ to_centre - sphere.radius**2)
    depth = (b - np.sqrt(np.maximum(root, 0))) / a
    hit = (root > 0) & (depth > 0)
    normal = (origin + depth[..., None] * rays - sphere.centre) / sphere.radius
    return np.where(hit, depth, np.inf), normal, np.zeros(depth.shape, int)


def _decorate(room: Room, point: np.ndarray, face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return colours and patch numbers: tiles on the floor, stripes on the walls."""
    tile = np.floor(point[..., [0, 2]] / _CHECK).astype(int)
    side = np.where(face == _FAR, point[..., 0], point[..., 2])
    stripe = np.floor(side / _STRIPE).astype(int)
    floor = face == _FLOOR
    wall = (face != _FLOOR) & (face != _FLOOR + 1)
    colour = np.where(
        wall[..., None] & (stripe % 2 == 1)[..., None], room.stripe, room.walls.colour
    )
    colour = np.where(floor[..., None], room.tile[tile.sum(-1) % 2], colour)
    patch = 1000 * face + np.where(wall, stripe + 100, 0)
    return colour, np.where(floor, 1000 * face + 30 * (tile[..., 0] + 10) + tile[..., 1], patch)


def _shade(hits: _Hits, room: Room) -> np.ndarray:
    """Return colours under diffuse light from a lamp and some ambient light."""
    lamp = np.array([0.0, 0.95, 0.45]) * room.walls.high
    with np.errstate(invalid="ignore"):
        away = lamp - hits.point
        away = away / np.linalg.norm(away, axis=-1, keepdims=True)
        light = 0.4 + 0.6 * np.clip((away * hits.normal).sum(-1), 0, 1)
    light = np.where(np.isfinite(hits.depth), light, 1.0)
    return np.clip(hits.colour * light[..., None], 0, 1)


def _edges(patch: np.ndarray) -> np.ndarray:
    """Return where a pixel and its right or lower neighbour are of different patches."""
    edge = np.zeros(patch.shape)
    edge[:, :-1] += patch[:, :-1] != patch[:, 1:]
    edge[:-1] += patch[:-1] != patch[1:]
    edge = np.pad(np.minimum(edge, 1), 1, mode="edge")
    for axis in (0, 1):
        edge = 0.25 * np.roll(edge, 1, axis) + 0.5 * edge + 0.25 * np.roll(edge, -1, axis)
    return edge[1:-1, 1:-1]


def _keypoints(room: Room, camera: Camera, depth: np.ndarray) -> np.ndarray:
    """Return bumps at the corners that are not hidden."""
    size = len(depth)
    (left, low), (right, high) = room.window
    far = room.walls.high[2]
    corners = [np.array([x, y, far]) for x in (left, right) for y in (low, high)]
    for box in (room.walls, *room.boxes):
        ends = np.stack([box.low, box.high])
        corners += [
            np.array([ends[i, 0], ends[j, 1], ends[k, 2]]) for i, j, k in np.ndindex(2, 2, 2)
        ]
    rows, columns = np.mgrid[:size, :size] + 0.5
    bumps = np.zeros(depth.shape)
    sigma = max(1.5 * size / 64, 0.7)
    for corner in corners:
        x, y, z = (corner - camera.position) @ camera.rotation
        if z <= 0.1:
            continue
        column = (x / z / np.tan(_FIELD_OF_VIEW / 2) + 1) / 2 * size
        row = (1 - y / z / np.tan(_FIELD_OF_VIEW / 2)) / 2 * size
        if not (0 <= column < size and 0 <= row < size):
            continue
        if z > 1.05 * _farthest_around(depth, int(row), int(column)):
            continue  # It is hidden.
        squares = (rows - row) ** 2 + (columns - column) ** 2
        bumps = np.maximum(bumps, np.exp(-squares / (2 * sigma**2)))
    return bumps


def _farthest_around(depth: np.ndarray, row: int, column: int) -> float:
    """Return the largest depth around a pixel: the ray of a corner's own pixel may just miss it."""
    rows, columns = slice(max(row - 1, 0), row + 2), slice(max(column - 1, 0), column + 2)
    return float(depth[rows, columns].max())
