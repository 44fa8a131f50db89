"""Base classes of the networks of methods: an encoder, and a classifier with a CAM on top of it.

Letters: b images, n outputs of the head, d channels, h w a map, H W an image.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.normalisation import Normalise
from wsss_lightning.nets.weights import load_network


class EncoderNetwork(nn.Module):
    """A network on the encoder of a backbone. The constructor of a subclass ends with `finish`.

    Args:
        backbone: builds the encoder.
    """

    encoder: Any

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.normalise = Normalise(backbone.statistics)
        self.encoder = backbone.build()

    def finish(self, weights: str | Path | None) -> None:
        """Load the weights of the whole network, once all layers exist.

        Args:
            weights: local file of an official checkpoint or of this network's state dict; None
                keeps the initial weights.

        Raises:
            InputError: the file cannot be read or does not fit.
        """
        if weights:
            load_network(self, Path(weights))
        self.to(memory_format=torch.channels_last)
        self.train()  # Lightning fits a network in its present mode; this freezes batch norms

    def train(self, mode: bool = True) -> "EncoderNetwork":
        super().train(mode)
        self.backbone.keep(self.encoder)
        return self


class CamNetwork(EncoderNetwork):
    """A classifier with a linear head, whose output at every cell is the CAM.

    Args:
        backbone: builds the encoder.
        dropout: probability of dropping a whole channel before the head, in [0, 1).
    """

    head: nn.Conv2d

    def __init__(self, backbone: Backbone, dropout: float) -> None:
        super().__init__(backbone)
        self.dropout = nn.Dropout2d(dropout)

    def features(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d h w"]:
        """The deepest map of the backbone."""
        return self.encoder(self.normalise(image))[-1]

    def cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b n h w"]:
        """CAM of every output of the head, unbounded."""
        return self.head(self.dropout(self.features(image)))
