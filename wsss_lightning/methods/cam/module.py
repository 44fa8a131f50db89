"""The multi-label classifier of the classic pipeline.

Letters: b images, c classes, h w a map, H W an image.
"""

from typing import final

from jaxtyping import Float
from torch import Tensor

from wsss_lightning.data.batch import Batch
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.ops.losses import tag_loss


@final
class Classifier(TagMethod):
    """loss = multi-label soft margin over classes; seeds are the classifier's CAMs.

    Source: Zhou et al. 2016 (CAM).
    """

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c"]:
        return self.net(image)

    def cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        return self.net.cam(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = tag_loss(self(batch["image"]), batch["tags"])
        losses = {"train/classification": loss, "train/loss": loss}
        self.log_dict(losses, prog_bar=True, batch_size=len(batch["name"]))
        return loss
