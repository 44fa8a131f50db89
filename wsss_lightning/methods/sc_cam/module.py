"""SC-CAM: a classifier that also learns sub-categories, so that its CAMs cover more of an object.

Letters: b images, c classes, k sub-categories of a class, h w a map, H W an image.
"""

from collections.abc import Callable
from typing import final

from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from wsss_lightning.data.batch import Batch
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.ops.losses import tag_loss


@final
class SCCAM(TagMethod):
    """loss = classification + sub_weight * classification of sub-categories (eq. 4).

    This is one round of the method. Sub-categories are clusters of the images of each class, by the
    features of the previous round's classifier. Seeds are the CAMs of the classes.

    Args:
        net: builds a `SubCamNet`; arguments that are not listed here are those of `TagMethod`.
        sub_weight: weight of the sub-categories' loss, 0 or more; lambda of the paper.

    Raises:
        ValueError: `sub_weight` is negative.

    Source: Chang et al. 2020; `train_cls.py` of the official code.
    """

    needs_sub_tags = True

    def __init__(
        self,
        net: Callable[..., nn.Module],
        num_classes: int,
        optimizer: Callable[..., Optimizer],
        head_lr_multiplier: float,
        poly_power: float,
        sub_weight: float,
        bias_lr_multiplier: float = 2.0,
        decay_biases: bool = False,
    ) -> None:
        if sub_weight < 0:
            raise ValueError(f"sub_weight is {sub_weight}, but must be >= 0 (5 in the paper)")
        super().__init__(
            net,
            num_classes,
            optimizer,
            head_lr_multiplier,
            poly_power,
            bias_lr_multiplier,
            decay_biases,
        )
        self.sub_weight = sub_weight

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c"]:
        return self.net(image)[0]

    def cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        return self.net.cam(image)

    def sub_cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b ck h w"]:
        return self.net.sub_cam(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits, sub_logits = self.net(batch["image"])
        classification = tag_loss(logits, batch["tags"])
        sub = self.sub_weight * tag_loss(sub_logits, batch["sub_tags"])
        total = classification + sub
        losses = {"train/classification": classification, "train/sub": sub, "train/loss": total}
        self.log_dict(losses, prog_bar=True, batch_size=len(logits))
        return total
