import shutil

import numpy as np
import pytest
import tensorflow as tf
from dense_rooms import write_scenes
from dense_rooms.scenes import furnish, place_camera, render
from PIL import Image

from keras_tag.datasets import FIVE_TASKS, taskonomy

SIDE = 24


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("taskonomy")
    return root, write_scenes(root, buildings=4, points=3, views=2, image_size=SIDE)


@pytest.fixture
def copy(dataset, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(dataset[0], root)
    return root, root / "splits_taskonomy" / dataset[1].name


def rendered(building, point, number):
    room = furnish(
        np.random.default_rng([0, building, point]), np.random.default_rng([0, building])
    )
    return render(
        room, place_camera(room, np.random.default_rng([0, building, point, number])), SIDE
    )


def gather(dataset):
    batches = list(dataset.as_numpy_iterator())
    return np.concatenate([x for x, _ in batches]), {
        t: np.concatenate([y[t] for _, y in batches]) for t in batches[0][1]
    }


def test_labels_are_those_of_the_geometry(dataset):
    data = taskonomy(dataset[0], image_size=SIDE, batch_size=4, splits=dataset[1])
    assert data.tasks == FIVE_TASKS
    assert data.sizes == {"train": 12, "validation": 6, "test": 6}
    assert data.channels == dict(zip(FIVE_TASKS, (17, 1, 3, 1, 1), strict=True))
    images, labels = gather(data.validation)
    views = [rendered(3, point, number) for point in range(3) for number in range(2)]
    np.testing.assert_allclose(images, [v.rgb for v in views], atol=0.51 / 255)
    seen = np.stack([np.isfinite(v.depth) for v in views])
    for task in FIVE_TASKS:
        assert labels[task].dtype == np.float32
    for task in ("depth_zbuffer", "normal"):
        np.testing.assert_array_equal(np.isnan(labels[task]).any(-1), ~seen)
        np.testing.assert_array_equal(np.isnan(labels[task]).all(-1), ~seen)
    np.testing.assert_array_equal(np.isnan(labels["segment_semantic"]), ~seen)
    metres = (labels["depth_zbuffer"][..., 0] * 1000 + 1500) / 512
    np.testing.assert_allclose(metres[seen], np.stack([v.depth for v in views])[seen], atol=1e-3)
    np.testing.assert_allclose(
        labels["normal"][seen], np.stack([v.normal for v in views])[seen], atol=5e-3
    )
    classes = np.stack([v.kind for v in views]) - 1
    np.testing.assert_array_equal(labels["segment_semantic"][seen], classes[seen])
    assert not np.isnan(labels["keypoints2d"]).any()
    edges = labels["edge_texture"][..., 0] * 1070 + 718
    np.testing.assert_allclose(edges, np.stack([v.edges for v in views]) * 6000, atol=0.6)
    points = labels["keypoints2d"][..., 0] * 100 + 50
    np.testing.assert_allclose(points, np.stack([v.keypoints for v in views]) * 1000, atol=0.6)


def test_no_building_crosses_a_split_and_every_view_comes_once(dataset):
    data = taskonomy(dataset[0], ("keypoints2d",), SIDE, 5, splits=dataset[1])
    seen = {s: [x.tobytes() for x in gather(getattr(data, s))[0]] for s in data.sizes}
    everything = [image for images in seen.values() for image in images]
    assert len(everything) == len(set(everything)) == 24
    first, second = ([x.tobytes() for x in gather(data.train)[0]] for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second) == sorted(seen["train"])
    same = taskonomy(dataset[0], ("keypoints2d",), SIDE, 5, splits=dataset[1])
    assert [x.tobytes() for x in gather(same.train)[0]] == seen["train"]


def test_splits_may_be_names_or_taskgroupings_text_files(dataset, tmp_path):
    names = {"train": ["room000", "room001"], "validation": ["room003"], "test": ["room002"]}
    files = {}
    for split, buildings in names.items():
        files[split] = tmp_path / f"{split}_models.txt"
        files[split].write_text("\n".join(buildings) + "\n")
    for splits in (names, files):
        data = taskonomy(dataset[0], "normal", SIDE, splits=splits, views_per_building=4)
        assert data.sizes == {"train": 8, "validation": 4, "test": 4}


def test_smaller_images_keep_masks_sharp(dataset):
    small = taskonomy(dataset[0], image_size=SIDE // 2, splits=dataset[1])
    _, labels = gather(small.test)
    assert small.image_shape == (12, 12, 3)
    depth, normal = labels["depth_zbuffer"], labels["normal"]
    # An average with "no geometry" would be a depth of up to 128 m, and a short normal.
    assert np.nanmax(depth) < 4
    lengths = np.linalg.norm(normal, axis=-1)
    np.testing.assert_allclose(lengths[~np.isnan(lengths)], 1, atol=0.01)
    whole = set(np.unique(labels["segment_semantic"][~np.isnan(labels["segment_semantic"])]))
    assert whole <= set(range(17))


def test_what_is_too_far_away_has_no_label(dataset):
    near = taskonomy(dataset[0], ("depth_zbuffer", "normal"), SIDE, splits=dataset[1], farthest=3.0)
    far = taskonomy(dataset[0], ("depth_zbuffer", "normal"), SIDE, splits=dataset[1])
    depth = gather(far.test)[1]["depth_zbuffer"]
    expected = np.where(depth * 1000 + 1500 < 3 * 512, depth, np.nan)
    labels = gather(near.test)[1]
    np.testing.assert_array_equal(labels["depth_zbuffer"], expected)
    np.testing.assert_array_equal(np.isnan(labels["normal"][..., :1]), np.isnan(expected))


def test_the_folder_of_the_omnidata_tool_is_found(dataset, tmp_path):
    for domain in ("rgb", "keypoints2d"):
        shutil.copytree(dataset[0] / domain, tmp_path / domain / "taskonomy")
    data = taskonomy(tmp_path, "keypoints2d", SIDE, splits=dataset[1])
    np.testing.assert_array_equal(
        gather(data.test)[0],
        gather(taskonomy(dataset[0], "normal", SIDE, splits=dataset[1]).test)[0],
    )


def test_a_wrong_root_is_named_with_what_it_holds(dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"root/rgb/<building>.*nowhere.*does not exist"):
        taskonomy(tmp_path / "nowhere", splits=dataset[1])
    (tmp_path / "something_else").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no folder 'rgb'; it holds \['something_else'\]"):
        taskonomy(tmp_path, splits=dataset[1])


def test_a_missing_file_of_one_task_is_named_before_training(copy):
    root, splits = copy
    gone = root / "normal" / "room001" / "point_1_view_0_domain_normal.png"
    gone.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        taskonomy(root, splits=splits)
    assert str(gone) in str(caught.value)
    assert "'normal'" in str(caught.value)
    taskonomy(root, ("segment_semantic", "edge_texture"), splits=splits)
    data = taskonomy(root, image_size=SIDE, splits=splits, skip_incomplete=True)
    assert data.sizes["train"] == 11
    # A whole building.
    shutil.rmtree(root / "rgb" / "room002")
    with pytest.raises(FileNotFoundError, match=r"Missing: \['room002'\]"):
        taskonomy(root, "keypoints2d", splits=splits)


def test_depth_must_be_there_for_the_masks_of_others(copy):
    root, splits = copy
    shutil.rmtree(root / "depth_zbuffer")
    with pytest.raises(FileNotFoundError, match=r"depth_zbuffer.*room000.*point_0_view_0"):
        taskonomy(root, ("normal",), splits=splits)
    taskonomy(root, ("keypoints2d",), splits=splits)


@pytest.mark.parametrize("domain", ["rgb", "normal", "depth_zbuffer"])
def test_a_corrupt_image_is_named(copy, domain):
    root, splits = copy
    file = root / domain / "room003" / f"point_0_view_1_domain_{domain}.png"
    file.write_bytes(file.read_bytes()[:60])
    data = taskonomy(root, ("normal",), SIDE, splits=splits)
    gather(data.test)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        gather(data.validation)
    assert str(file) in str(caught.value)


def test_a_file_of_another_kind_is_named(copy):
    root, splits = copy
    file = root / "depth_zbuffer" / "room003" / "point_0_view_0_domain_depth_zbuffer.png"
    Image.new("L", (SIDE, SIDE)).save(file)
    data = taskonomy(root, ("depth_zbuffer",), SIDE, splits=splits)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected a 16-bit grey") as caught:
        gather(data.validation)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": ["room000"], "test": ["room001"]}, "each of.*'validation'"),
        (
            {"train": ["room000"], "validation": ["room001"], "test": ["room000"]},
            r"one split only.*\['room000'\]",
        ),
        ({"train": ["room000"], "validation": [], "test": ["room001"]}, "'validation': 0"),
    ],
)
def test_unusable_splits_are_refused(dataset, splits, message):
    with pytest.raises(ValueError, match=message):
        taskonomy(dataset[0], splits=splits)


def test_split_files_that_are_not_there_or_not_in_the_format_are_named(dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"list of buildings.*absent\.csv"):
        taskonomy(dataset[0], splits=tmp_path / "absent.csv")
    other = tmp_path / "other.csv"
    other.write_text("name,split\nroom000,train\n")
    with pytest.raises(ValueError, match=r"columns id, train, val, test.*other\.csv.*'name'"):
        taskonomy(dataset[0], splits=other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": ()}, "`tasks` to be one or more of"),
        ({"tasks": ("depth",)}, "'depth_zbuffer'.*tasks=\\('depth',\\)"),
        ({"tasks": ("normal", "normal")}, "each once"),
        ({"image_size": 0}, "`image_size` >= 1"),
        ({"batch_size": 0}, "`batch_size` >= 1"),
        ({"views_per_building": 0}, "`views_per_building` >= 1"),
        ({"farthest": 0}, "`farthest` > 0"),
    ],
)
def test_bad_arguments_are_named(dataset, arguments, message):
    with pytest.raises(ValueError, match=message):
        taskonomy(dataset[0], splits=dataset[1], **arguments)


@pytest.mark.parametrize("name", ["buildings", "points", "views", "image_size", "seed"])
def test_bad_arguments_of_the_scenes_are_named(tmp_path, name):
    with pytest.raises(ValueError, match=f"`{name}` >= .*{name}=-1"):
        write_scenes(tmp_path, **{name: -1})
