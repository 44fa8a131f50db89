import html
import re
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image

from wsss_lightning.figures.charts import (
    COLOURS,
    as_svg,
    cost_chart,
    line_chart,
    save_chart,
    stacked_chart,
    steps_chart,
)


def pixels_of(path, colour: str) -> np.ndarray:
    """Places near a colour: (row, column) pairs."""
    wanted = np.array([round(255 * part) for part in to_rgb(colour)])
    return np.argwhere(
        np.abs(np.asarray(Image.open(path).convert("RGB"), int) - wanted).max(-1) < 30
    )


def test_a_line_rises_where_its_figures_do_and_each_has_its_colour(tmp_path):
    lines = {"up": [(0, 0.2), (1, 0.8)], "down": [(0, 0.8), (1, 0.2)]}
    save_chart(line_chart(lines, "round", "mIoU", integer_x=True), tmp_path / "chart.png")
    height = Image.open(tmp_path / "chart.png").height
    for i, rises in enumerate((True, False)):
        rows, columns = pixels_of(tmp_path / "chart.png", COLOURS[i]).T
        drawn = columns < np.quantile(columns, 0.98)  # without the legend
        slope = np.polyfit(columns[drawn], rows[drawn], 1)[0]
        assert (slope < -0.1) == rises  # rows count from the top
        assert height > 300


@pytest.mark.parametrize(
    "points", [{"one": [(0, 0.5)]}, {"flat": [(0, 0.5), (3, 0.5)], "none": []}, {"a": [(5, 1.0)]}]
)
def test_a_single_point_and_a_flat_line_are_drawn(points, tmp_path):
    save_chart(line_chart(points, "round", "mIoU", integer_x=True), tmp_path / "chart.png")
    assert len(pixels_of(tmp_path / "chart.png", COLOURS[0]))


def test_a_chart_in_a_page_has_its_words_as_text_and_no_size_of_its_own():
    drawn = as_svg(line_chart({"cam": [(0, 0.2), (1, 0.8)]}, "threshold", "mIoU (%)"), "a title")
    assert drawn.startswith('<svg role="img" aria-label="a title"')
    for word in ("cam", "threshold", "mIoU (%)"):
        assert word in re.sub(r"<[^>]+>", "", drawn)
    assert 'width="100%"' in drawn
    assert "<metadata" not in drawn


def test_the_same_chart_is_the_same_text():
    def draw() -> str:
        return as_svg(stacked_chart({"cam": [0.1, 0.2]}, ["a", "b"], "share"), "shares")

    assert draw() == draw()


def texts(chart) -> list[str]:
    """Words of a chart, each line of its own."""
    return re.findall(r"<text[^>]*>([^<]*)<", as_svg(chart, "chart"))


def drawn_at(chart) -> list[tuple[float, float]]:
    """Where points of a chart of costs stand."""
    return [
        (float(bar.lines[0].get_xdata()[0]), float(bar.lines[0].get_ydata()[0]))
        for bar in chart.axes[0].containers
    ]


def test_bars_show_each_step_in_percent():
    found = {"cam": {("seeds", "train"): 0.4, ("seeds", "val"): 0.39, ("CRF", "train"): 0.557}}
    assert {"40", "39", "56", "seeds", "CRF", "cam", "train", "val"} <= set(
        texts(steps_chart(found, ("train", "val")))
    )
    alone = texts(steps_chart({"cam": {("seeds", "train"): 0.4}}, ["train"]))
    assert {"40", "seeds", "train"} <= set(alone)
    assert "val" not in alone


def test_costs_far_apart_stand_on_a_logarithmic_axis():
    colours = {"cam": COLOURS[0], "full": COLOURS[1]}
    far = cost_chart({"cam": (1.0, 0.5, 0.9), "full": (60.0, 0.7, None)}, colours, "mIoU")
    near = cost_chart({"cam": (1.0, 0.5, None), "full": (2.0, 0.7, None)}, colours, "mIoU")
    assert far.axes[0].get_xscale() == "log"
    assert near.axes[0].get_xscale() == "linear"
    low, high = far.axes[0].get_ylim()
    assert low >= -10  # intervals end at 0 and 100
    assert high <= 110


def test_methods_of_one_cost_are_drawn_at_that_cost_and_can_be_told_apart():
    points = {"cam": (1.31, 0.4, 0.05), "seam": (1.31, 0.4, 0.02), "box": (2.5, 0.4, None)}
    chart = cost_chart(points, dict(zip(points, COLOURS, strict=False)), "mIoU")
    assert drawn_at(chart) == [(1.31, 40.0), (1.31, 40.0), (2.5, 40.0)]
    marks = [bar.lines[0] for bar in chart.axes[0].containers]
    assert len({mark.get_marker() for mark in marks}) == 3
    assert marks[0].get_markersize() > marks[1].get_markersize()  # which lies above it
    named = {text.get_text(): text for text in chart.axes[0].texts}
    assert set(named) == set(points)
    for name, (hours, value, _) in points.items():  # a line leads from each name to its point
        assert named[name].xy == (hours, 100 * value)
        assert named[name].arrow_patch is not None


def test_names_beside_a_chart_of_costs_do_not_cover_each_other():
    names = [f"{'a long name of a method ' * 2}{i}" for i in range(12)]
    chart = cost_chart(dict.fromkeys(names, (1.0, 0.4, None)), dict.fromkeys(names, "red"), "mIoU")
    chart.draw_without_rendering()
    # of the text alone, without the line that leads to it
    boxes = [Text.get_window_extent(text) for text in chart.axes[0].texts]
    boxes = sorted((box.y0, box.y1) for box in boxes)
    assert all(high <= low for (_, high), (low, _) in pairwise(boxes))


@pytest.mark.parametrize("hours", [(1.31, 20.97), (1.1, 5.6), (2.1, 10.6), (0.02, 900.0), (3.0,)])
def test_an_axis_of_costs_has_more_than_one_number(hours):
    points = {f"m{i}": (value, 0.5, None) for i, value in enumerate(hours)}
    chart = cost_chart(points, dict.fromkeys(points, "red"), "mIoU")
    as_svg(chart, "cost")
    low, high = chart.axes[0].get_xlim()
    shown = [
        float(tick.get_text())
        for tick, place in zip(
            chart.axes[0].get_xticklabels(), chart.axes[0].get_xticks(), strict=True
        )
        if low <= place <= high and tick.get_text()
    ]
    assert len(shown) >= 2


def test_names_are_drawn_letter_by_letter_whatever_they_hold():
    names = ["a $x$ b", "_mine", "$", '<b> & "c"', "名前"]
    lines = {name: [(0, 0.5), (1, 0.6)] for name in names}
    step = {(name, "train"): 0.5 for name in names}
    for chart in (
        line_chart(lines, "$", "$x$"),
        cost_chart(dict.fromkeys(names, (1.0, 0.5, None)), dict.fromkeys(names, "red"), "$"),
        stacked_chart({name: [0.1] for name in names}, ["part"], "share"),
        steps_chart(dict.fromkeys(names, step), ["$s$", "_t"]),
    ):
        drawn = {html.unescape(text).strip("\u200b") for text in texts(chart)}
        assert set(names) <= drawn


def test_a_title_cannot_end_its_attribute():
    drawn = as_svg(line_chart({"cam": [(0, 0.2)]}, "x", "y"), 'val" onload="x')
    assert 'onload="' not in drawn
