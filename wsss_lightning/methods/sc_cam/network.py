"""A classifier with a second head for sub-categories.

Letters: b images, c classes, k sub-categories of a class, d channels, h w a map, H W an image.
"""

from pathlib import Path
from typing import final

from jaxtyping import Float
from torch import Tensor

from wsss_lightning.methods.cam.network import class_head
from wsss_lightning.methods.network import CamNetwork
from wsss_lightning.nets.backbones import Backbone


@final
class SubCamNet(CamNetwork):
    """cam = head(features), sub_cam = sub_head(features); both heads are 1x1 convolutions.

    Args:
        backbone: builds the encoder.
        dropout: probability of dropping a whole channel before both heads, in [0, 1).
        head_init: initialisation of both heads, as in `class_head`.
        sub_categories: number of sub-categories of a class, 1 or more.
        weights: local file of a whole network: an official SC-CAM .pth, or this network's state
            dict.
        num_classes: number of classes without background.

    Raises:
        ValueError: `sub_categories` or `head_init` is out of range.

    Source: Chang et al. 2020 (SC-CAM), sec. 3.2; `network/resnet38_cls.py` of the official code.
    """

    def __init__(
        self,
        backbone: Backbone,
        dropout: float,
        head_init: str,
        sub_categories: int,
        weights: str | Path | None,
        num_classes: int,
    ) -> None:
        if sub_categories < 1:
            raise ValueError(
                f"sub_categories is {sub_categories}, but must be >= 1 (10 in the paper)"
            )
        super().__init__(backbone, dropout)
        self.sub_categories = sub_categories
        depth = self.encoder.out_channels[-1]
        self.head = class_head(depth, num_classes, head_init)
        self.sub_head = class_head(depth, num_classes * sub_categories, head_init)
        self.finish(weights)

    def sub_cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b ck h w"]:
        """CAM of every sub-category, those of the first class first; unbounded."""
        return self.sub_head(self.dropout(self.features(image)))

    def forward(
        self, image: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b ck"]]:
        """Logits of all classes, and of all sub-categories."""
        pooled = self.dropout(self.features(image)).mean((-2, -1), keepdim=True)
        return self.head(pooled).flatten(1), self.sub_head(pooled).flatten(1)
