"""The pictures are right: depth, normals, edges and corners agree with each other."""

import numpy as np
import pytest
from dense_rooms.scene_files import encode_view
from dense_rooms.scenes import (
    BACKGROUND,
    UNCERTAIN,
    VASE,
    Box,
    Camera,
    Room,
    Sphere,
    furnish,
    place_camera,
    render,
)

SIZE = 64
ACROSS = np.tan(np.deg2rad(61.2) / 2) * ((np.arange(SIZE) + 0.5) / SIZE * 2 - 1)


def views():
    for seed in range(6):
        room = furnish(np.random.default_rng([seed, 1]), np.random.default_rng(seed))
        yield render(room, place_camera(room, np.random.default_rng(seed)), SIZE)


def unproject(depth):
    """Points in the camera's coordinates, y up and z towards the camera."""
    x, y = np.meshgrid(ACROSS, -ACROSS)
    return np.stack([x, y, -np.ones_like(x)], -1) * depth[..., None]


def test_normals_are_those_of_the_surface_that_the_depths_make():
    compared = 0
    for view in views():
        depth = np.where(np.isfinite(view.depth), view.depth, np.nan)
        points = unproject(depth)
        right = points[1:-1, 2:] - points[1:-1, :-2]
        up = points[:-2, 1:-1] - points[2:, 1:-1]
        normal = np.cross(right, up)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        # Away from edges, where differences are of one surface.
        flat = (view.edges[1:-1, 1:-1] == 0) & (view.kind[1:-1, 1:-1] == BACKGROUND)
        cosine = (normal * view.normal[1:-1, 1:-1]).sum(-1)[flat]
        assert cosine.min() > 0.999
        compared += flat.sum()
        curved = (view.edges[1:-1, 1:-1] == 0) & (view.kind[1:-1, 1:-1] == VASE)
        assert (normal * view.normal[1:-1, 1:-1]).sum(-1)[curved].min(initial=1) > 0.9
    assert compared > 5000


def test_normals_are_unit_vectors_that_face_their_ray():
    for view in views():
        seen = np.isfinite(view.depth)
        np.testing.assert_allclose(np.linalg.norm(view.normal, axis=-1), seen, atol=1e-9)
        rays = unproject(np.ones((SIZE, SIZE)))
        assert ((rays * view.normal).sum(-1)[seen] < 0).all()


def test_a_sphere_straight_ahead_is_where_it_should_be():
    walls = Box(np.array([-4.0, 0, 0]), np.array([4.0, 4, 8]), BACKGROUND, np.ones(3))
    sphere = Sphere(np.array([0.0, 2, 5]), 1.0, VASE, np.array([1.0, 0, 0]))
    room = Room(
        walls, np.array([[3.9, 3.9], [3.95, 3.95]]), np.ones(3), np.ones((2, 3)), (), (sphere,)
    )
    view = render(room, Camera(np.array([0.0, 2, 1]), 0.0, 0.0), SIZE)
    middle = view.depth[SIZE // 2, SIZE // 2]
    assert middle == pytest.approx(3.0, abs=0.01)  # 5 - 1 - the radius
    assert view.normal[SIZE // 2, SIZE // 2] == pytest.approx([0, 0, 1], abs=0.05)
    # The far wall is parallel to the image: one depth, 8 - 1.
    assert view.depth[
        (view.kind == BACKGROUND) & (np.abs(view.normal[..., 2]) > 0.99)
    ] == pytest.approx(7)
    # A sphere at distance 4 covers half the angle asin(1/4) on every side.
    radius = np.tan(np.arcsin(1 / 4)) / np.tan(np.deg2rad(61.2) / 2) * SIZE / 2
    assert (view.kind == VASE).sum() == pytest.approx(np.pi * radius**2, rel=0.02)
    # Turning to the right moves it to the left, looking up moves it down.
    turned = render(room, Camera(np.array([0.0, 2, 1]), 0.2, 0.1), SIZE)
    rows, columns = np.nonzero(turned.kind == VASE)
    assert columns.mean() < SIZE / 2 - 5
    assert rows.mean() > SIZE / 2 + 2


def test_there_is_no_geometry_exactly_where_the_class_is_uncertain():
    unseen = 0
    for view in views():
        np.testing.assert_array_equal(np.isfinite(view.depth), view.kind != UNCERTAIN)
        unseen += (view.kind == UNCERTAIN).sum()
    assert unseen > 100


def test_every_border_between_classes_and_every_jump_of_depth_is_an_edge():
    for view in views():
        depth = np.where(np.isfinite(view.depth), view.depth, 99.0)
        for axis in (0, 1):
            border = np.diff(view.kind, axis=axis) != 0
            border |= np.abs(np.diff(depth, axis=axis)) > 0.5 * np.minimum(
                depth[:-1] if axis == 0 else depth[:, :-1], depth[1:] if axis == 0 else depth[:, 1:]
            )
            before = view.edges[:-1] if axis == 0 else view.edges[:, :-1]
            assert (before[border] >= 0.25).all()
        assert 0.02 < (view.edges > 0.5).mean() < 0.5


def test_keypoints_are_at_corners_where_edges_meet():
    for view in views():
        peaks = view.keypoints > 0.95
        assert peaks.any()
        rows, columns = np.nonzero(peaks)
        for row, column in zip(rows, columns, strict=True):
            around = view.edges[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
            assert around.max() >= 0.5


def test_encodings_are_taskonomys():
    for view in views():
        files = encode_view(view)
        seen = np.isfinite(view.depth)
        assert files["depth_zbuffer"].dtype == np.uint16
        assert (files["depth_zbuffer"][~seen] == 65535).all()
        np.testing.assert_allclose(files["depth_zbuffer"][seen] / 512, view.depth[seen], atol=1e-3)
        assert files["normal"].dtype == np.uint8
        assert (files["normal"][~seen] == 127).all()
        np.testing.assert_allclose(files["normal"][seen] / 127.5 - 1, view.normal[seen], atol=5e-3)
        assert set(np.unique(files["segment_semantic"])) <= set(range(18))
        for domain in ("keypoints2d", "edge_texture"):
            assert files[domain].dtype == np.uint16
            assert 100 < files[domain].max() < 8000
        assert files["rgb"].shape == (SIZE, SIZE, 3)
