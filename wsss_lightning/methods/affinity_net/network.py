"""The network whose features give the affinities of pixels.

Letters: b images, d channels, h w a map, H W an image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.methods.network import EncoderNetwork
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.feature_tap import FeatureTap
from wsss_lightning.ops.resize import resize_to


@final
class AffinityNet(EncoderNetwork):
    """features = elu(embed([elu(squeeze(map)) for each feature layer])), at the first map's size.

    Gradients reach all layers, including the backbone, unlike in SEAM's pixel correlation module.

    Args:
        backbone: builds the encoder.
        feature_layers: layers whose maps are used, as in `FeatureTap`; the first one is the finest
            and sets the size.
        feature_channels: number of channels that a 1x1 convolution reduces each of them to.
        weights: local file of a whole network: an official AffinityNet .pth on ResNet38, or this
            network's state dict.

    Raises:
        ValueError: `feature_layers` and `feature_channels` do not fit the encoder.

    Source: Ahn & Kwak 2018 (AffinityNet), sec. 3.2; `network/resnet38_aff.py` of the official code.
    """

    def __init__(
        self,
        backbone: Backbone,
        feature_layers: Sequence[int | str],
        feature_channels: Sequence[int],
        weights: str | Path | None,
    ) -> None:
        super().__init__(backbone)
        self._taps = FeatureTap(self.encoder, feature_layers)
        self.stride = self._taps.strides[0]
        self.squeeze = self._taps.squeezed(feature_channels)
        self.embed = nn.Conv2d(sum(feature_channels), sum(feature_channels), 1, bias=False)
        for layer in self.squeeze:
            nn.init.kaiming_normal_(layer.weight)  # type: ignore[arg-type]
        nn.init.xavier_uniform_(self.embed.weight, gain=4)
        self.finish(weights)

    def features(self, normalised: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d h w"]:
        """Features whose distances are the affinities, from a normalised image."""
        _, tapped = self._taps(normalised)
        size = (tapped[0].shape[-2], tapped[0].shape[-1])
        squeezed = [
            resize_to(F.elu(layer(maps)), size)
            for layer, maps in zip(self.squeeze, tapped, strict=True)
        ]
        return F.elu(self.embed(torch.cat(squeezed, dim=1)))

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d h w"]:
        """Features of an image, padded at its right and bottom to whole cells of `stride` pixels.

        The padding is zero after normalisation, as in `infer_aff.py` of the official code.
        """
        height, width = image.shape[-2:]
        padding = (0, -width % self.stride, 0, -height % self.stride)
        return self.features(F.pad(self.normalise(image), padding))
