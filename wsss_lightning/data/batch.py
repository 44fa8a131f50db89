"""What flows from the data to the methods.

Letters: b images, c classes, k sub-categories a class, n a count of boxes or of maps, H W an image.
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
    score: float32 (n H W), maps in [0, 1] that go through the same crops; where asked for.
    sub_tags: float32 (ck), multi-hot sub-categories; likewise.
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

    image: float32 (b 3 H W); tags: float32 (b c); mask: int64 (b H W); sub_tags: float32 (b ck);
    name, boxes, score: lists of b.
    """

    image: Tensor
    tags: Tensor
    name: list[str]
    mask: Tensor
    boxes: list[Tensor]
    score: list[Tensor]
    sub_tags: Tensor


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack images, masks and vectors; keep names, boxes and scores, of varying number, as lists.

    Raises:
        ValueError: images differ in size.
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
        batch[key] = values if key in ("name", "boxes", "score") else torch.stack(values)
    return Batch(**batch)  # type: ignore[typeddict-item]
