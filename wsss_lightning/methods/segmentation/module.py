"""Training of a segmentation network on true or pseudo masks.

Letters: b images, k = c + 1 labels with background first, H W an image.
"""

from collections.abc import Callable
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.optim import Optimizer

from wsss_lightning.data.batch import Batch
from wsss_lightning.evaluation.metrics import Confusion, miou
from wsss_lightning.methods.base import NetworkModule
from wsss_lightning.methods.segmentation.predictor import TestSettings, marginals
from wsss_lightning.ops.masks import IGNORE


@final
class Segmenter(NetworkModule):
    """loss = cross-entropy, averaged over the pixels that are not ignored (Chen et al. 2015).

    If the network has several outputs in training, their losses are added; each output is compared
    with the mask at its own size.

    Args:
        net: builds the network from `num_classes`. The network has an `encoder`; all other
            parameters count as head. A network with several outputs in training returns them from
            `training_logits`.
        num_classes: number of classes without background.
        optimizer: builds the optimiser from parameter groups: a partial with `lr` and
            `weight_decay`.
        head_lr_multiplier: learning rate of the head divided by that of the encoder.
        poly_power: exponent of the polynomial decay of the learning rate.
        bias_lr_multiplier: learning rate of biases divided by that of weights; 2 in PSA.
        decay_biases: whether weight decay applies to biases.
    """

    def __init__(
        self,
        net: Callable[..., nn.Module],
        num_classes: int,
        optimizer: Callable[..., Optimizer],
        head_lr_multiplier: float,
        poly_power: float,
        bias_lr_multiplier: float = 2.0,
        decay_biases: bool = False,
    ) -> None:
        super().__init__(
            net(num_classes=num_classes),
            optimizer,
            head_lr_multiplier,
            poly_power,
            bias_lr_multiplier,
            decay_biases,
        )
        self.validation = TestSettings()
        self.confusion = Confusion(num_classes + 1)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k H W"]:
        return self.net(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        mask = batch["mask"]
        if hasattr(self.net, "training_logits"):
            outputs = self.net.training_logits(batch["image"])
        else:
            outputs = [self(batch["image"])]
        loss = torch.stack([cross_entropy(logits, mask) for logits in outputs]).sum()
        losses = {"train/cross_entropy": loss, "train/loss": loss}
        self.log_dict(losses, prog_bar=True, batch_size=len(mask))
        return loss

    def validate_at(self, long_side: int | None) -> None:
        """Validate on images whose longer side is `long_side` pixels; None keeps their size."""
        self.validation = TestSettings(long_side=long_side)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        marginal = marginals(self, batch["image"], self.validation)
        self.confusion.update(marginal.argmax(1), batch["mask"])
        return {"marginal": marginal}

    def on_validation_epoch_end(self) -> None:
        self.log("val/miou", torch.tensor(miou(self.confusion.compute())).float(), prog_bar=True)
        self.confusion.reset()


def cross_entropy(
    logits: Float[Tensor, "b k h w"], mask: Int64[Tensor, "b H W"]
) -> Float[Tensor, ""]:
    """Cross-entropy averaged over the cells that are not ignored; 0 if all are.

    The mask is resized to the logits by nearest neighbour with half-pixel centres.

    Source: `resize_labels` in `main.py` of deeplab-pytorch, which resizes with Pillow.
    """
    size = logits.shape[-2:]
    if mask.shape[-2:] != size:  # single precision holds labels up to 255 exactly
        mask = F.interpolate(mask[:, None].float(), size, mode="nearest-exact")[:, 0].long()
    # a crop may hold no labelled pixel at all; the mean over none would be NaN
    count = (mask != IGNORE).sum().clamp(min=1)
    return F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="sum") / count
