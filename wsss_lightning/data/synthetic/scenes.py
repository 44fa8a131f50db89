"""Backgrounds: two flat colours that meet at the horizon, and a relief for each.

Letters: h w an image.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.random import Generator
from PIL import Image, ImageDraw

from wsss_lightning.data.synthetic.drawing import smooth_noise
from wsss_lightning.data.synthetic.shapes import Colour

Relief = Float[np.ndarray, "h w"]

CONTEXTS: Final = {"boat": "water", "car": "road", "sheep": "meadow"}
NEUTRAL_SCENES: Final = ("courtyard", "room", "sand", "snow")


def _clouds(rng: Generator, h: int, w: int) -> Relief:
    return 0.6 * np.maximum(
        0, smooth_noise(rng, h, w, h / 5) + 0.5 * smooth_noise(rng, h, w, h / 12)
    )


def _strokes(rng: Generator, h: int, w: int, count: int, step: tuple[float, float]) -> Relief:
    """Short lines of random brightness.

    Args:
        step: deviation of the end from the start, (x, y) in pixels.
    """
    image = Image.new("F", (w, h))
    draw = ImageDraw.Draw(image)
    starts, ends = rng.uniform((0, 0), (w, h), (count, 2)), rng.normal(0, step, (count, 2))
    for start, end, level in zip(starts, starts + ends, rng.normal(0, 1, count), strict=True):
        draw.line([*start.tolist(), *end.tolist()], fill=float(level))
    return np.asarray(image, dtype=float)


def _blades(rng: Generator, h: int, w: int) -> Relief:
    return 0.8 * _strokes(rng, h, w, h * w // 14, (1.0, 4.0)) + 0.5 * smooth_noise(rng, h, w, h / 6)


def _waves(rng: Generator, h: int, w: int) -> Relief:
    y = np.arange(h)[:, None] / h
    swell = np.sin(2 * np.pi * (14 * np.sqrt(y + 0.05) + 0.2 * smooth_noise(rng, h, w, h / 6)))
    return 0.7 * swell + 0.5 * _strokes(rng, h, w, h * w // 90, (6.0, 0.3))


def _grain(rng: Generator, h: int, w: int) -> Relief:
    return 0.35 * rng.standard_normal((h, w)) + 0.5 * smooth_noise(rng, h, w, h / 6)


def _drifts(rng: Generator, h: int, w: int) -> Relief:
    return -0.5 * np.abs(smooth_noise(rng, h, w, h / 4)) + 0.1 * rng.standard_normal((h, w))


def _tiles(rng: Generator, h: int, w: int, rows: int, aspect: float, joint: float) -> Relief:
    """Rows of bricks, planks or paving stones of varying brightness.

    Args:
        rows: number of rows over the image.
        aspect: width of a stone over its height.
        joint: brightness between stones.
    """
    tall = h / rows
    y, x = np.mgrid[0:h, 0:w]
    row = (y / tall).astype(int)
    place = x / (aspect * tall) + np.modf(0.5 * row + rng.random())[0]
    stones = rng.normal(0, 0.4, (rows + 1, int(w / (aspect * tall)) + 3))
    seam = (y % tall < 1) | (np.modf(place)[0] * aspect * tall < 1)
    return np.where(seam, joint, stones[row, place.astype(int)]) + 0.2 * smooth_noise(rng, h, w, 3)


def _wallpaper(rng: Generator, h: int, w: int) -> Relief:
    wide = rng.uniform(0.05, 0.1) * w
    return np.where(np.arange(w) % (2 * wide) < wide, 0.4, -0.4) + 0.15 * smooth_noise(rng, h, w, 4)


def _lanes(rng: Generator, h: int, w: int) -> Relief:
    y, x = np.mgrid[0:h, 0:w]
    middle, dash = h * rng.uniform(0.7, 0.9), w * rng.uniform(0.12, 0.2)
    line = (abs(y - middle) < 0.015 * h) & ((x + rng.uniform(0, dash)) % dash < 0.6 * dash)
    return np.where(line, 3.0, _grain(rng, h, w))


class Scene(NamedTuple):
    """Colour and relief above and below the horizon."""

    above: Colour
    below: Colour
    relief_above: Callable[[Generator, int, int], Relief]
    relief_below: Callable[[Generator, int, int], Relief]


_bricks = partial(_tiles, rows=18, aspect=2.2, joint=1.0)
_paving = partial(_tiles, rows=7, aspect=1.6, joint=-1.2)
_planks = partial(_tiles, rows=9, aspect=7.0, joint=-1.5)
SCENES: Final = {
    "water": Scene((178, 210, 234), (92, 150, 182), _clouds, _waves),
    "road": Scene((198, 190, 180), (140, 140, 144), _bricks, _lanes),
    "meadow": Scene((178, 210, 234), (140, 176, 94), _clouds, _blades),
    "courtyard": Scene((206, 164, 142), (178, 176, 164), _bricks, _paving),
    "room": Scene((226, 212, 178), (194, 154, 112), _wallpaper, _planks),
    "sand": Scene((186, 214, 232), (226, 206, 156), _clouds, _grain),
    "snow": Scene((188, 198, 212), (234, 238, 244), _clouds, _drifts),
}


def draw_scene(
    name: str, h: int, w: int, horizon: int, texture: float, rng: Generator
) -> Float[np.ndarray, "h w 3"]:
    """Levels of a background in 0 to 255, before rounding.

    Args:
        name: one of `SCENES`.
        horizon: first row below it.
        texture: contrast of the relief, in [0, 1].
        rng: draws the illumination and the relief.
    """
    scene = SCENES[name]
    above = (np.arange(h) < horizon)[:, None]
    flat = np.where(above[..., None], scene.above, scene.below) * rng.normal(1, 0.04, 3)
    relief = np.where(above, scene.relief_above(rng, h, w), scene.relief_below(rng, h, w))
    relief = relief + 0.25 * smooth_noise(rng, h, w, h / 3)
    return flat * (1 + 0.16 * texture * relief)[..., None]
