"""What flows from the data to the methods.

Letters: b images, c classes, n boxes, H W an image.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor


class Sample(TypedDict, total=False):
    """One image.

    image: float32 (3 H W), RGB in [0, 1].
    tags: float32 (c), multi-hot.
    name: file name without suffix.
    mask: int64 (H W), 0 background, 1..c, 255 ignored; where masks are asked for.
    boxes: float32 (n 5): class 1..c, x0, y0, x1, y1 in pixels, ends exclusive; likewise.
    """

    image: Tensor
    tags: Tensor
    name: str
    mask: Tensor
    boxes: Tensor


class Batch(TypedDict, total=False):
    """Samples of one size.

    image: float32 (b 3 H W); tags: float32 (b c); mask: int64 (b H W); name, boxes: lists of b.
    """

    image: Tensor
    tags: Tensor
    name: list[str]
    mask: Tensor
    boxes: list[Tensor]


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack what is a map or a vector; keep names and boxes, whose number varies, as lists."""
    batch: dict[str, Any] = {}
    for key in samples[0]:
        values = [sample[key] for sample in samples]  # type: ignore[literal-required]
        batch[key] = values if key in ("name", "boxes") else torch.stack(values)
    return Batch(**batch)  # type: ignore[typeddict-item]
