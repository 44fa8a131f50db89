"""What training sees of an image: image, mask and maps change together.

Letters: h w a crop, H W an image.
"""

from collections.abc import Sequence
from typing import final

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as images

from wsss_lightning.data.batch import Sample
from wsss_lightning.functional.masks import IGNORE

# the mean of ImageNet: padding is zero once the network has normalised it
PADDING = (0.485, 0.456, 0.406)


@final
class TrainTransform:
    """Resize, colour jitter, mirror, crop with padding; every draw comes from a given generator.

    Args:
        crop_size: side of the square crop, pixels.
        long_side: range of the longer side, pixels, drawn uniformly; None: see `scale`.
        scale: range of the factor of both sides, drawn uniformly; None: as it is.
        flip: mirror every second image.
        brightness, contrast, saturation: factors are drawn from 1 +- these.
        hue: shift is drawn from +- this, in turns of the colour circle.

    Source: `voc12.data` and `tool.imutils` of the official PSA code.
    """

    def __init__(
        self,
        crop_size: int,
        long_side: Sequence[int] | None,
        scale: Sequence[float] | None,
        flip: bool,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float,
    ) -> None:
        self.crop_size, self.long_side, self.scale, self.flip = crop_size, long_side, scale, flip
        self.jitter = {
            images.adjust_brightness: brightness,
            images.adjust_contrast: contrast,
            images.adjust_saturation: saturation,
        }
        self.hue = hue

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image, mask = sample["image"], sample.get("mask")
        size = self._size(image.shape[-2], image.shape[-1], rng)
        if size != tuple(image.shape[-2:]):
            image = images.resize_image(
                image, list(size), interpolation=InterpolationMode.BICUBIC, antialias=True
            ).clamp(0, 1)
            if mask is not None:
                mask = images.resize_mask(mask[None], list(size))[0]
        image = self._recolour(image, rng)
        if self.flip and rng.random() < 0.5:
            image = image.flip(-1)
            mask = None if mask is None else mask.flip(-1)
        top, left = (self._place(side, rng) for side in size)
        changed = Sample(
            image=_crop(image, top, left, self.crop_size, PADDING),
            tags=sample["tags"],
            name=sample["name"],
        )
        if mask is not None:
            changed["mask"] = _crop(mask[None], top, left, self.crop_size, (IGNORE,))[0]
        return changed

    def _size(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        factor = 1.0
        if self.long_side is not None:
            low, high = self.long_side
            factor = int(rng.integers(low, high + 1)) / max(height, width)
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
        return image

    def _place(self, side: int, rng: np.random.Generator) -> int:
        """Where the crop begins: anywhere inside a larger side, anywhere around a smaller one."""
        spare = side - self.crop_size
        return int(rng.integers(min(spare, 0), max(spare, 0) + 1))


def _crop(
    maps: Tensor, top: int, left: int, size: int, padding: Sequence[float]
) -> Tensor:
    """A square from (top, left) on, which may lie outside; what is outside gets the padding."""
    out = maps.new_empty(len(maps), size, size)
    out[:] = maps.new_tensor(padding)[:, None, None]
    height, width = maps.shape[-2:]
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + size, height), min(left + size, width)
    out[:, y0 - top : y1 - top, x0 - left : x1 - left] = maps[:, y0:y1, x0:x1]
    return out
