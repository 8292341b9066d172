import itertools
import os
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from keras_tag.affinity import Affinity
from keras_tag.plotting import affinity_size, groups_size, plot_affinity, plot_groups
from keras_tag.selection.grouping import Grouping

OVERLAPPING = Grouping.from_groups(
    [("a", "b"), ("c", "d", "a")], serves={"a": 0, "b": 0, "c": 1, "d": 1}
)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def random_affinity(num_tasks, scale=1e-3, seed=0):
    matrix = np.random.default_rng(seed).normal(0, scale, (num_tasks, num_tasks))
    return Affinity.from_array(matrix, [f"task_{k}" for k in range(num_tasks)], rows="source")


def cell_colours(ax):
    (image,) = ax.images
    return image.cmap(image.norm(image.get_array()))


def tick_names(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def numbers(ax):
    return [text.get_text() for text in ax.texts]


def boxes(ax):
    """(network, row of the task) -> is the box filled with its colour."""
    return {
        (round(box.get_x() + box.get_width() / 2), round(box.get_y() + box.get_height() / 2)): (
            box.get_facecolor() == box.get_edgecolor()
        )
        for box in ax.patches
        if isinstance(box, Rectangle)
    }


def test_rows_are_sources_and_columns_targets():
    affinity = Affinity.from_array([[9, 1], [-2, 8]], ["a", "b"], rows="source")
    ax = plot_affinity(affinity)
    assert tick_names(ax.yaxis) == tick_names(ax.xaxis) == ["a", "b"]
    assert "source" in ax.get_ylabel()
    assert "target" in ax.get_xlabel()
    (image,) = ax.images
    assert image.get_array()[0, 1] > 0 > image.get_array()[1, 0]
    # Help is blue, harm red.
    red, _, blue, _ = np.moveaxis(cell_colours(ax), -1, 0)
    assert blue[0, 1] > red[0, 1]
    assert red[1, 0] > blue[1, 0]


def test_a_huge_diagonal_does_not_change_the_other_colours():
    small = random_affinity(6)
    matrix = small.mean.copy()
    np.fill_diagonal(matrix, 1000.0)
    large = Affinity.from_array(matrix, small.tasks, rows="source")
    off_diagonal = ~np.eye(6, dtype=bool)
    np.testing.assert_array_equal(
        cell_colours(plot_affinity(small))[off_diagonal],
        cell_colours(plot_affinity(large))[off_diagonal],
    )


def test_colours_are_centred_at_zero_and_use_the_whole_map():
    ax = plot_affinity(random_affinity(5))
    (image,) = ax.images
    low, high = image.get_clim()
    assert low == -high
    values = np.ma.getdata(image.get_array())[~np.eye(5, dtype=bool)]
    assert np.abs(values).max() == pytest.approx(high)


@pytest.mark.parametrize("scale", [1e-7, 1e-3, 1.0, 1e4])
def test_numbers_times_the_named_unit_are_the_affinities(scale):
    affinity = random_affinity(3, scale)
    ax = plot_affinity(affinity)
    label = next(other for other in ax.figure.axes if other is not ax).get_ylabel()
    unit = float("1e" + label.split("^{")[1].split("}")[0]) if "10^" in label else 1.0
    shown = np.array([float(number) for number in numbers(ax)]).reshape(3, 3)
    np.testing.assert_allclose(shown * unit, affinity.mean, atol=0.006 * unit)
    # Three digits or so: nothing is shown as 0.00 only because it is small.
    assert 0.1 <= np.abs(shown).max() < 10000


def test_numbers_are_left_out_where_there_is_no_room():
    assert len(numbers(plot_affinity(random_affinity(9)))) == 81
    assert not numbers(plot_affinity(random_affinity(40)))
    ax = Figure(figsize=(2, 2)).subplots()
    assert not numbers(plot_affinity(random_affinity(9), ax))


@pytest.mark.parametrize("num_tasks", [3, 9, 40])
def test_task_labels_neither_overlap_nor_leave_the_figure(num_tasks):
    names = [f"middle_composite_{k}" for k in range(num_tasks)]
    affinity = Affinity.from_array(random_affinity(num_tasks).mean, names, rows="source")
    figure = Figure(figsize=affinity_size(num_tasks), layout="constrained")
    check_labels(plot_affinity(affinity, figure.subplots()), figure)
    grouping = Grouping.from_groups([names[k::4] for k in range(min(4, num_tasks))])
    figure = Figure(figsize=groups_size(grouping), layout="constrained")
    check_labels(plot_groups(grouping, figure.subplots()), figure)


def check_labels(ax, figure):
    figure.draw_without_rendering()
    for axis in (ax.xaxis, ax.yaxis):
        boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
        for one, other in itertools.pairwise(boxes):
            assert not one.overlaps(other)
        named = [axis.label.get_window_extent()] if axis.label.get_text() else []
        for box in boxes + named:
            assert box.x0 >= figure.bbox.x0 - 1
            assert box.x1 <= figure.bbox.x1 + 1
            assert box.y0 >= figure.bbox.y0 - 1
            assert box.y1 <= figure.bbox.y1 + 1


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.5]],
        [[0, 0], [0, 0]],
        [[np.nan, np.nan], [np.nan, np.nan]],
        [[0.1, np.nan], [0.2, 0.3]],
        [[-1, 0], [0, -1]],
    ],
)
def test_degenerate_matrices_are_drawn_without_a_warning(matrix, recwarn):
    tasks = ["a", "b"][: len(matrix)]
    plot_affinity(Affinity.from_array(matrix, tasks, rows="source")).figure.canvas.draw()
    assert not list(recwarn)


def test_an_unmeasured_pair_is_grey_and_has_no_number():
    affinity = Affinity.from_array([[0.1, np.nan], [0.2, 0.3]], ["a", "b"], rows="source")
    ax = plot_affinity(affinity)
    assert numbers(ax)[1] == "-"
    red, green, blue, _ = cell_colours(ax)[0, 1]
    assert red == green == blue < 0.9


def test_a_served_task_is_filled_and_a_helper_open():
    ax = plot_groups(OVERLAPPING)
    assert tick_names(ax.yaxis) == ["a", "b", "c", "d"]
    assert len(tick_names(ax.xaxis)) == 2
    assert boxes(ax) == {(0, 0): True, (0, 1): True, (1, 2): True, (1, 3): True, (1, 0): False}
    assert numbers(ax).count("helps") == 1


def test_tasks_are_in_the_order_of_the_networks_that_serve_them():
    grouping = Grouping.from_groups([("z", "b"), ("a", "y")])
    assert tick_names(plot_groups(grouping).yaxis) == ["z", "b", "a", "y"]


def test_scores_are_written_where_there_are_any():
    scored = Grouping(OVERLAPPING.groups, OVERLAPPING.serves, {"a": 0.51, "b": 1.25})
    assert sorted(filter(None, numbers(plot_groups(scored)))) == ["0.51", "1.25", "helps"]


def test_more_networks_than_colours_are_drawn():
    grouping = Grouping.from_groups([(f"t{k}",) for k in range(20)])
    assert len(boxes(plot_groups(grouping))) == 20


@pytest.mark.parametrize(
    "draw",
    [lambda ax: plot_affinity(random_affinity(3), ax), lambda ax: plot_groups(OVERLAPPING, ax)],
)
def test_given_axes_are_drawn_on_and_no_other_figure_is_made(draw):
    ax = Figure().subplots()
    assert draw(ax) is ax
    assert not plt.get_fignums()
    assert draw(None) is not ax
    assert len(plt.get_fignums()) == 1


def test_helper_boxes_have_the_colour_of_their_network():
    ax = plot_groups(OVERLAPPING)
    edges = {box.get_edgecolor() for box in ax.patches if round(box.get_x() + 0.4) == 1}
    assert len(edges) == 1
    assert edges != {to_rgba("white")}


def test_pictures_need_neither_a_display_nor_tensorflow():
    code = (
        "import sys, numpy as np\n"
        "from keras_tag import plotting\n"
        "from keras_tag.affinity import Affinity\n"
        "from keras_tag.baselines import single_task\n"
        "plotting.plot_affinity(Affinity.from_array(np.eye(2), ['a', 'b'], rows='source'))\n"
        "plotting.plot_groups(single_task(['a', 'b'])).figure.canvas.draw()\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    hidden = {"DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
