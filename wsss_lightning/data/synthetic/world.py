"""A generated toy world in Pascal VOC layout: small, free to share, and hard where VOC is hard.

Six classes: three toy animals upon one body, three toy vehicles upon another. Body shape, colour
and pattern are drawn from the same distribution for all, so only a small part tells the class: a
head, or what stands on the deck. Each knob of `generate` sets one difficulty of weak supervision:

- `part_size`: how small the telling part is; a plain CAM covers that part and misses the body.
- `subcategories`: how many sub-categories a class has (colours and pattern of the part, pose).
- `scale_range`: how much the size of objects varies.
- `context`: how often boats are on water, cars on a road and sheep in a meadow; the other classes
  seldom are, so that the scene is evidence for the tag but lies outside the object.
- `texture`: how busy the background is, hence how much colour edges alone tell a CRF.
- `objects`: how many objects meet in an image, of one class or of two.

An image depends on the knobs, the seed and its own number, not on how many others there are.

Letters: H W an image, h w the box of one object, n points of a polygon.
"""

import ast
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from filelock import FileLock
from jaxtyping import Bool, Float, UInt8
from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE, voc_palette
from wsss_lightning.utils.files import write_table
from wsss_lightning.utils.syntax import normal_form

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
    "pink": (244, 140, 150), "lime": (170, 226, 60), "wood": (96, 66, 40), "hub": (190, 190, 196),
}
BODY_COLOURS: Final = (
    (176, 44, 58), (204, 84, 140), (112, 66, 148), (44, 62, 128),
    (22, 108, 104), (44, 92, 56), (122, 40, 84), (70, 74, 92),
)
PATTERNS: Final = ("plain", "stripes", "patch", "spots")
# main and second colour of the telling part, look by look; look i also has pattern i and pose i
PART_COLOURS: Final = {
    "boat": (((244, 242, 236), (210, 60, 60)), ((240, 200, 60), (244, 242, 236)),
             ((210, 60, 60), (244, 242, 236)), ((244, 242, 236), (38, 36, 42))),
    "car": (((60, 170, 90), (38, 36, 42)), ((230, 90, 50), (96, 36, 30)),
            ((70, 90, 190), (244, 242, 236)), ((220, 200, 70), (38, 36, 42))),
    "cat": (((244, 150, 40), (244, 242, 236)), ((252, 184, 84), (130, 64, 20)),
            ((244, 242, 236), (244, 140, 30)), ((250, 206, 130), (240, 130, 40))),
    "dog": (((150, 96, 54), (84, 50, 30)), ((116, 72, 42), (206, 164, 108)),
            ((190, 150, 112), (96, 56, 32)), ((92, 64, 50), (52, 36, 30))),
    "sheep": (((244, 242, 236), (64, 56, 56)), ((236, 226, 200), (168, 128, 96)),
              ((120, 104, 96), (40, 36, 38)), ((244, 242, 236), (222, 170, 160))),
    "train": (((40, 40, 46), (240, 190, 50)), ((250, 210, 60), (40, 40, 46)),
              ((60, 44, 36), (250, 210, 70)), ((48, 82, 160), (240, 190, 50))),
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
        limb    shade  .30 .5  {far_hind:.3f} .91  .18
        limb    shade  1.02 .5  {far_fore:.3f} .91  .18
        limb    main   .18 .5  {hind:.3f} .91  .18
        limb    main   .90 .5  {fore:.3f} .91  .18
        limb    main   .98 .30  1.22 {nape:.3f}  .30
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
        ellipse lime   both  .19 -.05  .11 .11
        ellipse dark   both  .19 -.05  .04 .09
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
    subcategories: int
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
    mark_colour: Colour = (0, 0, 0)


class Toy(NamedTuple):
    """An object drawn alone: colour, coverage in 0..1, its pixels, those of its telling part."""

    rgb: Float[np.ndarray, "h w 3"]
    alpha: Float[np.ndarray, "h w"]
    solid: Bool[np.ndarray, "h w"]
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


def _ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def _limb(x0: float, y0: float, x1: float, y1: float, width: float) -> Points:
    """A stroke with round ends."""
    turn = math.atan2(y1 - y0, x1 - x0) + np.linspace(-np.pi / 2, np.pi / 2, 9)
    cap = width / 2 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return np.concatenate([np.array((x1, y1)) + cap, np.array((x0, y0)) - cap])


def _polygon(*numbers: float) -> Points:
    return np.array(numbers, dtype=float).reshape(-1, 2)


_KINDS: Final[dict[str, Callable[..., Points]]] = {
    "ellipse": _ellipse, "limb": _limb, "polygon": _polygon,
}  # fmt: skip


def _marks(points: Points, pattern: str) -> tuple[Float[np.ndarray, "_ 2"], ...]:
    """Marks of a pattern over the box of a polygon; drawing clips them to the polygon."""
    corner, extent = points.min(0), np.ptp(points, axis=0)
    r = 0.13 * extent.min() / extent
    unit: dict[str, list[Points]] = {
        "plain": [],
        "stripes": [_limb(x, -0.1, x, 1.1, 0.11) for x in (0.13, 0.38, 0.63, 0.88)],
        "patch": [_ellipse(0.3, 0.25, 0.3, 0.45)],
        "spots": [
            _ellipse(x, y, *r)
            for x, y in ((0.2, 0.3), (0.45, 0.68), (0.62, 0.22), (0.85, 0.6), (0.12, 0.8))
        ],
    }
    return tuple(corner + extent * mark for mark in unit[pattern])


def _read_art(art: str, main: Colour, second: Colour, pattern: str) -> list[Shape]:
    """Shapes of one entry of `ART` in given colours."""
    r, g, b = (int(0.7 * level) for level in main)
    colours = {**SHARED_COLOURS, "main": main, "second": second, "shade": (r, g, b)}
    shapes = []
    for line in art.split("\n")[1:]:
        kind, colour, *words = line.split()
        both = words[0] == "both"
        points = _KINDS[kind](*map(float, words[both:]))
        for side in (points, points * (-1, 1))[: 1 + both]:
            marks = _marks(side, pattern) if colour == "main*" else ()
            shapes.append(Shape(side, colours[colour.rstrip("*")], False, marks, second))
    return shapes


def toy_shapes(name: str, look: int, part_size: float, rng: Generator) -> list[Shape]:
    """An object of a class, facing right: the body that its kind shares, then the telling part.

    Args:
        name: one of `CLASSES`.
        look: 0..`MAX_LOOKS` - 1; sets colours and pattern of the part, and the pose.
        part_size: longer side of the part, in body heights.
        rng: draws colours and pattern of the body, in the same way for every class.
    """
    first, second = rng.choice(len(BODY_COLOURS), 2, replace=False)
    coat = BODY_COLOURS[first], BODY_COLOURS[second], PATTERNS[rng.integers(len(PATTERNS))]
    lift, lean, along = (np.array(POSES[look]) + rng.normal(0, 0.03, 3)).tolist()
    if name in VEHICLES:
        body, anchor = ART["vehicle body"], (1.5 * along, 0.06)
    else:
        legs = {"far_hind": 0.30 - lean, "far_fore": 1.02 + lean, "hind": 0.18 + lean}
        body = ART["animal body"].format(**legs, fore=0.90 - lean, nape=0.12 - lift)
        anchor = (1.3, 0.1 - lift)
    part = _read_art(ART[name], *PART_COLOURS[name][look], PATTERNS[look])
    scale = part_size / np.ptp(np.concatenate([shape.points for shape in part]), axis=0).max()
    return _read_art(body, *coat) + [
        shape._replace(
            points=scale * shape.points + anchor,
            marks=tuple(scale * mark + anchor for mark in shape.marks),
            part=True,
        )
        for shape in part
    ]


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
    light = rng.normal(np.linspace(1.12, 0.80, h)[:, None], 0.02, (h, w))
    light = light + 0.06 * _noise(rng, h, w, 6)
    solid = coverage > 0.5
    return Toy(rgb * light[..., None], coverage, solid, solid & (small(part) > 127))


def _noise(rng: Generator, h: int, w: int, cell: float) -> Relief:
    """Smooth noise of unit deviation whose bumps are about `cell` pixels wide."""
    grid = rng.standard_normal((math.ceil(h / cell) + 1, math.ceil(w / cell) + 1))
    coarse = Image.fromarray(grid.astype(np.float32))
    # interpolation averages, which takes about a quarter of the deviation
    return 1.3 * np.asarray(coarse.resize((w, h), Image.Resampling.BICUBIC), dtype=float)


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
    swell = np.sin(2 * np.pi * (14 * np.sqrt(y + 0.05) + 0.2 * _noise(rng, h, w, h / 6)))
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


class Easel:
    """A picture in the making: the canvas, and who stands on which of its pixels.

    `parts` holds only the telling parts; `areas` and `part_areas` are as if nothing were hidden.
    """

    def __init__(self, canvas: Float[np.ndarray, "H W 3"], horizon: int) -> None:
        self.canvas, self.horizon = canvas, horizon
        self.instances, self.parts = np.zeros((2, *canvas.shape[:2]), np.uint8)
        self.areas: list[int] = []
        self.part_areas: list[int] = []

    def room_for(self, toy: Toy, rng: Generator) -> tuple[int, int] | None:
        """A place (top, left) on the ground that leaves all that stands there plain, or None."""
        (H, W), (h, w) = self.instances.shape, toy.solid.shape
        for _ in range(40):
            bottom = int(rng.integers(min(H, max(h, self.horizon + H // 16)), H + 1))
            place = bottom - h, int(rng.integers(0, W - w + 1))
            if _visible(self.instances, toy, place, self.areas, 0.7) and _visible(
                self.parts, toy, place, self.part_areas, 0.8
            ):
                return place
        return None

    def add(self, toy: Toy, place: tuple[int, int]) -> None:
        """Paint a toy and its shadow over what is there."""
        (top, left), (h, w) = place, toy.solid.shape
        shadow, foot = Image.new("L", self.instances.shape[::-1]), top + h
        ellipse = (left, foot - 0.12 * h, left + w, foot + 0.04 * h)
        ImageDraw.Draw(shadow).ellipse(ellipse, fill=80)
        dim = np.asarray(shadow.filter(ImageFilter.BoxBlur(2)), dtype=float) / 255
        self.canvas *= 1 - dim[..., None]
        window = np.s_[top : top + h, left : left + w]
        cover = toy.alpha[..., None]
        self.canvas[window] = cover * toy.rgb + (1 - cover) * self.canvas[window]
        self.areas.append(int(toy.solid.sum()))
        self.part_areas.append(int(toy.part.sum()))
        self.instances[window][toy.solid] = len(self.areas)
        self.parts[window][toy.solid] = 0
        self.parts[window][toy.part] = len(self.areas)


def _visible(
    owners: UInt8[np.ndarray, "H W"],
    toy: Toy,
    place: tuple[int, int],
    areas: list[int],
    least: float,
) -> bool:
    """Whether each owner keeps a share of at least `least` of its area behind the toy."""
    (top, left), (h, w) = place, toy.solid.shape
    left_over = owners.copy()
    left_over[top : top + h, left : left + w][toy.solid] = 0
    counts = np.bincount(left_over.ravel(), minlength=len(areas) + 1)[1:]
    return bool((counts >= least * np.array(areas)).all())


def draw_picture(index: int, knobs: Knobs) -> Picture:
    """Image number `index` of the world that the knobs describe."""
    rng = np.random.default_rng([knobs.seed, 0, index])
    size, narrow = knobs.size, knobs.size * 7 // 8
    H, W = [(size, size), (size, narrow), (narrow, size)][rng.integers(3)]
    horizon = int(H * rng.uniform(0.3, 0.55))
    cast = _cast(index, knobs, rng)
    scene = _scene_of(cast[0], knobs.context, rng)
    easel = Easel(draw_scene(scene, H, W, horizon, knobs.texture, rng), horizon)
    low, high = knobs.scale_range
    if len(cast) > 1:
        # two of the largest would not fit
        high = max(low, 0.7 * high)
    # the largest first: what comes later stands in front
    scales = sorted(np.exp(rng.uniform(math.log(low), math.log(high), len(cast))), reverse=True)
    found: list[tuple[str, int]] = []
    for name, scale in zip(cast, scales, strict=True):
        look, tilt, flip = (
            int(rng.integers(knobs.subcategories)),
            rng.normal(0, 4),
            rng.random() < 0.5,
        )
        shapes = toy_shapes(name, look, knobs.part_size, rng)
        for attempt in (scale, low):
            toy = draw_toy(shapes, attempt * min(H, W), tilt, flip, rng)
            place = easel.room_for(toy, rng)
            if place is not None:
                easel.add(toy, place)
                found.append((name, look))
                break
    things = [Thing(*it, _box(easel.instances == i)) for i, it in enumerate(found, start=1)]
    rgb = easel.canvas.round().clip(0, 255).astype(np.uint8)
    return Picture(rgb, easel.instances, things, scene)


def _box(mask: Bool[np.ndarray, "H W"]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


# --- the folder ---------------------------------------------------------------------------------


def _annotation(name: str, picture: Picture) -> str:
    H, W = picture.instances.shape
    objects = [
        f"  <object>\n    <name>{thing.name}</name>\n    <difficult>0</difficult>\n    <bndbox>"
        # VOC counts from 1 and includes both ends
        f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        "</bndbox>\n  </object>\n"
        for thing in picture.things
        for x0, y0, x1, y1 in [thing.box]
    ]
    return (
        f"<annotation>\n  <filename>{name}.jpg</filename>\n"
        f"  <size><width>{W}</width><height>{H}</height><depth>3</depth></size>\n"
        f"  <segmented>1</segmented>\n{''.join(objects)}</annotation>\n"
    )


def _write_picture(root: Path, name: str, picture: Picture) -> None:
    image = Image.fromarray(picture.rgb)
    image.save(root / "JPEGImages" / f"{name}.jpg", quality=95, subsampling=0)
    (root / "Annotations" / f"{name}.xml").write_text(_annotation(name, picture))
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
    write_table(root / "looks.csv", looks)
    write_table(root / "scenes.csv", scenes)


def _check(num_train: int, num_val: int, knobs: Knobs) -> None:
    low, high = knobs.scale_range
    for name, value, fits, expected in (
        ("num_train", num_train, 1 <= num_train <= MAX_IMAGES, f"a number in 1..{MAX_IMAGES}"),
        ("num_val", num_val, 1 <= num_val <= MAX_IMAGES, f"a number in 1..{MAX_IMAGES}"),
        ("size", knobs.size, 32 <= knobs.size <= 1024, "pixels in 32..1024 (128 is usual)"),
        ("seed", knobs.seed, knobs.seed >= 0, "a number that is not negative"),
        ("part_size", knobs.part_size, 0 < knobs.part_size <= 1, "in (0, 1] (0.6 is usual)"),
        (
            "subcategories",
            knobs.subcategories,
            1 <= knobs.subcategories <= MAX_LOOKS,
            f"a number in 1..{MAX_LOOKS}",
        ),
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
    subcategories: int,
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
        subcategories: sub-categories of each class, 1..4.
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
    knobs = Knobs(size, seed, part_size, subcategories, (low, high), context, texture, objects)
    _check(num_train, num_val, knobs)
    # the code that draws is part of the name; comments and docstrings are not
    code = normal_form(ast.parse(Path(__file__).read_bytes()).body)
    text = json.dumps([num_train, num_val, asdict(knobs)]) + code
    folder = Path(cache).expanduser().absolute()
    root = folder / f"tiny_world-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if not root.is_dir():
            unfinished = root.with_name(f"{root.name}.partial")
            shutil.rmtree(unfinished, ignore_errors=True)
            _write_world(unfinished, num_train, num_val, knobs)
            unfinished.rename(root)
    return root
