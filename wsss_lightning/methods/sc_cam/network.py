"""A classification network with a second head, for sub-categories.

Letters: b images, c classes, k sub-categories a class, d channels, h w a map, H W an image.
"""

from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.errors import InputError
from wsss_lightning.methods.cam.network import class_head
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.normalisation import Normalise
from wsss_lightning.nets.weights import load_network


@final
class SubCamNet(nn.Module):
    """cam = head(features), sub_cam = sub_head(features): 1x1 convolutions without bias.

    Args:
        backbone: where the encoder comes from.
        dropout: of whole channels before both heads.
        head_init: of both heads, as of `class_head`.
        sub_categories: k.
        weights: local file of a whole network: an official SC-CAM .pth, or this network's state.
        num_classes: without background.

    Source: Chang et al. 2020 (SC-CAM), sec. 3.2; `network/resnet38_cls.py` of the official code.
    """

    encoder: Any

    def __init__(
        self,
        backbone: Backbone,
        dropout: float,
        head_init: str,
        sub_categories: int,
        weights: str | Path | None,
        num_classes: int,
    ) -> None:
        super().__init__()
        if sub_categories < 1:
            raise InputError(
                f"method.net.sub_categories is {sub_categories}; set 1 or more (the paper's is 10)."
            )
        self.backbone, self.sub_categories = backbone, sub_categories
        self.normalise = Normalise(backbone.statistics)
        self.encoder = backbone.build()
        self.dropout = nn.Dropout2d(dropout)
        depth = self.encoder.out_channels[-1]
        self.head = class_head(depth, num_classes, head_init)
        self.sub_head = class_head(depth, num_classes * sub_categories, head_init)
        if weights:
            load_network(self, Path(weights))
        self.to(memory_format=torch.channels_last)
        self.train()  # Lightning trains a network in the mode in which it finds it

    def train(self, mode: bool = True) -> "SubCamNet":
        super().train(mode)
        self.backbone.keep(self.encoder)
        return self

    def features(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d h w"]:
        """The deepest map of the backbone."""
        return self.encoder(self.normalise(image))[-1]

    def cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        """Class activation of every class, unbounded."""
        return self.head(self.dropout(self.features(image)))

    def sub_cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b ck h w"]:
        """Activation of every sub-category, those of the first class first; unbounded."""
        return self.sub_head(self.dropout(self.features(image)))

    def forward(
        self, image: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b ck"]]:
        """Logit of every class, and of every sub-category."""
        pooled = self.dropout(self.features(image)).mean((-2, -1), keepdim=True)
        return self.head(pooled).flatten(1), self.sub_head(pooled).flatten(1)
