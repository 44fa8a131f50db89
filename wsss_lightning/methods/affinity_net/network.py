"""The network whose features tell which pixels belong together.

Letters: b images, d channels, h w a map, H W an image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.feature_tap import FeatureTap
from wsss_lightning.nets.normalisation import Normalise
from wsss_lightning.nets.weights import load_network
from wsss_lightning.ops.resize import resize_to


@final
class AffinityNet(nn.Module):
    """features = elu(embed([elu(squeeze(tap)) for each tap])), at the size of the first tap.

    Taps and backbone learn with it, unlike those of SEAM's correlation module.

    Args:
        backbone: where the encoder comes from.
        feature_layers: as of `FeatureTap`; the first gives the size, so it is the finest.
        feature_channels: what each tap is squeezed to by a 1x1 convolution.
        weights: local file of a whole network: an official AffinityNet .pth on ResNet38, or this
            network's own state.

    Source: Ahn & Kwak 2018 (AffinityNet), sec. 3.2; `network/resnet38_aff.py` of the official code.
    """

    encoder: Any

    def __init__(
        self,
        backbone: Backbone,
        feature_layers: Sequence[int | str],
        feature_channels: Sequence[int],
        weights: str | Path | None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.normalise = Normalise(backbone.statistics)
        self.encoder = backbone.build()
        self._taps = FeatureTap(self.encoder, feature_layers)
        self.stride = self._taps.strides[0]
        self.squeeze = self._taps.squeezed(feature_channels)
        self.embed = nn.Conv2d(sum(feature_channels), sum(feature_channels), 1, bias=False)
        for layer in self.squeeze:
            nn.init.kaiming_normal_(layer.weight)  # type: ignore[arg-type]
        nn.init.xavier_uniform_(self.embed.weight, gain=4)
        if weights:
            load_network(self, Path(weights))
        self.to(memory_format=torch.channels_last)
        self.train()  # Lightning trains a network in the mode in which it finds it

    def train(self, mode: bool = True) -> "AffinityNet":
        super().train(mode)
        self.backbone.keep(self.encoder)
        return self

    def features(self, normalised: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d h w"]:
        """What affinities are made of, from an image that is normalised already."""
        _, tapped = self._taps(normalised)
        size = (tapped[0].shape[-2], tapped[0].shape[-1])
        squeezed = [
            resize_to(F.elu(layer(maps)), size)
            for layer, maps in zip(self.squeeze, tapped, strict=True)
        ]
        return F.elu(self.embed(torch.cat(squeezed, dim=1)))

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d h w"]:
        """Features of an image, padded at its right and bottom to whole cells of `stride` pixels.

        The padding is zero behind normalisation, as in `infer_aff.py` of the official code.
        """
        height, width = image.shape[-2:]
        padding = (0, -width % self.stride, 0, -height % self.stride)
        return self.features(F.pad(self.normalise(image), padding))
