"""A generated image: a background with objects that stand on its ground.

Letters: H W an image, h w the box of an object.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from wsss_lightning.data.synthetic.drawing import RenderedObject, render
from wsss_lightning.data.synthetic.scenes import CONTEXTS, NEUTRAL_SCENES, draw_scene
from wsss_lightning.data.synthetic.shapes import CLASSES, object_shapes

STRAY: Final = 0.1
"""Probability that an image outside its typical scene shows the typical scene of another class."""
MAX_ATTEMPTS: Final = 40
MIN_VISIBLE: Final = 0.7  # share of an object that must stay visible
MIN_VISIBLE_PART: Final = 0.8  # likewise, of its discriminative part


@dataclass(frozen=True)
class WorldSettings:
    """What an image depends on besides its number; see `generate`."""

    size: int
    seed: int
    part_size: float
    subcategories: int
    scale_range: tuple[float, float]
    context: float
    texture: float
    objects: int


class Instance(NamedTuple):
    """An object of an image.

    Attributes:
        name: of its class.
        subcategory: from 0.
        box: x0, y0, x1, y1 of its visible pixels, ends exclusive.
    """

    name: str
    subcategory: int
    box: tuple[int, int, int, int]


class GeneratedImage(NamedTuple):
    """An image and its ground truth.

    Attributes:
        rgb: the image.
        instance_map: number of the instance at each pixel, from 1; nearer ones are higher.
        instances: in the order of their numbers.
        scene: name of the background.
    """

    rgb: UInt8[np.ndarray, "H W 3"]
    instance_map: UInt8[np.ndarray, "H W"]
    instances: list[Instance]
    scene: str


class Canvas:
    """An image in progress, with the instance at each pixel.

    Attributes:
        rgb: levels in 0 to 255, before rounding.
        instance_map: number of the visible instance, from 1; 0 background.
        part_map: likewise, of discriminative parts only.
        areas, part_areas: pixels of each instance and part, hidden ones included.
    """

    def __init__(self, background: Float[np.ndarray, "H W 3"], horizon: int) -> None:
        self.rgb, self.horizon = background, horizon
        self.instance_map, self.part_map = np.zeros((2, *background.shape[:2]), np.uint8)
        self.areas: list[int] = []
        self.part_areas: list[int] = []

    def find_position(self, item: RenderedObject, rng: Generator) -> tuple[int, int] | None:
        """A position (top, left) that leaves earlier objects recognisable; None if none is found.

        The object stands on the ground, below the horizon.
        """
        (H, W), (h, w) = self.instance_map.shape, item.solid.shape
        for _ in range(MAX_ATTEMPTS):
            bottom = int(rng.integers(min(H, max(h, self.horizon + H // 16)), H + 1))
            position = bottom - h, int(rng.integers(0, W - w + 1))
            if stay_visible(
                self.instance_map, item, position, self.areas, MIN_VISIBLE
            ) and stay_visible(self.part_map, item, position, self.part_areas, MIN_VISIBLE_PART):
                return position
        return None

    def paste(self, item: RenderedObject, position: tuple[int, int]) -> None:
        """Draw an object and its shadow in front of all others."""
        (top, left), (h, w) = position, item.solid.shape
        shadow, foot = Image.new("L", self.instance_map.shape[::-1]), top + h
        ellipse = (left, foot - 0.12 * h, left + w, foot + 0.04 * h)
        ImageDraw.Draw(shadow).ellipse(ellipse, fill=80)
        dim = np.asarray(shadow.filter(ImageFilter.BoxBlur(2)), dtype=float) / 255
        self.rgb *= 1 - dim[..., None]
        window = np.s_[top : top + h, left : left + w]
        cover = item.alpha[..., None]
        self.rgb[window] = cover * item.rgb + (1 - cover) * self.rgb[window]
        self.areas.append(int(item.solid.sum()))
        self.part_areas.append(int(item.part.sum()))
        self.instance_map[window][item.solid] = len(self.areas)
        self.part_map[window][item.solid] = 0
        self.part_map[window][item.part] = len(self.areas)


def stay_visible(
    owners: UInt8[np.ndarray, "H W"],
    item: RenderedObject,
    position: tuple[int, int],
    areas: list[int],
    min_share: float,
) -> bool:
    """Whether each owner keeps at least `min_share` of its area behind the object.

    Args:
        owners: number of the owner of each pixel, from 1; 0 has none.
        position: of the object, (top, left).
        areas: of each owner, pixels.
    """
    (top, left), (h, w) = position, item.solid.shape
    remaining = owners.copy()
    remaining[top : top + h, left : left + w][item.solid] = 0
    counts = np.bincount(remaining.ravel(), minlength=len(areas) + 1)[1:]
    return bool((counts >= min_share * np.array(areas)).all())


def draw_classes(index: int, settings: WorldSettings, rng: Generator) -> list[str]:
    """Classes of the objects of an image: of one class, or of two.

    The second class has no typical scene. To balance the classes, those with a typical scene come
    first more often.
    """
    without_context = [name for name in CLASSES if name not in CONTEXTS]
    deck = [*CLASSES, *(CONTEXTS if settings.objects > 1 else ())]
    block, place = divmod(index, len(deck))
    order = np.random.default_rng([settings.seed, 1, block]).permutation(len(deck))
    classes = [deck[order[place]]]
    if settings.objects == 1 or rng.random() < 0.5:
        return classes
    other = str(rng.choice([name for name in without_context if name != classes[0]]))
    classes.append(other if rng.random() < 0.8 else classes[0])
    while len(classes) < settings.objects and rng.random() < 0.3:
        classes.append(classes[rng.integers(2)])
    return classes


def _draw_scene_name(name: str, context: float, rng: Generator) -> str:
    typical = CONTEXTS.get(name)
    if typical and rng.random() < context:
        return typical
    if rng.random() < STRAY:
        return str(rng.choice([scene for scene in CONTEXTS.values() if scene != typical]))
    return str(rng.choice(NEUTRAL_SCENES))


def draw_image(index: int, settings: WorldSettings) -> GeneratedImage:
    """Image number `index`; it does not depend on how many others there are."""
    rng = np.random.default_rng([settings.seed, 0, index])
    size, narrow = settings.size, settings.size * 7 // 8
    H, W = [(size, size), (size, narrow), (narrow, size)][rng.integers(3)]
    horizon = int(H * rng.uniform(0.3, 0.55))
    classes = draw_classes(index, settings, rng)
    scene = _draw_scene_name(classes[0], settings.context, rng)
    canvas = Canvas(draw_scene(scene, H, W, horizon, settings.texture, rng), horizon)
    pasted = _paste_objects(canvas, classes, settings, rng)
    instances = [
        Instance(name, subcategory, _bounding_box(canvas.instance_map == i))
        for i, (name, subcategory) in enumerate(pasted, start=1)
    ]
    rgb = canvas.rgb.round().clip(0, 255).astype(np.uint8)
    return GeneratedImage(rgb, canvas.instance_map, instances, scene)


def _paste_objects(
    canvas: Canvas, classes: list[str], settings: WorldSettings, rng: Generator
) -> list[tuple[str, int]]:
    """Class and sub-category of each object that found a position, largest first."""
    low, high = settings.scale_range
    if len(classes) > 1:
        # two of the largest would not fit
        high = max(low, 0.7 * high)
    # the largest first: later objects stand in front
    scales = sorted(np.exp(rng.uniform(math.log(low), math.log(high), len(classes))), reverse=True)
    pasted: list[tuple[str, int]] = []
    for name, scale in zip(classes, scales, strict=True):
        subcategory = int(rng.integers(settings.subcategories))
        tilt, flip = rng.normal(0, 4), rng.random() < 0.5
        shapes = object_shapes(name, subcategory, settings.part_size, rng)
        for attempt in (scale, low):
            side = attempt * min(canvas.instance_map.shape)
            item = render(shapes, side, tilt, flip, rng)
            position = canvas.find_position(item, rng)
            if position is not None:
                canvas.paste(item, position)
                pasted.append((name, subcategory))
                break
    return pasted


def _bounding_box(mask: Bool[np.ndarray, "H W"]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
