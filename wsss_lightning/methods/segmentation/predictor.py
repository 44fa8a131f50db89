"""Prediction with a trained segmentation network at several scales.

Letters: b images, k = c + 1 labels with background first, H W an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import pytorch_lightning as pl
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as images

from wsss_lightning.data.batch import Batch


@dataclass(frozen=True)
class TestSettings:
    """Settings of a prediction; independent of how the network was trained.

    Args:
        scales: sizes of the image, in units of the base size; positive.
        flip: average with the prediction for the mirrored image.
        long_side: longer side of the image at scale 1, in pixels; None keeps the image's size.

    Raises:
        ValueError: a value is out of range.
    """

    __test__ = False  # not a test case of pytest

    scales: Sequence[float] = (1.0,)
    flip: bool = False
    long_side: int | None = None

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(
                f"scales is {list(self.scales)}, but at least one positive scale is needed, such "
                "as [1.0]"
            )
        if self.long_side is not None and self.long_side < 1:
            raise ValueError(
                f"long_side is {self.long_side}, but must be a positive number of pixels, or null "
                "to keep the size of images"
            )


def marginals(
    network: nn.Module, image: Float[Tensor, "b 3 H W"], settings: TestSettings
) -> Float[Tensor, "b k H W"]:
    """Probability of every label: softmax of the mean logits over scales and mirror images.

    Args:
        network: image (b 3 h w) to logits (b k h w).
        image: RGB in [0, 1].
        settings: scales and mirror images.
    """
    size = (image.shape[-2], image.shape[-1])
    base = 1.0 if settings.long_side is None else settings.long_side / max(size)
    total: Any = 0
    for scale in (base * scale for scale in settings.scales):
        sides = [max(32, round(side * scale)) for side in size]
        view = image if scale == 1 else images.resize_image(image, sides).clamp(0, 1)
        logits = network(view)
        if settings.flip:
            logits = (logits + network(view.flip(-1)).flip(-1)) / 2
        if scale != 1:  # with half-pixel centres, as the view was resized
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        total = total + logits
    return (total / len(settings.scales)).softmax(1)


@final
class SegmentationPredictor(pl.LightningModule):
    """Predicts `marginal` (b k H W), the probability of every label at each pixel.

    Args:
        network: a trained segmentation network or `Segmenter`.
        settings: scales and mirror images.
    """

    def __init__(self, network: nn.Module, settings: TestSettings) -> None:
        super().__init__()
        self.network, self.settings = network, settings

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return {
            "name": batch["name"],
            "marginal": marginals(self.network, batch["image"], self.settings),
        }
