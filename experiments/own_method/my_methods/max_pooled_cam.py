"""A classifier whose logits are the maxima of its CAM.

Letters: b images, c classes, h w a map, H W an image.
"""

from typing import final

from jaxtyping import Float
from torch import Tensor

from wsss_lightning.data.batch import Batch
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.ops.losses import tag_loss


@final
class MaxPooledCam(TagMethod):
    """loss = multilabel soft margin of the maximum of each class's CAM (Oquab et al. 2015)."""

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c"]:
        return self.cam(image).amax((-2, -1))

    def cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        return self.net.cam(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = tag_loss(self(batch["image"]), batch["tags"])
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["name"]))
        return loss
