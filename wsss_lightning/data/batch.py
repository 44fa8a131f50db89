"""Samples and batches of the data loaders.

Letters: b images, c classes, d sub-categories a class, n a count of boxes or maps, H W an image.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor

LISTS = ("name", "boxes", "score")  # entries of varying length, which cannot be stacked


class Sample(TypedDict, total=False):
    """One image and its annotations, as `VOCDataset` reads and `TrainTransform` changes them.

    image: (3 H W) float32, RGB in [0, 1].
    tags: (c) float32, multi-hot.
    name: path below the folder of images, without suffix.
    mask: (H W) int64, 0 background, 1 to c classes, 255 ignored; if requested.
    boxes: (n 5) float32, label in 1 to c, then x0, y0, x1, y1 in pixels, ends exclusive; if
        requested.
    score: (n H W) float32, score maps in [0, 1]; if requested.
    sub_tags: (c * d) float32, multi-hot sub-categories; if requested.
    """

    image: Tensor
    tags: Tensor
    name: str
    mask: Tensor
    boxes: Tensor
    score: Tensor
    sub_tags: Tensor


class Batch(TypedDict, total=False):
    """Samples of one size.

    image: (b 3 H W) float32, RGB in [0, 1].
    tags: (b c) float32, multi-hot.
    name: list of b names.
    mask: (b H W) int64, 255 ignored.
    boxes: list of b tensors (n 5).
    score: list of b tensors (n H W).
    sub_tags: (b c * d) float32, multi-hot.
    """

    image: Tensor
    tags: Tensor
    name: list[str]
    mask: Tensor
    boxes: list[Tensor]
    score: list[Tensor]
    sub_tags: Tensor


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack images, masks and tags; collect names, boxes and score maps in lists.

    Raises:
        ValueError: the images differ in size.
    """
    sizes = {tuple(sample["image"].shape[-2:]) for sample in samples}
    if len(sizes) > 1:
        raise ValueError(
            f"a batch holds images of several sizes (H, W): {sorted(sizes)}; crop them to one, or "
            "batch them by SameSizeBatchSampler."
        )
    batch: dict[str, Any] = {}
    for key in samples[0]:
        values = [sample[key] for sample in samples]  # type: ignore[literal-required]
        batch[key] = values if key in LISTS else torch.stack(values)
    return Batch(**batch)  # type: ignore[typeddict-item]
