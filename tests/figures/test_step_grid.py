import numpy as np
import pytest
from PIL import Image

from wsss_lightning.figures.step_grid import GAP, GREY, object_probability, save_grid, step_grid


def plain(colour, height=8, width=8):
    return np.full((height, width, 3), colour, np.uint8)


@pytest.fixture
def grid():
    rows = [
        {"image": plain((200, 40, 40)), "mask": plain((40, 200, 40))},
        {"image": plain((40, 40, 200)), "mask": plain((250, 250, 250))},
    ]
    return step_grid(rows, tile=8, zoom=3, font_size=0)


def test_pictures_stand_in_rows_and_columns_with_gaps(grid):  # closed form
    assert grid.size == (2 * 24 + GAP, 2 * 24 + GAP)
    shown = np.asarray(grid.convert("RGBA"))
    assert (shown[:24, 24 : 24 + GAP, 3] == 0).all()
    assert (shown[24 : 24 + GAP, :, 3] == 0).all()
    centres = {(12, 12): (200, 40, 40), (12, 42): (40, 200, 40), (42, 12): (40, 40, 200)}
    for place, colour in centres.items():
        assert np.abs(shown[place][:3].astype(int) - colour).max() <= 2
        assert shown[place][3] == 255


def test_pixels_are_repeated_so_that_edges_stay_sharp():
    picture = plain((0, 0, 0), 4, 4)
    picture[:1, 2:] = 255  # neither symmetric from left to right nor from top to bottom
    grid = np.asarray(step_grid([{"mask": picture}], tile=4, zoom=5, font_size=0).convert("L"))
    assert (grid == np.kron(picture[..., 0], np.ones((5, 5), np.uint8))).all()


def test_other_shapes_are_cut_to_their_middle():
    picture = plain((255, 255, 255), 4, 8)
    picture[:, 2:6] = 0
    grid = np.asarray(step_grid([{"image": picture}], tile=4, zoom=1, font_size=0).convert("L"))
    assert (grid == 0).all()


def test_headings_are_grey_on_nothing(grid):
    rows = [{"image": plain((0, 0, 0), 64, 64)}]
    shown = np.asarray(step_grid(rows, tile=64, zoom=1, font_size=20).convert("RGBA"))
    heading = shown[:20]
    assert set(map(tuple, heading[heading[..., 3] > 0][:, :3].tolist())) == {GREY}


@pytest.mark.parametrize("background", [(255, 255, 255), (13, 17, 23)])
def test_headings_can_be_read_in_light_and_dark_mode(background):
    def luminance(colour):  # WCAG 2.1
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    values = sorted(luminance([c / 255 for c in colour]) for colour in (GREY, background))
    assert (values[1] + 0.05) / (values[0] + 0.05) > 4


def test_a_stored_grid_keeps_its_colours_and_its_transparency(grid, tmp_path):
    save_grid(tmp_path / "grid.png", grid)
    with Image.open(tmp_path / "grid.png") as stored:
        assert stored.mode == "P"
        assert (np.asarray(stored.convert("RGBA")) == np.asarray(grid.convert("RGBA"))).all()


def test_probability_of_any_object_is_what_the_background_leaves():
    scores = np.array([[[0.7]], [[0.2]], [[0.1]]], np.float32)
    assert object_probability(scores, np.array([0, 3, 5])) == pytest.approx(0.3)
    assert object_probability(scores[1:], np.array([3, 5])) == pytest.approx(0.3)
