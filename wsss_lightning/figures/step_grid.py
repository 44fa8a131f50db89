"""Pictures for documents: one row per image, one column per step, readable on any background.

Letters: n scores, H W an image.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image, ImageDraw

from wsss_lightning.figures.fonts import caption_font
from wsss_lightning.utils.files import write_atomically

GAP = 6
GREY = (118, 124, 133)  # of headings: contrast above 4 on white and on black
HEADING, CLEAR = 254, 255  # entries of the palette; the others hold the colours of the pictures


def step_grid(
    rows: Sequence[Mapping[str, UInt8[np.ndarray, "_ _ 3"]]], tile: int, zoom: int, font_size: int
) -> Image.Image:
    """Rows of pictures under common headings, with one palette and a transparent background.

    A palette makes the file four times smaller than full colour. Pictures are enlarged by repeating
    pixels, which keeps the edges of label maps sharp and costs few bytes.

    Args:
        rows: for each image its pictures by heading; all rows have the same headings.
        tile: side of the square that each picture is cropped and resized to, pixels.
        zoom: number of times that each pixel of a tile is repeated.
        font_size: font size of the headings, pixels; 0 leaves them out.
    """
    headings = list(rows[0])
    tiles = [[_square(row[heading], tile) for heading in headings] for row in rows]
    colours = Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in tiles]))
    palette = colours.quantize(HEADING, Image.Quantize.MEDIANCUT, kmeans=3)
    indices = np.asarray(colours.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG))
    side = tile * zoom
    top = font_size + GAP if font_size else 0
    step = side + GAP
    page = np.full((top + len(rows) * step - GAP, len(headings) * step - GAP), CLEAR, np.uint8)
    for line in range(len(rows)):
        for column in range(len(headings)):
            one = indices[line * tile : (line + 1) * tile, column * tile : (column + 1) * tile]
            y, x = top + line * step, column * step
            page[y : y + side, x : x + side] = one.repeat(zoom, 0).repeat(zoom, 1)
    picture = Image.fromarray(page)
    entries = np.zeros((CLEAR + 1, 3), np.uint8)
    used = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)[:HEADING]
    entries[: len(used)], entries[HEADING] = used, GREY
    picture.putpalette(entries.tobytes())
    picture.info["transparency"] = CLEAR
    draw = ImageDraw.Draw(picture)
    for column, heading in enumerate(headings if font_size else ()):
        place = (column * step + side / 2, font_size / 2)
        font = caption_font(font_size)
        draw.text(place, heading, fill=HEADING, font=font, anchor="mm")
    return picture


def save_grid(path: Path, picture: Image.Image) -> None:
    """Store a picture of `step_grid` as a small PNG."""
    write_atomically(path, lambda file: picture.save(file, format="PNG", optimize=True))


def object_probability(
    scores: Float[np.ndarray, "n H W"], labels: Integer[np.ndarray, "n"]
) -> Float[np.ndarray, "H W"]:
    """Probability that a pixel shows any class: the sum over all labels but background (0)."""
    return scores[labels != 0].sum(0)


def _square(picture: UInt8[np.ndarray, "_ _ 3"], tile: int) -> UInt8[np.ndarray, "_ _ 3"]:
    """The middle of a picture, as a square of side `tile`."""
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    middle = Image.fromarray(picture[top : top + side, left : left + side])
    return np.asarray(middle.resize((tile, tile)))
