"""The pictures over epochs, budgets and draws, and what notebooks show."""

from dataclasses import replace
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

import keras_tag
from keras_tag.affinity import Affinity
from keras_tag.affinity.history import HistoryRecorder
from keras_tag.plotting import (
    plot_affinity,
    plot_budget_curve,
    plot_dynamics,
    plot_stability,
)
from keras_tag.selection import Grouping, budget_curve


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def measured(num_tasks=4, epochs=5, noise=0.1, seed=0):
    """Tasks of even and of odd numbers are friends."""
    rng = np.random.default_rng(seed)
    place = np.arange(num_tasks)
    friends = np.where((place[:, None] - place) % 2 == 0, 0.6, 0.05)
    friends *= rng.uniform(0.8, 1.2, friends.shape)
    np.fill_diagonal(friends, 1.0)
    recorder = HistoryRecorder(num_tasks)
    for epoch in range(epochs):
        recorder.begin_epoch(epoch)
        for _ in range(8):
            drawn = friends + rng.normal(0, noise, friends.shape)
            recorder.add(drawn, np.ones(drawn.shape, int))
    recorder.end_epoch()
    return Affinity.from_history([f"t{k}" for k in place], recorder.history())


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def named_lines(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def frames(ax):
    """(column, row) of the framed cells."""
    return {
        (round(p.get_x() + p.get_width() / 2), round(p.get_y() + p.get_height() / 2))
        for p in ax.patches
    }


def test_a_line_holds_the_mean_of_every_epoch():
    affinity = measured()
    lines = named_lines(plot_dynamics(affinity))
    frame = affinity.to_epoch_frame()
    assert len(lines) == 7
    for label, line in lines.items():
        source, target = label.split(" → ")
        pair = frame[(frame["source"] == source) & (frame["target"] == target)].sort_values("row")
        np.testing.assert_allclose(line.get_xdata(), pair["row"] + 1)
        np.testing.assert_allclose(line.get_ydata(), pair["mean"])


def test_the_largest_pairs_are_named_in_the_order_of_their_last_values():
    affinity = measured(6)
    ax = plot_dynamics(affinity)
    off = affinity.mean.copy()
    np.fill_diagonal(off, 0)
    largest = np.argsort(-np.abs(off), axis=None)[:7]
    expected = {f"t{i} → t{j}" for i, j in zip(*np.unravel_index(largest, off.shape), strict=True)}
    assert set(legend(ax)) == expected
    last = [named_lines(ax)[label].get_ydata()[-1] for label in legend(ax)]
    assert last == sorted(last, reverse=True)
    # 23 other pairs of different tasks, and the line at 0.
    assert len(ax.lines) == 7 + 23 + 1


def test_named_lines_differ_in_colour_and_in_marker():
    lines = list(named_lines(plot_dynamics(measured())).values())
    assert len({line.get_color() for line in lines}) == len(lines)
    assert len({line.get_marker() for line in lines}) == len(lines)


def test_a_target_leaves_what_is_done_to_it():
    assert set(legend(plot_dynamics(measured(), "t1"))) == {"t0", "t2", "t3"}


def test_an_epoch_without_a_measurement_is_a_gap():
    recorder = HistoryRecorder(2)
    for epoch, count in enumerate([1, 0, 1]):
        recorder.begin_epoch(epoch)
        recorder.add(np.full((2, 2), 0.5 * count), np.full((2, 2), count), 1)
    recorder.end_epoch()
    ax = plot_dynamics(Affinity.from_history(["a", "b"], recorder.history()))
    np.testing.assert_array_equal(named_lines(ax)["a → b"].get_ydata(), [0.5, np.nan, 0.5])


def test_a_table_has_no_dynamics():
    with pytest.raises(ValueError, match="with a history"):
        plot_dynamics(Affinity.from_array(np.eye(2), ["a", "b"], rows="source"))
    with pytest.raises(ValueError, match="'t9'"):
        plot_dynamics(measured(), "t9")


def test_errors_and_counts_are_written_under_the_numbers():
    affinity = measured()
    ax = plot_affinity(affinity, errors=True, counts=True)
    first = ax.texts[1].get_text().split("\n")  # Source t0, target t1.
    assert float(first[0]) == pytest.approx(affinity.mean[0, 1], abs=0.006)
    assert float(first[1][1:]) == pytest.approx(affinity.standard_error[0, 1], abs=0.006)
    assert first[2] == "n=40"


def test_a_dot_marks_every_pair_whose_interval_holds_0():
    affinity = measured(noise=0.6)
    lower, upper = affinity.interval()
    unsure = {(i, j) for i, j in zip(*np.nonzero((lower < 0) & (upper > 0)), strict=True)}
    assert 0 < len(unsure) < 16
    ax = plot_affinity(affinity, errors=True)
    (dots,) = ax.collections
    dots = {(round(y), round(x)) for x, y in dots.get_offsets()}
    assert dots == unsure


def test_errors_of_a_table_are_refused():
    with pytest.raises(ValueError, match="standard errors"):
        plot_affinity(Affinity.from_array(np.eye(2), ["a", "b"], rows="source"), errors=True)


def test_a_curve_shows_every_objective_over_its_budget():
    curve = budget_curve(measured(), [3, 1, 2])
    ax = plot_budget_curve(curve)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1, 2, 3])
    objectives = [curve[budget].objective for budget in (1, 2, 3)]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), objectives)
    assert [text.get_text() for text in ax.texts] == [f"{value:.3g}" for value in objectives]
    assert "members" in ax.get_ylabel()


def test_only_a_proven_point_is_filled_and_any_other_shows_its_bound():
    curve = budget_curve(measured(), [1, 2])
    curve[2] = replace(curve[2], status="feasible", bound=curve[2].objective + 1)
    ax = plot_budget_curve(curve)
    points = {line.get_xdata()[0]: line for line in ax.lines if line.get_marker() == "o"}
    assert points[1].get_markerfacecolor() == points[1].get_markeredgecolor()
    assert points[2].get_markerfacecolor() == "white"
    assert max(line.get_ydata().max() for line in ax.lines[1:]) == curve[2].bound


def test_what_is_no_curve_is_refused():
    with pytest.raises(ValueError, match="at least one budget"):
        plot_budget_curve({})
    with pytest.raises(ValueError, match=r"none at budgets \[2\]"):
        plot_budget_curve({2: Grouping.from_groups([("a",), ("b",)])})


def test_stability_shows_the_shares_in_the_order_of_the_networks():
    stability = keras_tag.stability(measured(noise=0.5), 2, replicates=20)
    ax = plot_stability(stability)
    tasks = [label.get_text() for label in ax.get_yticklabels()]
    grouping = stability.grouping
    assert tasks == [t for k in range(len(grouping.groups)) for t in grouping.served(k)]
    assert tasks == [label.get_text() for label in ax.get_xticklabels()]
    shown = np.ma.filled(ax.images[0].get_array(), 100) / 100
    expected = stability.to_frame().loc[tasks, tasks].to_numpy().copy()
    np.fill_diagonal(expected, 1)
    np.testing.assert_allclose(shown, expected)
    assert f"{stability.confidence():.0%}" in ax.get_title()


def test_a_frame_is_around_every_pair_that_was_chosen():
    stability = keras_tag.stability(measured(), 2, replicates=5)
    ax = plot_stability(stability)
    tasks = [label.get_text() for label in ax.get_yticklabels()]
    expected = {
        (tasks.index(a), tasks.index(b))
        for group in stability.grouping.groups
        for a in group
        for b in group
        if a != b
    }
    assert frames(ax) == expected


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plot_dynamics(measured(), ax=ax),
        lambda ax: plot_budget_curve(budget_curve(measured(), [1, 2]), ax),
        lambda ax: plot_stability(keras_tag.stability(measured(), 2, replicates=3), ax),
    ],
)
def test_given_axes_are_drawn_on_and_no_other_figure_is_made(draw):
    ax = Figure().subplots()
    assert draw(ax) is ax
    assert not plt.get_fignums()


def test_forty_tasks_fit_into_the_figure():
    affinity = measured(40, epochs=2)
    ax = plot_dynamics(affinity)
    figure = ax.figure
    figure.draw_without_rendering()
    box = ax.get_legend().get_window_extent()
    assert box.x1 <= figure.bbox.x1 + 1
    assert box.y0 >= figure.bbox.y0
    assert "grey: 1553 others" in ax.get_legend().get_title().get_text()


class Cells(HTMLParser):
    """The texts of a table's cells, row by row; fails on tags that are not closed."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.open = [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_a_notebook_shows_the_affinity():
    affinity = measured(3)
    html = affinity._repr_html_()
    rows = Cells(html).rows
    assert rows[0][1:] == ["t0", "t1", "t2"]
    assert [row[0] for row in rows[2:]] == ["t0", "t1", "t2"]
    assert rows[2][2] == f"{affinity.mean[0, 1]:.2f}"


def test_many_tasks_are_not_written_out_in_html():
    affinity = Affinity.from_array(np.eye(200), [f"t{k}" for k in range(200)], rows="source")
    rows = Cells(affinity._repr_html_()).rows
    assert rows[0][1:] == [
        *(f"t{k}" for k in range(10)),
        "...",
        *(f"t{k}" for k in range(190, 200)),
    ]
    assert len(rows) == 2 + 21


def test_names_are_escaped_and_unmeasured_pairs_shown_in_html():
    names = ["<b>", "a&b"]
    affinity = Affinity.from_array([[1, np.nan], [-1, 1]], names, rows="source")
    html = affinity._repr_html_()
    assert "&lt;b&gt;" in html
    assert "a&amp;b" in html
    assert Cells(html).rows[2][2] == "-"
