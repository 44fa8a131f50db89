"""Rendering of single objects, and smooth noise.

Letters: h w the box of an object, or a map of noise.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw

from wsss_lightning.data.synthetic.shapes import Points, Shape

SUPERSAMPLE: Final = 3  # factor of the canvas, for smooth edges


class RenderedObject(NamedTuple):
    """An object without its surroundings.

    Attributes:
        rgb: levels in 0 to 255, before rounding.
        alpha: coverage in [0, 1].
        solid: pixels that belong to the object.
        part: pixels of its discriminative part.
    """

    rgb: Float[np.ndarray, "h w 3"]
    alpha: Float[np.ndarray, "h w"]
    solid: Bool[np.ndarray, "h w"]
    part: Bool[np.ndarray, "h w"]


def render(
    shapes: Sequence[Shape], long_side: float, tilt: float, flip: bool, rng: Generator
) -> RenderedObject:
    """Draw shapes in a tight box, lit from above.

    Args:
        shapes: back to front.
        long_side: longer side of the box, pixels.
        tilt: rotation, degrees.
        flip: let the object face left.
        rng: draws the shading.
    """
    angle = math.radians(tilt)
    matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = np.diag([-1.0 if flip else 1.0, 1.0]) @ matrix
    points = np.concatenate([shape.points for shape in shapes]) @ matrix.T
    scale = long_side / np.ptp(points, axis=0).max()
    origin = points.min(0)
    w, h = np.maximum(1, np.rint(scale * np.ptp(points, axis=0))).astype(int).tolist()

    def on_canvas(points: Points) -> Points:
        return SUPERSAMPLE * scale * (points @ matrix.T - origin) - 0.5

    colour, alpha, part = _draw(
        [
            shape._replace(points=on_canvas(shape.points), marks=tuple(map(on_canvas, shape.marks)))
            for shape in shapes
        ],
        (w * SUPERSAMPLE, h * SUPERSAMPLE),
    )
    coverage = _reduce(alpha) / 255
    # `reduce` mixes the colours with the black around them
    rgb = _reduce(colour) / np.maximum(coverage, 1e-3)[..., None]
    light = rng.normal(np.linspace(1.12, 0.80, h)[:, None], 0.02, (h, w))
    light = light + 0.06 * smooth_noise(rng, h, w, 6)
    solid = coverage > 0.5
    return RenderedObject(rgb * light[..., None], coverage, solid, solid & (_reduce(part) > 127))


def _draw(
    shapes: Sequence[Shape], size: tuple[int, int]
) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Colours, coverage and discriminative part on a canvas of (width, height)."""
    colour, alpha, part = (Image.new(mode, size) for mode in ("RGB", "L", "L"))
    for shape in shapes:
        fills = ((colour, shape.colour), (alpha, 255), (part, 255 * shape.discriminative))
        for image, fill in fills:
            ImageDraw.Draw(image).polygon(_corners(shape.points), fill=fill)
        if shape.marks:
            inside, marks = Image.new("L", size), Image.new("L", size)
            ImageDraw.Draw(inside).polygon(_corners(shape.points), fill=255)
            for mark in shape.marks:
                ImageDraw.Draw(marks).polygon(_corners(mark), fill=255)
            colour.paste(shape.mark_colour, mask=ImageChops.darker(inside, marks))
    return colour, alpha, part


def _corners(points: Points) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points.tolist()]


def _reduce(image: Image.Image) -> np.ndarray:
    return np.asarray(image.reduce(SUPERSAMPLE), dtype=float)


def smooth_noise(rng: Generator, h: int, w: int, cell: float) -> Float[np.ndarray, "h w"]:
    """Noise of mean 0 and deviation 1.

    Args:
        cell: size of its bumps, pixels.
    """
    grid = rng.standard_normal((math.ceil(h / cell) + 1, math.ceil(w / cell) + 1))
    coarse = Image.fromarray(grid.astype(np.float32))
    # interpolation averages, which reduces the deviation by about a quarter
    return 1.3 * np.asarray(coarse.resize((w, h), Image.Resampling.BICUBIC), dtype=float)
