"""A classifier whose CAMs are refined by the similarity of pixels.

Letters: b images, k = c + 1 with background first, d channels, h w a map, H W an image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.methods.network import CamNetwork
from wsss_lightning.methods.seam.correlation import pixel_correlation, suppress_non_max_classes
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.feature_tap import FeatureTap
from wsss_lightning.ops.resize import resize_to


@final
class SeamNet(CamNetwork):
    """cam = head(features); refined = PCM of cam over features of earlier layers and the image.

    PCM is the pixel correlation module. Its inputs carry no gradient: it trains neither the
    backbone nor the head, and the losses of the CAM do not train it.

    Args:
        backbone: builds the encoder.
        dropout: probability of dropping a whole channel before the head, in [0, 1).
        feature_layers: layers whose maps measure the similarity of pixels, as in `FeatureTap`.
        feature_channels: number of channels that a 1x1 convolution reduces each of them to.
        embedding: number of channels of the compared features.
        block_mib: MiB of one block of the affinity between all pixels, as in `pixel_correlation`.
        weights: local file of a whole network: an official SEAM .pth, or this network's state
            dict.
        num_classes: number of classes without background; the head has an additional row for the
            background, which no loss reaches.

    Raises:
        ValueError: `feature_layers` and `feature_channels` do not fit the encoder.

    Source: Wang et al. 2020 (SEAM), sec. 3.3; `network/resnet38_SEAM.py` of the official code.
    """

    def __init__(
        self,
        backbone: Backbone,
        dropout: float,
        feature_layers: Sequence[int | str],
        feature_channels: Sequence[int],
        embedding: int,
        block_mib: float,
        weights: str | Path | None,
        num_classes: int,
    ) -> None:
        super().__init__(backbone, dropout)
        self.block_mib = block_mib
        self._taps = FeatureTap(self.encoder, feature_layers)
        self.head = nn.Conv2d(self.encoder.out_channels[-1], num_classes + 1, 1, bias=False)
        self.squeeze = self._taps.squeezed(feature_channels)
        self.embed = nn.Conv2d(3 + sum(feature_channels), embedding, 1, bias=False)
        nn.init.xavier_uniform_(self.head.weight)
        for layer in self.squeeze:
            nn.init.kaiming_normal_(layer.weight)  # type: ignore[arg-type]
        nn.init.xavier_uniform_(self.embed.weight, gain=4)
        self.finish(weights)

    def features(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d h w"]:
        """The deepest map of the backbone."""
        deepest, _ = self._taps(self.normalise(image))
        return deepest

    def forward(
        self, image: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b k h w"], Float[Tensor, "b k h w"]]:
        """The CAM, unbounded, and the refined map, whose labels sum to 1 at each pixel."""
        normalised = self.normalise(image)
        deepest, tapped = self._taps(normalised)
        cam = self.head(self.dropout(deepest))
        size = (cam.shape[-2], cam.shape[-1])
        squeezed = [
            layer(maps.detach()).relu_() for layer, maps in zip(self.squeeze, tapped, strict=True)
        ]
        resized = [resize_to(maps, size) for maps in (normalised, *squeezed)]
        features = self.embed(torch.cat(resized, dim=1))
        return cam, pixel_correlation(suppress_non_max_classes(cam), features, self.block_mib)
