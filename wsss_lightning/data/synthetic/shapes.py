"""Outlines and colours of the generated objects.

Letters: n points of a polygon.
"""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

Points = Float[np.ndarray, "n 2"]
Colour = tuple[int, int, int]

CLASSES: Final = ("boat", "car", "cat", "dog", "sheep", "train")
VEHICLES: Final = ("boat", "car", "train")
MAX_SUBCATEGORIES: Final = 4

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
# main and second colour of the discriminative part of each sub-category; sub-category i also has
# pattern i and pose i
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
# per sub-category: lift of the head, lean of the legs, position along the deck
POSES: Final = ((0.30, 0.00, 0.50), (0.05, 0.16, 0.34), (-0.28, 0.05, 0.66), (0.15, -0.14, 0.58))
# fmt: on

# One shape a line, back to front: kind, colour, numbers. "main*" has the pattern, "both" adds the
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


class Shape(NamedTuple):
    """A filled polygon in units of the body height: x to the right, y down, feet at y = 1.

    Attributes:
        points: its corners.
        colour: RGB in 0 to 255.
        discriminative: whether it belongs to the part that distinguishes the class.
        marks: polygons of the pattern, clipped to this one.
        mark_colour: of the pattern.
    """

    points: Points
    colour: Colour
    discriminative: bool = False
    marks: tuple[Points, ...] = ()
    mark_colour: Colour = (0, 0, 0)


def _ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def _limb(x0: float, y0: float, x1: float, y1: float, width: float) -> Points:
    """A line with round ends."""
    turn = math.atan2(y1 - y0, x1 - x0) + np.linspace(-np.pi / 2, np.pi / 2, 9)
    cap = width / 2 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return np.concatenate([np.array((x1, y1)) + cap, np.array((x0, y0)) - cap])


def _polygon(*numbers: float) -> Points:
    return np.array(numbers, dtype=float).reshape(-1, 2)


_KINDS: Final[dict[str, Callable[..., Points]]] = {
    "ellipse": _ellipse, "limb": _limb, "polygon": _polygon,
}  # fmt: skip


def _marks(points: Points, pattern: str) -> tuple[Float[np.ndarray, "_ 2"], ...]:
    """Marks of a pattern within the bounding box of a polygon."""
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
    """Shapes of an entry of `ART`, painted with the given colours and pattern."""
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


def object_shapes(name: str, subcategory: int, part_size: float, rng: Generator) -> list[Shape]:
    """An object facing right: the body that all animals or vehicles share, then its own part.

    Args:
        name: one of `CLASSES`.
        subcategory: 0 to `MAX_SUBCATEGORIES` - 1; sets colours and pattern of the part, and the
            pose.
        part_size: longer side of the discriminative part, in body heights.
        rng: draws colours and pattern of the body, from one distribution for all classes.
    """
    first, second = rng.choice(len(BODY_COLOURS), 2, replace=False)
    coat = BODY_COLOURS[first], BODY_COLOURS[second], PATTERNS[rng.integers(len(PATTERNS))]
    lift, lean, along = (np.array(POSES[subcategory]) + rng.normal(0, 0.03, 3)).tolist()
    if name in VEHICLES:
        body, anchor = ART["vehicle body"], (1.5 * along, 0.06)
    else:
        legs = {"far_hind": 0.30 - lean, "far_fore": 1.02 + lean, "hind": 0.18 + lean}
        body = ART["animal body"].format(**legs, fore=0.90 - lean, nape=0.12 - lift)
        anchor = (1.3, 0.1 - lift)
    part = _read_art(ART[name], *PART_COLOURS[name][subcategory], PATTERNS[subcategory])
    scale = part_size / np.ptp(np.concatenate([shape.points for shape in part]), axis=0).max()
    return _read_art(body, *coat) + [
        shape._replace(
            points=scale * shape.points + anchor,
            marks=tuple(scale * mark + anchor for mark in shape.marks),
            discriminative=True,
        )
        for shape in part
    ]
