import numpy as np
import pytest
from PIL import Image

from wsss_lightning.figures.image_grid import CAPTION, LABEL, MARGIN, Tile, image_grid, save_image
from wsss_lightning.figures.overlays import (
    class_legend,
    confidence_overlay,
    heat_overlay,
    mask_overlay,
)
from wsss_lightning.ops.masks import IGNORE


def picture(height, width, colour=(10, 20, 30)):
    return np.full((height, width, 3), colour, np.uint8)


def test_background_leaves_the_image_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert (mask_overlay(image, np.zeros((5, 7), np.uint8)) == image).all()


@pytest.mark.parametrize(
    ("label", "colour"),
    [(1, (128, 0, 0)), (2, (0, 128, 0)), (15, (192, 128, 128)), (IGNORE, (224, 224, 192))],
)
def test_a_label_tints_the_image_in_vocs_colour(label, colour):  # closed form
    image = picture(1, 2, (100, 40, 200))
    mask = np.array([[0, label]], np.uint8)
    expected = [
        [
            (100, 40, 200),
            [round(0.35 * p + 0.65 * c) for p, c in zip(image[0, 0], colour, strict=True)],
        ]
    ]
    assert np.abs(mask_overlay(image, mask).astype(int) - np.array(expected)).max() <= 1


def test_heat_goes_from_blue_over_green_to_red():  # closed form, on black
    score = np.array([[0.0, 0.5, 1.0]], np.float32)
    heat = heat_overlay(picture(1, 3, (0, 0, 0)), score)[0] / 127.5
    expected = [[0, 0, 0.5], [0.5, 1, 0.5], [0.5, 0, 0]]
    assert np.abs(heat - np.array(expected)).max() < 0.01


def test_heat_lies_on_a_grey_picture():
    one, other = (heat_overlay(picture(2, 2, c), np.zeros((2, 2), np.float32)) for c in (
        (0, 30, 60), (30, 30, 30)
    ))  # fmt: skip
    assert (one == other).all()


def test_uncertain_pixels_turn_a_grey_picture_red():  # closed form
    confidence = np.array([[1.0, 0.75, 0.5, 0.2]], np.float32)
    shown = confidence_overlay(picture(1, 4, (0, 90, 180)), confidence)[0].astype(int)
    grey, red = np.array([90, 90, 90]), np.array([230, 0, 38])
    expected = [grey, (grey + red) / 2, red, red]
    assert np.abs(shown - np.array(expected)).max() <= 1


def rows(*sizes, headings=("image", "truth")):
    return [{heading: [Tile(picture(*size))] for heading in headings} for size in sizes]


def test_a_sheet_has_a_column_a_heading_and_a_row_an_image():
    page = image_grid(rows((40, 80), (80, 40)), ["a", "b"], {"cat": 1}, tile=100)
    width = 2 * (100 + MARGIN) + MARGIN
    height = CAPTION + (50 + CAPTION + MARGIN) + (100 + CAPTION + MARGIN) + CAPTION + MARGIN
    assert page.size == (width, height)
    pixels = np.asarray(page)
    first, second = CAPTION + CAPTION, CAPTION + (50 + CAPTION + MARGIN) + CAPTION
    for top, (high, wide) in ((first, (50, 100)), (second, (100, 50))):
        for left in (MARGIN, 2 * MARGIN + 100):
            shown = pixels[top : top + high, left : left + wide]
            assert (shown == (10, 20, 30)).all()


def test_the_legend_shows_the_colour_of_each_class():
    page = np.asarray(image_grid(rows((50, 50)), ["a"], {"cat": 1, "dog": 2}, tile=50))
    colours = {tuple(c) for c in page[-(CAPTION + MARGIN) :].reshape(-1, 3).tolist()}
    assert {(128, 0, 0), (0, 128, 0)} <= colours


def test_tiles_of_a_cell_stand_beside_each_other_and_then_below():
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    cell = [Tile(picture(50, 50, colour), "x") for colour in colours]
    row = {"image": [Tile(picture(50, 50))], "CAM": cell}
    page = np.asarray(image_grid([row], ["a"], {}, tile=50))
    assert page.shape[1] == 3 * (50 + MARGIN) + MARGIN  # two tiles of the cell beside each other
    top, left, step = 2 * CAPTION, 2 * MARGIN + 50, 50 + MARGIN
    places = [(top, left), (top, left + step), (top + step + LABEL, left)]
    for (y, x), colour in zip(places, colours, strict=True):
        assert (page[y : y + 50, x : x + 50] == colour).all()
    below = page[top + 50 : top + 50 + LABEL, MARGIN : MARGIN + 50]
    assert (below == 255).all()  # the image has no label
    assert (page[top + 50 : top + 50 + LABEL, left : left + 50] < 255).any()


def test_a_long_label_stays_below_its_tile():
    labels = ["a very long name of a class: peak 1.00", "x" * 100]
    row = {"CAM": [Tile(picture(60, 60), label) for label in labels]}
    page = np.asarray(image_grid([row], ["a"], {}, tile=60))
    gap = page[2 * CAPTION + 60 :][:LABEL, MARGIN + 61 : 2 * MARGIN + 59]
    assert (gap == 255).all()
    assert (page[2 * CAPTION + 60 :][:LABEL, -MARGIN:] == 255).all()


def test_a_long_legend_is_broken_into_lines():
    legend = {f"class {i}": i for i in range(1, 9)}
    short, long = (
        image_grid(rows((50, 50)), ["a"], part, tile=50) for part in ({"class 1": 1}, legend)
    )
    assert long.width == short.width
    assert long.height > short.height + 3 * CAPTION
    colours = {tuple(colour) for colour in np.asarray(long).reshape(-1, 3).tolist()}
    assert {(128, 0, 0), (0, 128, 0), (64, 0, 0)} <= colours  # of classes 1, 2 and 8


def test_a_colour_bar_shows_the_colours_of_its_overlay_from_left_to_right():
    bars = {"score": heat_overlay}
    page = np.asarray(image_grid(rows((300, 300)), ["a"], {}, tile=300, bars=bars)).astype(int)
    line = page[-(CAPTION + MARGIN) + 10]
    is_bar = np.flatnonzero(np.ptp(line, axis=-1) > 30)
    low, high = line[is_bar[0]], line[is_bar[-1]]
    assert low[2] > low[0]  # blue
    assert high[0] > high[2]  # red


@pytest.mark.parametrize("size", [(1000, 2), (2, 1000), (1, 1)])
def test_very_long_images_fit_on_a_sheet(size):
    assert image_grid(rows(size), ["a"], {}, tile=100).width == 2 * (100 + MARGIN) + MARGIN


def test_the_legend_names_what_occurs_but_not_the_background():
    masks = [np.array([[0, 2]], np.uint8), np.array([[2, IGNORE], [0, 0]], np.uint8)]
    assert class_legend(masks, ["cat", "dog"]) == {"dog": 2, "ignored": IGNORE}
    assert class_legend([], ["cat"]) == {}


def test_a_sheet_is_stored_as_it_is(tmp_path):
    page = image_grid(rows((50, 50)), ["a"], {"cat": 1}, tile=50)
    save_image(tmp_path / "x.png", page)
    assert (np.asarray(Image.open(tmp_path / "x.png")) == np.asarray(page)).all()
