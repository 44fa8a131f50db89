import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from wsss_lightning.callbacks.charts import (
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
    save_chart(line_chart(lines, "round", "mIoU", whole=True), tmp_path / "chart.png")
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
    save_chart(line_chart(points, "round", "mIoU", whole=True), tmp_path / "chart.png")
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


def test_bars_show_each_step_in_percent():
    found = {"cam": {("seeds", "train"): 0.4, ("seeds", "val"): 0.39, ("crf", "train"): 0.557}}
    drawn = as_svg(steps_chart(found, ("train", "val")), "steps")
    text = re.findall(r"<text[^>]*>([^<]*)<", drawn)
    assert {"40", "39", "56", "seeds", "crf", "cam", "train", "val"} <= set(text)


def test_costs_far_apart_stand_on_a_logarithmic_axis():
    colours = {"cam": COLOURS[0], "full": COLOURS[1]}
    far = cost_chart({"cam": (1.0, 0.5, 0.9), "full": (60.0, 0.7, None)}, colours, "mIoU")
    near = cost_chart({"cam": (1.0, 0.5, None), "full": (2.0, 0.7, None)}, colours, "mIoU")
    assert far.axes[0].get_xscale() == "log"
    assert near.axes[0].get_xscale() == "linear"
    low, high = far.axes[0].get_ylim()
    assert low >= -10  # intervals end at 0 and 100
    assert high <= 110
