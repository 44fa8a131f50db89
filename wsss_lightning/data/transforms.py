"""What training sees of an image: image, mask and maps change together.

Letters: n maps, h w a crop, H W an image.
"""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as images

from wsss_lightning.data.batch import Sample
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE


@final
class TrainTransform:
    """Resize, colour jitter, mirror, crop with padding; every draw comes from a given generator.

    Args:
        crop_size: side of the square crop, pixels.
        long_side: range of the longer side, pixels, drawn uniformly; None: see `scale`.
        scale: range of the factor of both sides, drawn uniformly; None: as it is.
        scale_step: distance of factors that are drawn, from the smallest of `scale` to the
            largest; None: any factor in the range.
        flip: mirror every second image.
        brightness, contrast, saturation: factors are drawn from 1 +- these.
        hue: shift is drawn from +- this, in turns of the colour circle.
        hsv: shifts of hue (turns), saturation and value (shares of their range) are drawn from +-
            these; None: none. Factors above leave weak colours weak, these do not.
        padding: colour around an image that is smaller than the crop, RGB in [0, 1]: the mean that
            the network subtracts, so that padding is zero behind its normalisation.

    Raises:
        InputError: a range is empty, or two rules of size are given.

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
            images.adjust_brightness: brightness,
            images.adjust_contrast: contrast,
            images.adjust_saturation: saturation,
        }
        if crop_size < 1:
            raise InputError(f"crop_size is {crop_size}; set it to a number of pixels above 0.")
        if long_side is not None and scale is not None:
            raise InputError(
                f"long_side is {list(long_side)} and scale is {list(scale)}, but one of them must "
                "give the size; set the other to null."
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
        """The sample as training sees it, without boxes; the given one stays as it is."""
        height, width = sample["image"].shape[-2:]
        size = self._size(height, width, rng)
        changed = _resized(sample, size) if size != (height, width) else sample.copy()
        changed["image"] = self._recolour(changed["image"], rng)
        mirrored = self.flip and rng.random() < 0.5
        top, left = (self._place(side, rng) for side in size)

        def cut(maps: Tensor, padding: Sequence[float]) -> Tensor:
            return _crop(maps.flip(-1) if mirrored else maps, top, left, self.crop_size, padding)

        changed["image"] = cut(changed["image"], self.padding)
        if "mask" in changed:
            changed["mask"] = cut(changed["mask"][None], (IGNORE,))[0]
        if "score" in changed:
            changed["score"] = cut(changed["score"], (0.0,))
        changed.pop("boxes", None)
        return changed

    def _size(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        factor = 1.0
        if self.long_side is not None:
            low, high = self.long_side
            factor = int(rng.integers(int(low), int(high) + 1)) / max(height, width)
        elif self.factors is not None:
            factor = self.factors[rng.integers(len(self.factors))]
        elif self.scale is not None:
            factor = rng.uniform(*self.scale)
        return max(1, round(height * factor)), max(1, round(width * factor))

    def _recolour(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        changes = [
            (change, float(rng.uniform(max(0.0, 1 - x), 1 + x)))
            for change, x in self.jitter.items()
            if x
        ]
        if self.hue:
            changes.append((images.adjust_hue, float(rng.uniform(-self.hue, self.hue))))
        for i in rng.permutation(len(changes)):
            change, value = changes[i]
            image = change(image, value)
        if self.hsv is not None:
            image = shift_hsv(image, *(float(rng.uniform(-most, most)) for most in self.hsv))
        return image

    def _place(self, side: int, rng: np.random.Generator) -> int:
        """Where the crop begins: anywhere inside a larger side, anywhere around a smaller one."""
        spare = side - self.crop_size
        return int(rng.integers(min(spare, 0), max(spare, 0) + 1))


def shift_hsv(
    image: Float[Tensor, "3 H W"], hue: float, saturation: float, value: float
) -> Float[Tensor, "3 H W"]:
    """Add to hue, saturation and value of every pixel; the latter two stay in [0, 1].

    A channel of RGB is v (1 - s d), where d is 0 for the strongest channel, 1 for the weakest, and
    follows from the hue between. Grey has no hue; it counts as red, as in OpenCV.

    Args:
        image: RGB in [0, 1].
        hue: in turns of the colour circle, within +-0.5.
    """
    red = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1).to(image)
    image, red = (images.adjust_hue(colour, hue) for colour in (image, red))
    strongest = image.amax(0)
    spread = strongest - image.amin(0)
    depth = torch.where(spread > 0, (strongest - image) / spread.clamp(min=1e-12), 1 - red)
    saturated = (spread / strongest.clamp(min=1e-12) + saturation).clamp(0, 1)
    return (strongest + value).clamp(0, 1) * (1 - saturated * depth)


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
    """Factors of both sides at equal distances; None where any in the range can be drawn."""
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


def _resized(sample: Sample, size: tuple[int, int]) -> Sample:
    """All maps of a sample at another size; boxes stay behind."""
    changed = sample.copy()
    # bicubic weights are negative in places: values may leave [0, 1]
    changed["image"] = images.resize_image(
        sample["image"], list(size), interpolation=InterpolationMode.BICUBIC, antialias=True
    ).clamp(0, 1)
    if "mask" in sample:
        # torch's plain NEAREST takes a cell's corner, half a cell beside where bicubic looks
        changed["mask"] = images.resize_image(
            sample["mask"][None], list(size), interpolation=InterpolationMode.NEAREST_EXACT
        )[0]
    if "score" in sample:
        changed["score"] = images.resize_image(
            sample["score"], list(size), interpolation=InterpolationMode.BILINEAR, antialias=True
        )
    return changed


def _crop(
    maps: Num[Tensor, "n H W"], top: int, left: int, size: int, padding: Sequence[float]
) -> Num[Tensor, "n h w"]:
    """A square from (top, left) on, which may lie outside; what is outside gets the padding."""
    out = maps.new_empty(len(maps), size, size)
    out[:] = maps.new_tensor(padding)[:, None, None]
    height, width = maps.shape[-2:]
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + size, height), min(left + size, width)
    out[:, y0 - top : y1 - top, x0 - left : x1 - left] = maps[:, y0:y1, x0:x1]
    return out
