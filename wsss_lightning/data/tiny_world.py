"""A generated toy world in Pascal VOC layout: small, free to share, and hard where VOC is hard.

Six classes: three toy animals upon one body, three toy vehicles upon another. Body shape, colour
and pattern are drawn from the same distribution for all, so only a small part tells the class: a
head, or what stands on the deck. Each knob of `generate` sets one difficulty of weak supervision:

- `part_size`: how small the telling part is; a plain CAM covers that part and misses the body.
- `looks`: how many sub-categories a class has (colours and pattern of the part, pose).
- `scale_range`: how much the size of objects varies.
- `context`: how often boats are on water, cars on a road and sheep in a meadow; the other classes
  seldom are, so that the scene is evidence for the tag but lies outside the object.
- `texture`: how busy the background is, hence how much colour edges alone tell a CRF.
- `objects`: how many objects meet in an image, of one class or of two.

An image depends on the knobs, the seed and its own number, not on how many others there are.

Letters: H W an image, h w the box of one object, n points of a polygon.
"""

import csv
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

import numpy as np
from filelock import FileLock
from jaxtyping import Bool, Float, UInt8
from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from wsss_lightning.errors import InputError
from wsss_lightning.functional.masks import IGNORE

Points = Float[np.ndarray, "n 2"]
Relief = Float[np.ndarray, "H W"]
Colour = tuple[int, int, int]

CLASSES: Final = ("boat", "car", "cat", "dog", "sheep", "train")
VEHICLES: Final = ("boat", "car", "train")
CONTEXTS: Final = {"boat": "water", "car": "road", "sheep": "meadow"}
NEUTRAL_SCENES: Final = ("courtyard", "room", "sand", "snow")

MAX_IMAGES: Final = 499_999
"""Images of one split; val is numbered from here on, so that neither split moves the other."""
STRAY: Final = 0.1
"""Probability that an image not in its typical scene is in that of another class."""
SUPERSAMPLE: Final = 3

MAX_LOOKS: Final = 4

# fmt: off
SHARED_COLOURS: Final = {
    "dark": (38, 36, 42), "white": (244, 242, 236), "glass": (176, 226, 240),
    "pink": (236, 150, 150), "wood": (96, 66, 40), "hub": (190, 190, 196),
}
BODY_COLOURS: Final = (
    (186, 54, 52), (222, 124, 38), (112, 66, 148), (44, 62, 128),
    (104, 64, 42), (208, 96, 146), (22, 108, 104), (76, 78, 88),
)
PATTERNS: Final = ("plain", "stripes", "patch", "spots")
# main and second colour of the telling part, look by look; look i also has pattern i and pose i
PART_COLOURS: Final = {
    "boat": (((244, 242, 236), (210, 60, 60)), ((240, 200, 60), (244, 242, 236)),
             ((210, 60, 60), (244, 242, 236)), ((244, 242, 236), (38, 36, 42))),
    "car": (((60, 170, 90), (38, 36, 42)), ((230, 90, 50), (96, 36, 30)),
            ((70, 90, 190), (244, 242, 236)), ((220, 200, 70), (38, 36, 42))),
    "cat": (((240, 160, 60), (244, 242, 236)), ((150, 156, 168), (84, 88, 100)),
            ((244, 242, 236), (60, 58, 64)), ((236, 208, 160), (150, 100, 60))),
    "dog": (((150, 96, 54), (84, 50, 30)), ((226, 190, 134), (170, 118, 66)),
            ((244, 242, 236), (128, 76, 44)), ((92, 74, 66), (52, 40, 36))),
    "sheep": (((244, 242, 236), (64, 56, 56)), ((236, 226, 200), (168, 128, 96)),
              ((120, 104, 96), (40, 36, 38)), ((244, 242, 236), (222, 170, 160))),
    "train": (((52, 54, 60), (232, 184, 60)), ((40, 116, 66), (210, 60, 50)),
              ((176, 44, 44), (38, 36, 42)), ((48, 82, 160), (232, 184, 60))),
}
# lift of the head, lean of the legs, place along the deck; the same for every class
POSES: Final = ((0.30, 0.00, 0.50), (0.05, 0.16, 0.34), (-0.28, 0.05, 0.66), (0.15, -0.14, 0.58))
# fmt: on

# One shape a line, back to front: kind, colour, numbers. "main*" bears the pattern, "both" adds the
# mirror image. ellipse: centre and radii; limb: start, end and width; polygon: corners.
ART: Final = {
    "vehicle body": """
        polygon main*  0 .04  1.5 .04  1.62 .18  1.42 .76  .16 .76  0 .5
        ellipse dark   .38 .79  .21 .21
        ellipse dark   1.18 .79  .21 .21
        ellipse hub    .38 .79  .09 .09
        ellipse hub    1.18 .79  .09 .09""",
    "animal body": """
        limb    main   .10 .25  -.16 -.10  .11
        limb    shade  .30 .5  {0.30-lean} .91  .18
        limb    shade  1.02 .5  {1.02+lean} .91  .18
        limb    main   .18 .5  {0.18+lean} .91  .18
        limb    main   .90 .5  {0.90-lean} .91  .18
        limb    main   .98 .30  1.22 {0.12-lift}  .30
        ellipse main*  .6 .36  .62 .33""",
    "boat": """
        limb    wood   0 -.95  0 0  .07
        polygon main*  .06 -.92  .52 -.1  .06 -.1
        polygon second -.06 -.8  -.44 -.1  -.06 -.1""",
    "car": """
        polygon main*  -.5 0  -.34 -.5  .3 -.5  .5 0
        polygon glass  -.37 -.08  -.27 -.4  -.04 -.4  -.04 -.08
        polygon glass  .04 -.08  .04 -.4  .24 -.4  .37 -.08
        limb    second -.12 -.56  .08 -.56  .12""",
    "train": """
        polygon main*  -.5 0  -.5 -.74  -.12 -.74  -.12 0
        polygon second -.56 -.84  -.06 -.84  -.06 -.72  -.56 -.72
        polygon glass  -.42 -.3  -.42 -.62  -.2 -.62  -.2 -.3
        ellipse second .06 0  .13 .3
        polygon main   .24 0  .2 -.6  .48 -.6  .44 0
        limb    second .2 -.62  .48 -.62  .12""",
    "cat": """
        polygon main   both  .46 -.62  .44 0  .05 -.3
        polygon pink   both  .38 -.46  .36 -.15  .17 -.28
        ellipse main*  0 0  .48 .40
        ellipse white  both  .19 -.05  .07 .09
        ellipse dark   both  .19 -.05  .04 .07
        polygon pink   -.07 .1  .07 .1  0 .19
        limb    dark   both  .14 .2  .42 .14  .03
        limb    dark   both  .14 .2  .42 .26  .03""",
    "dog": """
        ellipse main*  0 -.05  .36 .42
        limb    second both  .34 -.28  .42 .18  .22
        ellipse white  both  .15 -.14  .07 .09
        ellipse dark   both  .15 -.14  .04 .07
        limb    pink   0 .30  0 .46  .16
        ellipse white  0 .18  .25 .20
        ellipse dark   0 .09  .12 .09""",
    "sheep": """
        limb    second both  .2 -.02  .5 .08  .15
        ellipse main   both  .3 -.12  .19 .17
        ellipse main   both  .22 -.34  .19 .17
        ellipse second 0 .1  .25 .4
        ellipse main*  0 -.3  .3 .26
        ellipse white  both  .12 .08  .07 .09
        ellipse dark   both  .12 .08  .04 .07
        limb    pink   -.06 .36  .06 .36  .06""",
}


@dataclass(frozen=True)
class Knobs:
    """What an image depends on besides its number; `generate` explains each."""

    size: int
    seed: int
    part_size: float
    looks: int
    scale_range: tuple[float, float]
    context: float
    texture: float
    objects: int


class Shape(NamedTuple):
    """A filled polygon, in body heights: x to the right, y down, feet of the body at y = 1."""

    points: Points
    colour: Colour
    part: bool = False
    marks: tuple[Points, ...] = ()
    mark_colour: Colour = DARK


class Toy(NamedTuple):
    """An object drawn alone: colour, coverage in 0..1, and which pixels are the telling part."""

    rgb: Float[np.ndarray, "h w 3"]
    alpha: Float[np.ndarray, "h w"]
    part: Bool[np.ndarray, "h w"]


class Thing(NamedTuple):
    """An object of a picture; `box` is x0, y0, x1, y1, ends exclusive, of what is visible."""

    name: str
    look: int
    box: tuple[int, int, int, int]


class Picture(NamedTuple):
    """An image and its truth; `instances` numbers the things from 1, nearer ones higher."""

    rgb: UInt8[np.ndarray, "H W 3"]
    instances: UInt8[np.ndarray, "H W"]
    things: list[Thing]
    scene: str


# --- shapes -------------------------------------------------------------------------------------


def _polygon(*corners: tuple[float, float]) -> Points:
    return np.array(corners, dtype=float)


def _ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def _limb(start: tuple[float, float], end: tuple[float, float], width: float) -> Points:
    """A stroke with round ends."""
    direction = math.atan2(end[1] - start[1], end[0] - start[0])
    turn = direction + np.linspace(-np.pi / 2, np.pi / 2, 9)
    cap = width / 2 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return np.concatenate([np.array(end) + cap, np.array(start) - cap])


def _marks(points: Points, pattern: str) -> tuple[Points, ...]:
    """Marks of a pattern over the box of a polygon; drawing clips them to the polygon."""
    (x, y), (w, h) = points.min(0), np.ptp(points, axis=0)
    if pattern == "stripes":
        lefts = [x + w * (0.08 + 0.25 * i) for i in range(4)]
        return tuple(
            _polygon((a, y), (a + w / 9, y), (a + w / 9, y + h), (a, y + h)) for a in lefts
        )
    if pattern == "spots":
        centres = [(0.2, 0.3), (0.45, 0.68), (0.62, 0.22), (0.85, 0.6), (0.12, 0.8)]
        r = 0.13 * min(w, h)
        return tuple(_ellipse(x + a * w, y + b * h, r, r) for a, b in centres)
    if pattern == "patch":
        return (_ellipse(x + 0.3 * w, y + 0.25 * h, 0.3 * w, 0.45 * h),)
    return ()


def _patterned(points: Points, colours: tuple[Colour, Colour], pattern: str, part: bool) -> Shape:
    return Shape(points, colours[0], part, _marks(points, pattern), colours[1])


def _animal_body(
    colours: tuple[Colour, Colour], pattern: str, lean: float, lift: float
) -> list[Shape]:
    far = tuple(int(0.7 * level) for level in colours[0])
    legs = [
        (0.30, -lean, far),
        (1.02, lean, far),
        (0.18, lean, colours[0]),
        (0.90, -lean, colours[0]),
    ]
    return [
        Shape(_limb((0.10, 0.25), (-0.16, -0.10), 0.11), colours[0]),
        *(Shape(_limb((x, 0.5), (x + dx, 0.91), 0.18), colour) for x, dx, colour in legs),
        Shape(_limb((0.98, 0.30), (1.22, 0.12 - lift), 0.30), colours[0]),
        _patterned(_ellipse(0.6, 0.36, 0.62, 0.33), colours, pattern, part=False),
    ]


def _vehicle_body(colours: tuple[Colour, Colour], pattern: str) -> list[Shape]:
    hull = _polygon((0, 0.04), (1.5, 0.04), (1.62, 0.18), (1.42, 0.76), (0.16, 0.76), (0, 0.5))
    rims = [_ellipse(x, 0.79, 0.21, 0.21) for x in (0.38, 1.18)]
    hubs = [_ellipse(x, 0.79, 0.09, 0.09) for x in (0.38, 1.18)]
    return [
        _patterned(hull, colours, pattern, part=False),
        *(Shape(points, DARK) for points in rims),
        *(Shape(points, (190, 190, 196)) for points in hubs),
    ]


def _face(x: float, y: float, apart: float) -> list[Shape]:
    """Two eyes."""
    eyes = [Shape(_ellipse(x + side * apart, y, 0.065, 0.085), WHITE) for side in (-1, 1)]
    return eyes + [Shape(_ellipse(x + side * apart, y, 0.04, 0.06), DARK) for side in (-1, 1)]


def _cat(main: Colour, second: Colour, pattern: str) -> list[Shape]:
    ears = [(-0.46, -0.62), (-0.44, 0.0), (-0.05, -0.3)]
    inner = [(-0.38, -0.46), (-0.36, -0.15), (-0.17, -0.28)]
    pink = (236, 150, 150)
    return [
        *(Shape(_polygon(*((s * x, y) for x, y in ears)), main) for s in (-1, 1)),
        *(Shape(_polygon(*((s * x, y) for x, y in inner)), pink) for s in (-1, 1)),
        _patterned(_ellipse(0, 0, 0.48, 0.40), (main, second), pattern, part=True),
        *_face(0, -0.05, 0.19),
        Shape(_polygon((-0.07, 0.1), (0.07, 0.1), (0, 0.19)), pink),
        *(
            Shape(_limb((s * 0.14, 0.2), (s * 0.42, 0.2 + dy), 0.03), DARK)
            for s in (-1, 1)
            for dy in (-0.06, 0.06)
        ),
    ]


def _dog(main: Colour, second: Colour, pattern: str) -> list[Shape]:
    muzzle = tuple((level + 2 * white) // 3 for level, white in zip(main, WHITE, strict=True))
    return [
        _patterned(_ellipse(0, -0.05, 0.36, 0.42), (main, second), pattern, part=True),
        *(Shape(_limb((s * 0.34, -0.28), (s * 0.42, 0.18), 0.22), second) for s in (-1, 1)),
        *_face(0, -0.14, 0.15),
        Shape(_limb((0, 0.30), (0, 0.46), 0.16), (232, 96, 104)),
        Shape(_ellipse(0, 0.18, 0.25, 0.20), muzzle),
        Shape(_ellipse(0, 0.09, 0.12, 0.09), DARK),
    ]


def _sheep(main: Colour, second: Colour, pattern: str) -> list[Shape]:
    curls = [(-0.3, -0.12), (-0.22, -0.34), (0.0, -0.42), (0.22, -0.34), (0.3, -0.12)]
    return [
        *(Shape(_limb((s * 0.2, -0.02), (s * 0.5, 0.08), 0.15), second) for s in (-1, 1)),
        *(Shape(_ellipse(x, y, 0.19, 0.17), main) for x, y in curls),
        Shape(_ellipse(0, 0.1, 0.25, 0.4), second),
        _patterned(_ellipse(0, -0.22, 0.3, 0.2), (main, second), pattern, part=True),
        *_face(0, 0.08, 0.12),
        Shape(_limb((-0.06, 0.36), (0.06, 0.36), 0.06), (236, 150, 150)),
    ]


def _boat(main: Colour, second: Colour, pattern: str) -> list[Shape]:
    return [
        Shape(_limb((0, -0.95), (0, 0), 0.07), (96, 66, 40)),
        _patterned(
            _polygon((0.06, -0.92), (0.52, -0.1), (0.06, -0.1)), (main, second), pattern, part=True
        ),
        Shape(_polygon((-0.06, -0.8), (-0.44, -0.1), (-0.06, -0.1)), second),
    ]


def _car(main: Colour, second: Colour, pattern: str) -> list[Shape]:
    return [
        _patterned(
            _polygon((-0.5, 0), (-0.34, -0.5), (0.3, -0.5), (0.5, 0)),
            (main, second),
            pattern,
            part=True,
        ),
        Shape(_polygon((-0.37, -0.08), (-0.27, -0.4), (-0.04, -0.4), (-0.04, -0.08)), GLASS),
        Shape(_polygon((0.04, -0.08), (0.04, -0.4), (0.24, -0.4), (0.37, -0.08)), GLASS),
        Shape(_limb((-0.12, -0.56), (0.08, -0.56), 0.12), second),
    ]


def _train(main: Colour, second: Colour, pattern: str) -> list[Shape]:
    cab = _polygon((-0.5, 0), (-0.5, -0.74), (-0.12, -0.74), (-0.12, 0))
    return [
        _patterned(cab, (main, second), pattern, part=True),
        Shape(_polygon((-0.56, -0.84), (-0.06, -0.84), (-0.06, -0.72), (-0.56, -0.72)), second),
        Shape(_polygon((-0.42, -0.3), (-0.42, -0.62), (-0.2, -0.62), (-0.2, -0.3)), GLASS),
        Shape(_ellipse(0.06, 0, 0.13, 0.3), second),
        Shape(_polygon((0.24, 0), (0.2, -0.6), (0.48, -0.6), (0.44, 0)), main),
        Shape(_limb((0.2, -0.62), (0.48, -0.62), 0.12), second),
    ]


_PARTS: Final = {
    "boat": _boat,
    "car": _car,
    "cat": _cat,
    "dog": _dog,
    "sheep": _sheep,
    "train": _train,
}


def _fitted(shapes: Sequence[Shape], longer: float, anchor: tuple[float, float]) -> list[Shape]:
    """Scale shapes until their longer side is `longer`, and move their origin to `anchor`."""
    scale = longer / np.ptp(np.concatenate([shape.points for shape in shapes]), axis=0).max()
    move = np.array(anchor)
    return [
        shape._replace(
            points=scale * shape.points + move,
            marks=tuple(scale * mark + move for mark in shape.marks),
            part=True,
        )
        for shape in shapes
    ]


def toy_shapes(name: str, look: int, part_size: float, rng: Generator) -> list[Shape]:
    """An object of a class, facing right: the body that its kind shares, then the telling part.

    Args:
        name: one of `CLASSES`.
        look: 0..`MAX_LOOKS` - 1; sets colours and pattern of the part, and the pose.
        part_size: longer side of the part, in body heights.
        rng: draws colours and pattern of the body, in the same way for every class.
    """
    first, second = rng.choice(len(BODY_COLOURS), 2, replace=False)
    colours = BODY_COLOURS[first], BODY_COLOURS[second]
    pattern = PATTERNS[rng.integers(len(PATTERNS))]
    lift, lean, along = np.array(POSES[look]) + rng.normal(0, 0.03, 3)
    part = _PARTS[name](*PART_COLOURS[name][look], PATTERNS[look])
    if name in VEHICLES:
        return _vehicle_body(colours, pattern) + _fitted(part, part_size, (1.5 * along, 0.06))
    return _animal_body(colours, pattern, lean, lift) + _fitted(part, part_size, (1.3, 0.1 - lift))


# --- drawing ------------------------------------------------------------------------------------


def draw_toy(
    shapes: Sequence[Shape], longer: float, tilt: float, flip: bool, rng: Generator
) -> Toy:
    """Draw shapes in a box whose longer side is `longer` pixels, shaded from above.

    Args:
        tilt: rotation in degrees.
        flip: whether the toy looks to the left.
    """
    turn = math.radians(tilt)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    matrix = np.diag([-1.0 if flip else 1.0, 1.0]) @ matrix
    everything = np.concatenate([shape.points for shape in shapes]) @ matrix.T
    scale = longer / np.ptp(everything, axis=0).max()
    origin = everything.min(0)
    w, h = np.maximum(1, np.rint(scale * np.ptp(everything, axis=0))).astype(int).tolist()
    canvas = (w * SUPERSAMPLE, h * SUPERSAMPLE)

    def corners(points: Points) -> list[tuple[float, float]]:
        on_canvas = SUPERSAMPLE * scale * (points @ matrix.T - origin) - 0.5
        return [(x, y) for x, y in on_canvas.tolist()]

    colour, alpha, part = (Image.new(mode, canvas) for mode in ("RGB", "L", "L"))
    for shape in shapes:
        for image, fill in ((colour, shape.colour), (alpha, 255), (part, 255 * shape.part)):
            ImageDraw.Draw(image).polygon(corners(shape.points), fill=fill)
        if shape.marks:
            inside, marks = Image.new("L", canvas), Image.new("L", canvas)
            ImageDraw.Draw(inside).polygon(corners(shape.points), fill=255)
            for mark in shape.marks:
                ImageDraw.Draw(marks).polygon(corners(mark), fill=255)
            colour.paste(shape.mark_colour, mask=ImageChops.darker(inside, marks))

    def small(image: Image.Image) -> np.ndarray:
        return np.asarray(image.reduce(SUPERSAMPLE), dtype=float)

    coverage = small(alpha) / 255
    # `reduce` mixed the colours with the black around them
    rgb = small(colour) / np.maximum(coverage, 1e-3)[..., None]
    light = (
        np.linspace(1.12, 0.80, h)[:, None]
        + 0.06 * _noise(rng, h, w, 6)
        + rng.normal(0, 0.02, (h, w))
    )
    return Toy(rgb * light[..., None], coverage, (small(part) > 127) & (coverage > 0.5))


def _noise(rng: Generator, h: int, w: int, cell: float) -> Relief:
    """Smooth noise of unit deviation whose bumps are about `cell` pixels wide."""
    grid = rng.standard_normal((math.ceil(h / cell) + 1, math.ceil(w / cell) + 1)).astype(
        np.float32
    )
    smooth = np.asarray(Image.fromarray(grid).resize((w, h), Image.Resampling.BICUBIC), dtype=float)
    return 1.3 * smooth


def _clouds(rng: Generator, h: int, w: int) -> Relief:
    return 0.6 * np.maximum(0, _noise(rng, h, w, h / 5) + 0.5 * _noise(rng, h, w, h / 12))


def _strokes(rng: Generator, h: int, w: int, count: int, step: tuple[float, float]) -> Relief:
    """Short lines of random brightness; `step` is the spread of their ends in pixels."""
    image = Image.new("F", (w, h))
    draw = ImageDraw.Draw(image)
    starts, ends = rng.uniform((0, 0), (w, h), (count, 2)), rng.normal(0, step, (count, 2))
    for start, end, level in zip(starts, starts + ends, rng.normal(0, 1, count), strict=True):
        draw.line([*start.tolist(), *end.tolist()], fill=float(level))
    return np.asarray(image, dtype=float)


def _blades(rng: Generator, h: int, w: int) -> Relief:
    return 0.8 * _strokes(rng, h, w, h * w // 14, (1.0, 4.0)) + 0.5 * _noise(rng, h, w, h / 6)


def _waves(rng: Generator, h: int, w: int) -> Relief:
    y = np.arange(h)[:, None] / h
    swell = np.sin(2 * np.pi * (14 * np.sqrt(y + 0.05) + 0.5 * _noise(rng, h, w, h / 6)))
    return 0.7 * swell + 0.5 * _strokes(rng, h, w, h * w // 90, (6.0, 0.3))


def _grain(rng: Generator, h: int, w: int) -> Relief:
    return 0.35 * rng.standard_normal((h, w)) + 0.5 * _noise(rng, h, w, h / 6)


def _drifts(rng: Generator, h: int, w: int) -> Relief:
    return -0.5 * np.abs(_noise(rng, h, w, h / 4)) + 0.1 * rng.standard_normal((h, w))


def _tiles(rng: Generator, h: int, w: int, rows: int, aspect: float, joint: float) -> Relief:
    """Courses of bricks, planks or paving, each stone a little different."""
    tall = h / rows
    y, x = np.mgrid[0:h, 0:w]
    row = (y / tall).astype(int)
    place = x / (aspect * tall) + np.modf(0.5 * row + rng.random())[0]
    stones = rng.normal(0, 0.4, (rows + 1, int(w / (aspect * tall)) + 3))
    seam = (y % tall < 1) | (np.modf(place)[0] * aspect * tall < 1)
    return np.where(seam, joint, stones[row, place.astype(int)]) + 0.2 * _noise(rng, h, w, 3)


def _bricks(rng: Generator, h: int, w: int) -> Relief:
    return _tiles(rng, h, w, rows=18, aspect=2.2, joint=1.0)


def _paving(rng: Generator, h: int, w: int) -> Relief:
    return _tiles(rng, h, w, rows=7, aspect=1.6, joint=-1.2)


def _planks(rng: Generator, h: int, w: int) -> Relief:
    return _tiles(rng, h, w, rows=9, aspect=7.0, joint=-1.5) + 0.3 * _strokes(
        rng, h, w, h, (9, 0.2)
    )


def _wallpaper(rng: Generator, h: int, w: int) -> Relief:
    wide = rng.uniform(0.05, 0.1) * w
    return np.where(np.arange(w) % (2 * wide) < wide, 0.4, -0.4) + 0.15 * _noise(rng, h, w, 4)


def _lanes(rng: Generator, h: int, w: int) -> Relief:
    y, x = np.mgrid[0:h, 0:w]
    middle, dash = h * rng.uniform(0.7, 0.9), w * rng.uniform(0.12, 0.2)
    line = (abs(y - middle) < 0.015 * h) & ((x + rng.uniform(0, dash)) % dash < 0.6 * dash)
    return np.where(line, 3.0, _grain(rng, h, w))


class Scene(NamedTuple):
    """Two flat colours, above and below the horizon, and the relief that texture adds to each."""

    above: Colour
    below: Colour
    backdrop: Callable[[Generator, int, int], Relief]
    ground: Callable[[Generator, int, int], Relief]


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
) -> Float[np.ndarray, "H W 3"]:
    """Background in levels 0..255: two flat colours plus `texture` times their relief."""
    scene = SCENES[name]
    above = (np.arange(h) < horizon)[:, None]
    flat = np.where(above[..., None], scene.above, scene.below) * rng.normal(1, 0.04, 3)
    relief = np.where(above, scene.backdrop(rng, h, w), scene.ground(rng, h, w))
    relief = relief + 0.25 * _noise(rng, h, w, h / 3)
    return flat * (1 + 0.16 * texture * relief)[..., None]


# --- one picture --------------------------------------------------------------------------------


def _cast(index: int, knobs: Knobs, rng: Generator) -> list[str]:
    """Classes of an image: one, or one and a companion that has no scene of its own."""
    plain = [name for name in CLASSES if name not in CONTEXTS]
    # companions are plain, so the leading class is more often one of the others
    deck = [*CLASSES, *(CONTEXTS if knobs.objects > 1 else ())]
    block, place = divmod(index, len(deck))
    order = np.random.default_rng([knobs.seed, 1, block]).permutation(len(deck))
    cast = [deck[order[place]]]
    if knobs.objects == 1 or rng.random() < 0.5:
        return cast
    other = str(rng.choice([name for name in plain if name != cast[0]]))
    cast.append(other if rng.random() < 0.8 else cast[0])
    while len(cast) < knobs.objects and rng.random() < 0.3:
        cast.append(cast[rng.integers(2)])
    return cast


def _scene_of(name: str, context: float, rng: Generator) -> str:
    typical = CONTEXTS.get(name)
    if typical and rng.random() < context:
        return typical
    if rng.random() < STRAY:
        return str(rng.choice([scene for scene in CONTEXTS.values() if scene != typical]))
    return str(rng.choice(NEUTRAL_SCENES))


def _room_for(
    toy: Toy, instances: UInt8[np.ndarray, "H W"], parts: UInt8[np.ndarray, "H W"],
    horizon: int, rng: Generator,
) -> tuple[int, int] | None:  # fmt: skip
    """A place (top, left) on the ground that leaves what stands there recognisable, or None."""
    (H, W), (h, w) = instances.shape, toy.alpha.shape
    solid = toy.alpha > 0.5
    areas, tells = np.bincount(instances.ravel()), np.bincount(parts.ravel())
    for _ in range(40):
        bottom = rng.integers(min(H, max(h, horizon + H // 16)), H + 1)
        top, left = int(bottom) - h, int(rng.integers(0, W - w + 1))
        window = np.s_[top : top + h, left : left + w]
        hidden = np.bincount(instances[window][solid], minlength=len(areas))
        hidden_tells = np.bincount(parts[window][solid], minlength=len(tells))
        if (hidden[1:] <= 0.3 * areas[1:]).all() and (hidden_tells[1:] <= 0.2 * tells[1:]).all():
            return top, left
    return None


def draw_picture(index: int, knobs: Knobs) -> Picture:
    """Image number `index` of the world that the knobs describe."""
    rng = np.random.default_rng([knobs.seed, 0, index])
    size, narrow = knobs.size, knobs.size * 7 // 8
    H, W = [(size, size), (size, narrow), (narrow, size)][rng.integers(3)]
    horizon = int(H * rng.uniform(0.3, 0.55))
    cast = _cast(index, knobs, rng)
    scene = _scene_of(cast[0], knobs.context, rng)
    canvas = draw_scene(scene, H, W, horizon, knobs.texture, rng)
    instances, parts = np.zeros((H, W), np.uint8), np.zeros((H, W), np.uint8)
    low, high = knobs.scale_range
    if len(cast) > 1:
        high = max(low, 0.7 * high)
    scales = sorted(np.exp(rng.uniform(math.log(low), math.log(high), len(cast))), reverse=True)
    found: list[tuple[str, int]] = []
    for name, scale in zip(cast, scales, strict=True):
        look = int(rng.integers(knobs.looks))
        shapes = toy_shapes(name, look, knobs.part_size, rng)
        tilt, flip = rng.normal(0, 4), bool(rng.random() < 0.5)
        for attempt in (scale, low):
            toy = draw_toy(shapes, attempt * min(H, W), tilt, flip, rng)
            place = _room_for(toy, instances, parts, horizon, rng)
            if place:
                break
        else:
            continue
        found.append((name, look))
        _add(toy, place, len(found), canvas, instances, parts)
    things = [
        Thing(name, look, _box(instances == number))
        for number, (name, look) in enumerate(found, start=1)
    ]
    return Picture(canvas.round().clip(0, 255).astype(np.uint8), instances, things, scene)


def _add(
    toy: Toy,
    place: tuple[int, int],
    number: int,
    canvas: np.ndarray,
    instances: np.ndarray,
    parts: np.ndarray,
) -> None:
    """Paint a toy and its shadow over what is there, in place."""
    (top, left), (h, w), (H, W) = place, toy.alpha.shape, instances.shape
    shadow = Image.new("L", (W, H))
    foot = top + h
    ImageDraw.Draw(shadow).ellipse((left, foot - 0.12 * h, left + w, foot + 0.04 * h), fill=80)
    dim = np.asarray(shadow.filter(ImageFilter.BoxBlur(2)), dtype=float) / 255
    canvas *= 1 - dim[..., None]
    window = np.s_[top : top + h, left : left + w]
    cover = toy.alpha[..., None]
    canvas[window] = cover * toy.rgb + (1 - cover) * canvas[window]
    solid = toy.alpha > 0.5
    instances[window][solid] = number
    parts[window][solid] = 0
    parts[window][toy.part] = number


def _box(mask: Bool[np.ndarray, "H W"]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


# --- the folder ---------------------------------------------------------------------------------


def voc_palette() -> list[int]:
    """Colours of VOC's palette, flat: the bits of an index spread over R, G, B from the top."""
    return [
        sum(((i >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3))
        for i in range(256)
        for channel in range(3)
    ]


def _annotation(name: str, picture: Picture) -> bytes:
    H, W = picture.instances.shape
    root = ElementTree.Element("annotation")

    def add(parent: ElementTree.Element, tag: str, text: object = None) -> ElementTree.Element:
        child = ElementTree.SubElement(parent, tag)
        child.text = None if text is None else str(text)
        return child

    add(root, "filename", f"{name}.jpg")
    size = add(root, "size")
    for tag, value in (("width", W), ("height", H), ("depth", 3)):
        add(size, tag, value)
    add(root, "segmented", 1)
    for thing in picture.things:
        node = add(root, "object")
        add(node, "name", thing.name)
        add(node, "difficult", 0)
        box = add(node, "bndbox")
        x0, y0, x1, y1 = thing.box
        # VOC counts from 1 and includes both ends
        for tag, value in (("xmin", x0 + 1), ("ymin", y0 + 1), ("xmax", x1), ("ymax", y1)):
            add(box, tag, value)
    ElementTree.indent(root)
    return ElementTree.tostring(root) + b"\n"


def _write_picture(root: Path, name: str, picture: Picture) -> None:
    image = Image.fromarray(picture.rgb)
    image.save(root / "JPEGImages" / f"{name}.jpg", quality=95, subsampling=0)
    (root / "Annotations" / f"{name}.xml").write_bytes(_annotation(name, picture))
    instances = Image.fromarray(picture.instances)
    # the ring lies on what is behind: there a nearer neighbour has a higher number
    void = np.asarray(instances.filter(ImageFilter.MaxFilter(3))) > picture.instances
    labels = np.array([0, *(CLASSES.index(t.name) + 1 for t in picture.things)], dtype=np.uint8)
    for folder, values in (
        ("SegmentationClass", labels[picture.instances]),
        ("SegmentationObject", picture.instances),
    ):
        mask = Image.fromarray(np.where(void, np.uint8(IGNORE), values))
        mask.putpalette(voc_palette())
        mask.save(root / folder / f"{name}.png")


def _write_table(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _write_world(root: Path, num_train: int, num_val: int, knobs: Knobs) -> None:
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationObject", "Annotations"):
        (root / folder).mkdir(parents=True)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    tags: dict[str, np.ndarray] = {}
    looks: list[Sequence[object]] = [("name", "instance", "class", "look")]
    scenes: list[Sequence[object]] = [("name", "scene")]
    splits: dict[str, list[str]] = {"train": [], "val": []}
    for split, start, count in (("train", 0, num_train), ("val", MAX_IMAGES, num_val)):
        for index in range(start, start + count):
            name, picture = f"tiny_{index + 1:06d}", draw_picture(index, knobs)
            _write_picture(root, name, picture)
            present = {thing.name for thing in picture.things}
            tags[name] = np.array([c in present for c in CLASSES], dtype=np.float32)
            looks += [(name, i, t.name, t.look) for i, t in enumerate(picture.things, start=1)]
            scenes.append((name, picture.scene))
            splits[split].append(name)
    splits["trainval"] = splits["train"] + splits["val"]
    for split, names in splits.items():
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    np.save(root / "cls_labels.npy", np.array(tags, dtype=object), allow_pickle=True)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in ("background", *CLASSES)))
    _write_table(root / "looks.csv", looks)
    _write_table(root / "scenes.csv", scenes)


def _check(num_train: int, num_val: int, knobs: Knobs) -> None:
    low, high = knobs.scale_range
    for name, value, fits, expected in (
        ("num_train", num_train, 1 <= num_train <= MAX_IMAGES, f"a number in 1..{MAX_IMAGES}"),
        ("num_val", num_val, 1 <= num_val <= MAX_IMAGES, f"a number in 1..{MAX_IMAGES}"),
        ("size", knobs.size, 32 <= knobs.size <= 1024, "pixels in 32..1024 (128 is usual)"),
        ("seed", knobs.seed, knobs.seed >= 0, "a number that is not negative"),
        ("part_size", knobs.part_size, 0 < knobs.part_size <= 1, "in (0, 1] (0.6 is usual)"),
        ("looks", knobs.looks, 1 <= knobs.looks <= MAX_LOOKS, f"a number in 1..{MAX_LOOKS}"),
        ("scale_range", [low, high], 0.1 <= low <= high <= 1, "low <= high within [0.1, 1]"),
        ("context", knobs.context, 0 <= knobs.context <= 1, "a probability in [0, 1]"),
        ("texture", knobs.texture, 0 <= knobs.texture <= 1, "in [0, 1]; 0 is flat colour"),
        ("objects", knobs.objects, 1 <= knobs.objects <= 8, "a number in 1..8"),
    ):
        if not fits:
            raise InputError(
                f"tiny_world: {name} is {value}, but must be {expected}; set data.{name}."
            )


def generate(
    cache: str | Path,
    num_train: int,
    num_val: int,
    size: int,
    seed: int,
    part_size: float,
    looks: int,
    scale_range: Sequence[float],
    context: float,
    texture: float,
    objects: int,
) -> Path:
    """Write the world below `cache`, unless it is there already, and return its root.

    The root is named by all arguments and by this module's text, so nothing stale is ever taken.
    It holds VOC's folders and lists, `cls_labels.npy`, `classes.txt` with background first,
    `looks.csv` (the sub-category of each instance) and `scenes.csv` (the scene of each image).

    Args:
        cache: folder of generated worlds; `~` is expanded.
        num_train: images of the train split.
        num_val: images of the val split.
        size: longer side of every image, in pixels; some are 7/8 as high or wide.
        seed: of everything random, not negative.
        part_size: longer side of the telling part, in body heights, in (0, 1].
        looks: sub-categories of each class, 1..4.
        scale_range: longer side of an object over the shorter side of its image, low and high.
        context: probability that a boat, car or sheep is in its typical scene.
        texture: contrast of the background's relief, in [0, 1]; 0 is flat colour.
        objects: most objects in an image; half of the images have one.

    Raises:
        InputError: an argument is out of its range.
    """
    if len(scale_range) != 2:
        raise InputError(
            f"tiny_world: scale_range is {list(scale_range)}, but must be two numbers, low and "
            "high; set data.scale_range, for example to [0.25, 0.8]."
        )
    low, high = (float(end) for end in scale_range)
    knobs = Knobs(size, seed, part_size, looks, (low, high), context, texture, objects)
    _check(num_train, num_val, knobs)
    text = json.dumps([num_train, num_val, asdict(knobs)]).encode() + Path(__file__).read_bytes()
    folder = Path(os.path.expanduser(cache)).absolute()
    root = folder / f"tiny_world-{hashlib.sha256(text).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if not root.is_dir():
            partial = root.with_name(f"{root.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            _write_world(partial, num_train, num_val, knobs)
            partial.rename(root)
    return root
