"""Training transforms: resize, colour jitter, horizontal flip and crop with padding.

Letters: n boxes or maps, h w a crop, H W an image.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torchvision import ops, tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from wsss_lightning.data.batch import Sample
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE

MIN_BOX_SIDE: Final = 1.0  # pixels; boxes of which less is left inside a crop are dropped
T = TypeVar("T", bound=tv_tensors.TVTensor)


@final
class TrainTransform:
    """Resize, jitter colours, flip and crop an image, and all annotations with it.

    Annotations are `mask`, `boxes`, `score` and any entry of the sample that is a
    `tv_tensors.TVTensor`, such as `KeyPoints`. Masks of floating point, such as `score`, are
    interpolated and padded with 0. Every random number comes from the generator that is passed in,
    in this order: size, colours, flip, position of the crop.

    Args:
        crop_size: side of the square crop, pixels.
        long_side: range of the longer side after resizing, pixels, drawn uniformly; None: `scale`
            gives the size.
        scale: range of the factor of both sides, drawn uniformly; None: the image keeps its size.
        scale_step: distance between the factors to draw from, starting at the lower end of
            `scale`; None: any factor in the range.
        flip: flip every second image horizontally.
        brightness, contrast, saturation: factors are drawn from [1 - value, 1 + value].
        hue: shift is drawn from [-hue, hue], in turns of the colour circle, at most 0.5.
        hsv: shifts of hue (turns), saturation and value (both in [0, 1]) are drawn from
            [-value, value]; None: no shift. Unlike the factors above, they also change pale
            colours.
        padding: colour outside the image, RGB in [0, 1]. Use the mean that the network subtracts,
            so that the padding is zero after normalisation.

    Raises:
        InputError: a range is empty or out of bounds, or both `long_side` and `scale` are given.

    Source: `voc12.data` and `tool.imutils` of the official PSA code.
    """

    def __init__(
        self,
        crop_size: int,
        long_side: Sequence[int] | None,
        scale: Sequence[float] | None,
        scale_step: float | None,
        flip: bool,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float,
        hsv: Sequence[float] | None,
        padding: Sequence[float],
    ) -> None:
        self.crop_size, self.flip, self.hue, self.padding = crop_size, flip, hue, padding
        self.long_side, self.scale = _range("long_side", long_side), _range("scale", scale)
        self.hsv = hsv
        self.factors = _factors(self.scale, scale_step)
        self.jitter = {
            F.adjust_brightness: brightness,
            F.adjust_contrast: contrast,
            F.adjust_saturation: saturation,
        }
        if crop_size < 1:
            raise InputError(f"crop_size is {crop_size}; set it to a number of pixels above 0.")
        if long_side is not None and scale is not None:
            raise InputError(
                f"long_side is {list(long_side)} and scale is {list(scale)}, but only one of them "
                "can give the size; set the other to null."
            )
        if not 0 <= hue <= 0.5 or min(self.jitter.values()) < 0:
            raise InputError(
                f"jitter is brightness {brightness}, contrast {contrast}, saturation {saturation} "
                f"and hue {hue}; set hue between 0 and 0.5, the others to 0 or more."
            )
        if hsv is not None and not (0 <= hsv[0] <= 0.5 and min(hsv) >= 0 and max(hsv) <= 1):
            raise InputError(
                f"hsv_jitter is hue {hsv[0]}, saturation {hsv[1]} and value {hsv[2]}; set hue "
                "between 0 and 0.5, the others between 0 and 1."
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Transform one image and its annotations; the input is not changed.

        Args:
            sample: `image` and, where present, `mask`, `boxes`, `score` and other tv_tensors.
            rng: source of all random numbers.

        Returns:
            A sample of size (h w). Boxes are clipped to the crop, in fractions of pixels; those
            with less than `MIN_BOX_SIDE` left on a side are dropped. Key points outside the crop
            keep their coordinates.
        """
        height, width = sample["image"].shape[-2:]
        size = self._draw_size(height, width, rng)
        parts = {key: _resize(part, size) for key, part in _to_tv_tensors(sample).items()}
        parts["image"] = tv_tensors.Image(self._jitter_colours(_plain(parts["image"]), rng))
        flip = self.flip and rng.random() < 0.5
        top, left = (self._draw_offset(side, rng) for side in size)
        for key, part in parts.items():
            parts[key] = self._crop(F.horizontal_flip(part) if flip else part, top, left)
        return _from_tv_tensors(sample, parts)

    def _draw_size(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        factor = 1.0
        if self.long_side is not None:
            low, high = self.long_side
            factor = int(rng.integers(int(low), int(high) + 1)) / max(height, width)
        elif self.factors is not None:
            factor = self.factors[rng.integers(len(self.factors))]
        elif self.scale is not None:
            factor = rng.uniform(*self.scale)
        return max(1, round(height * factor)), max(1, round(width * factor))

    def _jitter_colours(
        self, image: Float[Tensor, "3 H W"], rng: np.random.Generator
    ) -> Float[Tensor, "3 H W"]:
        changes = [
            (change, float(rng.uniform(max(0.0, 1 - x), 1 + x)))
            for change, x in self.jitter.items()
            if x
        ]
        if self.hue:
            changes.append((F.adjust_hue, float(rng.uniform(-self.hue, self.hue))))
        for i in rng.permutation(len(changes)):
            change, value = changes[i]
            image = change(image, value)
        if self.hsv is not None:
            image = shift_hsv(image, *(float(rng.uniform(-most, most)) for most in self.hsv))
        return image

    def _draw_offset(self, side: int, rng: np.random.Generator) -> int:
        """First row or column of the crop; negative where the image is smaller than the crop."""
        spare = side - self.crop_size
        return int(rng.integers(min(spare, 0), max(spare, 0) + 1))

    def _crop(self, part: T, top: int, left: int) -> T:
        """Crop a square at (top, left), which may reach outside the image."""
        height, width = F.get_size(part)
        size = self.crop_size
        before = max(-left, 0), max(-top, 0)
        after = max(left + size - width, 0), max(top + size - height, 0)
        fill: Any = self.padding
        if isinstance(part, tv_tensors.Mask):
            fill = 0.0 if part.is_floating_point() else IGNORE
        padded = F.pad(part, [*before, *after], fill=fill)
        return F.crop(padded, top + before[1], left + before[0], size, size)


def shift_hsv(
    image: Float[Tensor, "3 H W"], hue: float, saturation: float, value: float
) -> Float[Tensor, "3 H W"]:
    """Add constants to hue, saturation and value of every pixel; the latter two stay in [0, 1].

    A channel of RGB is v (1 - s d). d is 0 for the strongest channel, 1 for the weakest, and
    follows from the hue for the third. Grey has no hue and counts as red, as in OpenCV.

    Args:
        image: RGB in [0, 1].
        hue: in turns of the colour circle, in [-0.5, 0.5].
        saturation, value: in [-1, 1].

    Returns:
        RGB in [0, 1].
    """
    red = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1).to(image)
    image, red = (F.adjust_hue(colour, hue) for colour in (image, red))
    strongest = image.amax(0)
    spread = strongest - image.amin(0)
    depth = torch.where(spread > 0, (strongest - image) / spread.clamp(min=1e-12), 1 - red)
    saturated = (spread / strongest.clamp(min=1e-12) + saturation).clamp(0, 1)
    return (strongest + value).clamp(0, 1) * (1 - saturated * depth)


def _to_tv_tensors(sample: Sample) -> dict[str, tv_tensors.TVTensor]:
    """All entries that share the geometry of the image."""
    parts: dict[str, tv_tensors.TVTensor] = {
        key: value for key, value in sample.items() if isinstance(value, tv_tensors.TVTensor)
    }
    parts["image"] = tv_tensors.Image(sample["image"])
    if "mask" in sample:
        parts["mask"] = tv_tensors.Mask(sample["mask"][None])
    if "score" in sample:
        parts["score"] = tv_tensors.Mask(sample["score"])
    if "boxes" in sample:
        size = sample["image"].shape[-2:]
        corners = sample["boxes"][:, 1:]
        parts["boxes"] = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=size)
    return parts


def _from_tv_tensors(sample: Sample, parts: dict[str, tv_tensors.TVTensor]) -> Sample:
    """The sample with changed entries; those that `Sample` declares become plain tensors."""
    changed: dict[str, Any] = {**sample, **parts}
    changed["image"] = _plain(parts["image"])
    if "mask" in parts:
        changed["mask"] = _plain(parts["mask"])[0]
    if "score" in parts:
        changed["score"] = _plain(parts["score"])
    if "boxes" in parts:
        corners = _plain(parts["boxes"])
        kept = ops.remove_small_boxes(corners, MIN_BOX_SIDE)
        changed["boxes"] = torch.cat([sample["boxes"][:, :1], corners], dim=1)[kept]
    return Sample(**changed)  # type: ignore[typeddict-item]


def _resize(part: T, size: tuple[int, int]) -> T:
    if isinstance(part, tv_tensors.Image):
        resized = F.resize(
            part, list(size), interpolation=InterpolationMode.BICUBIC, antialias=True
        )
        # bicubic weights are partly negative, so values may leave [0, 1]
        return tv_tensors.wrap(resized.clamp(0, 1), like=part)
    if isinstance(part, tv_tensors.Mask):
        # F.resize reads a mask at the corner of each pixel (NEAREST), half a pixel away from where
        # the bicubic filter of the image is centred; NEAREST_EXACT reads it at the centre
        soft = part.is_floating_point()
        mode = InterpolationMode.BILINEAR if soft else InterpolationMode.NEAREST_EXACT
        resized = F.resize_image(_plain(part), list(size), interpolation=mode, antialias=soft)
        return tv_tensors.wrap(resized, like=part)
    return F.resize(part, list(size))


def _plain(part: Tensor) -> Tensor:
    return part.as_subclass(Tensor)


def _range(name: str, values: Sequence[float] | None) -> tuple[float, float] | None:
    if values is None:
        return None
    if not isinstance(values, Sequence) or len(values) != 2 or not 0 < values[0] <= values[1]:
        raise InputError(
            f"{name} is {values}, but a range is two positive numbers, the smaller first; "
            "give both, or null."
        )
    return values[0], values[1]


def _factors(scale: tuple[float, float] | None, step: float | None) -> list[float] | None:
    """Evenly spaced factors of both sides; None where any factor in the range can be drawn."""
    if step is None:
        return None
    low, high = scale or (0.0, 0.0)
    count = round((high - low) / step) if step > 0 else 0
    if count < 1 or abs(low + count * step - high) > 1e-6:
        raise InputError(
            f"scale_step is {step} and scale is {None if scale is None else list(scale)}, but "
            "steps must lead from the smallest to the largest scale, as 0.25 does for [0.5, 1.5]; "
            "change one of them, or set scale_step to null."
        )
    return [low + i * step for i in range(count + 1)]
