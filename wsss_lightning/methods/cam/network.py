"""A classifier whose logits are the means of its CAMs.

Letters: b images, c classes, d channels, h w a map, H W an image.
"""

from pathlib import Path
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.methods.network import CamNetwork
from wsss_lightning.nets.backbones import Backbone

HEAD_INITS = ("default", "xavier")


def class_head(channels: int, outputs: int, init: str) -> nn.Conv2d:
    """A 1x1 convolution without bias, from features to one map for each output.

    Args:
        channels: number of channels of the features.
        outputs: number of classes or sub-categories.
        init: "default" for the initialisation of PyTorch's convolutions, as in IRN; "xavier" for
            Xavier's uniform one, as in PSA and SC-CAM. For thousands of channels its range is more
            than twice as wide.

    Raises:
        ValueError: `init` is neither.
    """
    if init not in HEAD_INITS:
        raise ValueError(f"head_init is {init}, but must be {' or '.join(HEAD_INITS)}")
    head = nn.Conv2d(channels, outputs, 1, bias=False)
    if init == "xavier":
        nn.init.xavier_uniform_(head.weight)
    return head


@final
class CamNet(CamNetwork):
    """cam = head(features), logits = mean of cam over h w; the head is a 1x1 convolution.

    A linear head without bias commutes with pooling, so the CAM sums exactly to the logit.

    Args:
        backbone: builds the encoder.
        dropout: probability of dropping a whole channel before the head, in [0, 1).
        head_init: initialisation of the head, as in `class_head`.
        weights: local file of a whole network: an official .pth of PSA's or IRN's classifier, or
            this network's state dict.
        num_classes: number of classes without background.

    Source: Zhou et al. 2016, eq. 1-2; without bias as in PSA and IRN.
    """

    def __init__(
        self,
        backbone: Backbone,
        dropout: float,
        head_init: str,
        weights: str | Path | None,
        num_classes: int,
    ) -> None:
        super().__init__(backbone, dropout)
        self.head = class_head(self.encoder.out_channels[-1], num_classes, head_init)
        self.finish(weights)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c"]:
        """Logit of every class."""
        return self.cam(image).mean((-2, -1))
