"""SC-CAM: the classifier also tells sub-categories apart, for which it must look at more.

Letters: b images, c classes, k sub-categories a class, h w a map, H W an image.
"""

from collections.abc import Callable
from typing import final

from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from wsss_lightning.data.batch import Batch
from wsss_lightning.errors import InputError
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.ops.losses import tag_loss


@final
class SCCAM(TagMethod):
    """One round of it: classes and clusters of each class are learnt side by side.

    loss = classification + sub_weight * sub-categories   (eq. 4)

    What is scored is the class's own map.

    Args:
        net, num_classes, optimizer, head_lr_multiplier, bias_lr_multiplier, decay_biases, poly_power: as of
            TagMethod.
        sub_weight: of the sub-categories' loss; lambda of the paper.

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
            raise InputError(
                f"method.sub_weight is {sub_weight}; set 0 or more (the paper's is 5)."
            )
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
        told = {"train/classification": classification, "train/sub": sub, "train/loss": total}
        self.log_dict(told, prog_bar=True, batch_size=len(logits))
        return total
