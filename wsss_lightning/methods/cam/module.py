"""The multi-label classifier: the first step of the classic pipeline.

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
    """Which classes an image shows; its map is the CAM (Zhou et al. 2016).

    loss = multilabel soft margin over classes
    """

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c"]:
        return self.net(image)

    def cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        return self.net.cam(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = tag_loss(self(batch["image"]), batch["tags"])
        told = {"train/classification": loss, "train/loss": loss}
        self.log_dict(told, prog_bar=True, batch_size=len(batch["name"]))
        return loss
