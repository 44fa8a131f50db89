"""The classification network whose maps can be read out exactly.

Letters: b images, c classes, d channels, h w a map, H W an image.
"""

from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.errors import InputError
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.normalisation import Normalise
from wsss_lightning.nets.weights import load_network

HEAD_INITS = ("default", "xavier")


def class_head(channels: int, outputs: int, init: str) -> nn.Conv2d:
    """A 1x1 convolution without bias, from features to one map for each output.

    Args:
        init: `default`, PyTorch's for convolutions, as in IRN; or `xavier`, uniform, as in PSA and
            SC-CAM, whose range is more than twice as wide for thousands of channels.

    Raises:
        InputError: `init` is neither.
    """
    if init not in HEAD_INITS:
        raise InputError(f"method.net.head_init is {init}; set it to {' or to '.join(HEAD_INITS)}.")
    head = nn.Conv2d(channels, outputs, 1, bias=False)
    if init == "xavier":
        nn.init.xavier_uniform_(head.weight)
    return head


@final
class CamNet(nn.Module):
    """logits = mean of cam over h w, cam = head(features): a 1x1 convolution without bias.

    Pooling then weighing equals weighing then pooling, so the map adds up to the score it explains.

    Args:
        backbone: where the encoder comes from.
        dropout: of whole channels before the head.
        head_init: as of `class_head`.
        weights: local file of a whole network: an official .pth of PSA's classifier or of IRN's, or
            this network's own state.
        num_classes: without background.

    Source: Zhou et al. 2016, eq. 1-2; without bias as in PSA and IRN.
    """

    encoder: Any

    def __init__(
        self,
        backbone: Backbone,
        dropout: float,
        head_init: str,
        weights: str | Path | None,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.normalise = Normalise(backbone.statistics)
        self.encoder = backbone.build()
        self.dropout = nn.Dropout2d(dropout)
        self.head = class_head(self.encoder.out_channels[-1], num_classes, head_init)
        if weights:
            load_network(self, Path(weights))
        self.to(memory_format=torch.channels_last)
        self.train()  # Lightning trains a network in the mode in which it finds it

    def train(self, mode: bool = True) -> "CamNet":
        super().train(mode)
        self.backbone.keep(self.encoder)
        return self

    def features(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d h w"]:
        """The deepest map of the backbone."""
        return self.encoder(self.normalise(image))[-1]

    def cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        """Class activation of every class, unbounded."""
        return self.head(self.dropout(self.features(image)))

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c"]:
        """Logit of every class."""
        return self.cam(image).mean((-2, -1))
