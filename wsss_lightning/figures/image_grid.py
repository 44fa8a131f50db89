"""Pictures: one row an image, one column a step of the pipeline.

Letters: n images, H W an image.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from wsss_lightning.ops.masks import IGNORE, voc_palette
from wsss_lightning.utils.files import write_atomically

MARGIN, CAPTION = 4, 22


def mask_overlay(
    image: UInt8[np.ndarray, "H W 3"], mask: UInt8[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture under a label map in VOC's colours; background stays clear, ignored is white."""
    colours = np.frombuffer(voc_palette(), np.uint8).astype(np.float32).reshape(-1, 3)
    share = np.where(mask == 0, 0.0, 0.65)[..., None]
    return ((1 - share) * image + share * colours[mask]).round().astype(np.uint8)


def heat_overlay(
    image: UInt8[np.ndarray, "H W 3"], score: Float[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture under a score map: blue is 0, green a half, red is 1."""
    heat = np.stack(
        [np.clip(1.5 - np.abs(4 * score - peak), 0, 1) for peak in (3.0, 2.0, 1.0)], axis=-1
    )
    grey = image.mean(-1, keepdims=True)
    return (0.5 * grey + 0.5 * 255 * heat).round().clip(0, 255).astype(np.uint8)


def image_grid(
    rows: Sequence[Mapping[str, UInt8[np.ndarray, "_ _ 3"]]],
    captions: Sequence[str],
    legend: Mapping[str, int],
    tile: int,
) -> Image.Image:
    """Rows of pictures under common headings, names at their left, colours of classes below.

    Args:
        rows: of each image its pictures by heading, all rows with the same headings.
        captions: name and tags of each row.
        legend: label of each class that occurs.
        tile: longest side of a picture, pixels.
    """
    font = ImageFont.load_default(14)
    headings = list(rows[0])
    width = len(headings) * (tile + MARGIN) + MARGIN
    shown = [[_fit(row[heading], tile) for heading in headings] for row in rows]
    heights = [max(p.height for p in row) + CAPTION + MARGIN for row in shown]
    page = Image.new("RGB", (width, CAPTION + sum(heights) + CAPTION + MARGIN), "white")
    draw = ImageDraw.Draw(page)
    for column, heading in enumerate(headings):
        draw.text((MARGIN + column * (tile + MARGIN), 4), heading, fill="black", font=font)
    top = CAPTION
    for row, caption, height in zip(shown, captions, heights, strict=True):
        draw.text((MARGIN, top + 3), caption, fill=(90, 90, 90), font=font)
        for column, picture in enumerate(row):
            page.paste(picture, (MARGIN + column * (tile + MARGIN), top + CAPTION))
        top += height
    colours = np.frombuffer(voc_palette(), np.uint8).reshape(-1, 3)
    left = MARGIN
    for name, label in ((" ".join(name.split()), label) for name, label in legend.items()):
        draw.rectangle((left, top + 5, left + 12, top + 17), fill=tuple(map(int, colours[label])))
        draw.text((left + 17, top + 3), name, fill="black", font=font)
        left += 17 + int(draw.textlength(name, font=font)) + 14
    return page


def save_image(path: Path, page: Image.Image) -> None:
    # a fifth of the time of optimize=True, for 6 % more bytes
    write_atomically(path, lambda file: page.save(file, format="PNG", compress_level=3))


def _fit(picture: UInt8[np.ndarray, "H W 3"], tile: int) -> Image.Image:
    image = Image.fromarray(picture)
    ratio = tile / max(image.size)
    width, height = (max(1, round(side * ratio)) for side in image.size)
    return image.resize((width, height))


def class_legend(
    masks: Sequence[UInt8[np.ndarray, "_ _"]], classes: Sequence[str]
) -> dict[str, int]:
    """Labels that occur in any of the masks, by name."""
    occurring = sorted(set().union(*(set(np.unique(mask).tolist()) for mask in masks)))
    names = ["background", *classes]
    return {"ignored" if i == IGNORE else names[i]: i for i in occurring if i != 0}
