import numpy as np
import pytest

from wsss_lightning.callbacks.curves import COLOURS, line_chart


def pixels_of(page, colour) -> np.ndarray:
    """Places near a colour, within the axes: (row, column) pairs."""
    far = np.abs(np.asarray(page, int) - colour).max(-1)
    far[365:] = 255
    return np.argwhere(far < 30)


def test_a_line_rises_where_its_figures_do_and_each_has_its_colour():
    page = line_chart({"up": [(0, 0.2), (1, 0.8)], "down": [(0, 0.8), (1, 0.2)]}, "two")
    assert page.size == (640, 400)
    for i, rises in enumerate((True, False)):
        rows, columns = pixels_of(page, COLOURS[i]).T
        slope = np.polyfit(columns, rows, 1)[0]
        assert (slope < -0.1) == rises  # rows count from the top
        assert (slope > 0.1) != rises


@pytest.mark.parametrize(
    "points", [{"one": [(0, 0.5)]}, {"flat": [(0, 0.5), (3, 0.5)], "none": []}, {"a": [(5, 1.0)]}]
)
def test_a_single_point_and_a_flat_line_are_drawn(points):
    assert len(pixels_of(line_chart(points, "few"), COLOURS[0]))
