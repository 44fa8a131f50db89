"""The segmentation network, trained on masks, whoever made them.

Letters: b images, k = c + 1 labels with background first, H W an image.
"""

from collections.abc import Callable, Sequence
from typing import Any, final

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.optim import Optimizer
from torchvision.transforms.v2 import functional as images

from wsss_lightning.data.batch import Batch
from wsss_lightning.evaluation.metrics import Confusion, miou
from wsss_lightning.methods.base import configure_training
from wsss_lightning.ops.masks import IGNORE


@final
class Segmenter(pl.LightningModule):
    """loss = cross-entropy, mean over the pixels that are not ignored (Chen et al. 2015).

    Where the network has several outputs in training, losses of all are added; each is compared
    with the mask at its own size.

    Args:
        net: builds the network from `num_classes`; it has an `encoder`, all else counts as head. A
            network with several outputs in training lists them in `training_logits`.
        num_classes: without background.
        optimizer: builds the optimiser from parameter groups; a partial that knows its `lr` and
            `weight_decay`.
        head_lr_multiplier: learning rate of the decoder in units of the encoder's.
        poly_power: exponent of the polynomial decay of the learning rate.
        bias_lr_multiplier: learning rate of biases in units of that of weights; 2 is PSA's.
        decay_biases: whether weight decay applies to biases.
    """

    net: Any

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
        super().__init__()
        self.net = net(num_classes=num_classes)
        self.optimizer, self.head_lr_multiplier, self.poly_power = (
            optimizer,
            head_lr_multiplier,
            poly_power,
        )
        self.bias_lr_multiplier, self.decay_biases = bias_lr_multiplier, decay_biases
        self.scales: Sequence[float] = (1.0,)
        self.flip = False
        self.long_side: int | None = None
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

    def marginal(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k H W"]:
        """Probability of every label: softmax of the logits' mean over scales and mirrors.

        Where `long_side` is given, scale 1 brings the longer side to it.
        """
        size = (image.shape[-2], image.shape[-1])
        base = 1.0 if self.long_side is None else self.long_side / max(size)
        total: Any = 0
        for scale in (base * scale for scale in self.scales):
            sides = [max(32, round(side * scale)) for side in size]
            view = image if scale == 1 else images.resize_image(image, sides).clamp(0, 1)
            logits = self(view)
            if self.flip:
                logits = (logits + self(view.flip(-1)).flip(-1)) / 2
            if scale != 1:  # with half-pixel centres, as the view was made
                logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
            total = total + logits
        return (total / len(self.scales)).softmax(1)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        marginal = self.marginal(batch["image"])
        self.confusion.update(marginal.argmax(1), batch["mask"])
        return {"marginal": marginal}

    def on_validation_epoch_end(self) -> None:
        self.log("val/miou", torch.tensor(miou(self.confusion.compute())).float(), prog_bar=True)
        self.confusion.reset()

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return {"name": batch["name"], "marginal": self.marginal(batch["image"])}

    def configure_optimizers(self) -> Any:
        return configure_training(self)


def cross_entropy(
    logits: Float[Tensor, "b k h w"], mask: Int64[Tensor, "b H W"]
) -> Float[Tensor, ""]:
    """Mean over the cells of a map that are not ignored; 0 where all are.

    The mask is brought to the map's size by its nearest pixels, with half-pixel centres.

    Source: `resize_labels` in `main.py` of deeplab-pytorch, which resizes with Pillow.
    """
    size = logits.shape[-2:]
    if mask.shape[-2:] != size:  # single precision holds labels up to 255 exactly
        mask = F.interpolate(mask[:, None].float(), size, mode="nearest-exact")[:, 0].long()
    # a crop may hold no labelled pixel at all; the mean over none would be NaN
    count = (mask != IGNORE).sum().clamp(min=1)
    return F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="sum") / count
