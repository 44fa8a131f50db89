"""A classification network whose maps are refined by how alike its pixels are.

Letters: b images, k = c + 1 with background first, d channels, h w a map, H W an image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.methods.seam.correlation import pixel_correlation, suppress_non_max_classes
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.feature_tap import FeatureTap
from wsss_lightning.nets.normalisation import Normalise
from wsss_lightning.nets.weights import load_network
from wsss_lightning.ops.resize import resize_to


@final
class SeamNet(nn.Module):
    """cam = head(features); refined = PCM of cam over features of earlier layers and the image.

    The PCM learns from neither the backbone nor the cam, and they do not learn from it: its inputs
    carry no gradient.

    Args:
        backbone: where the encoder comes from.
        dropout: of whole channels before the head.
        feature_layers: whose maps say how alike pixels are, as of `FeatureTap`.
        feature_channels: what each tap is squeezed to by a 1x1 convolution.
        embedding: channels of what is compared.
        block_mib: MiB that a block of the affinity between all pixels may take.
        weights: local file of a whole network: an official SEAM .pth, or this network's own state.
        num_classes: without background, which has a row of its own that no loss reaches.

    Source: Wang et al. 2020 (SEAM), sec. 3.3; `network/resnet38_SEAM.py` of the official code.
    """

    encoder: Any

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
        super().__init__()
        self.backbone, self.block_mib = backbone, block_mib
        self.normalise = Normalise(backbone.statistics)
        self.encoder = backbone.build()
        self._taps = FeatureTap(self.encoder, feature_layers)
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(self.encoder.out_channels[-1], num_classes + 1, 1, bias=False)
        self.squeeze = self._taps.squeezed(feature_channels)
        self.embed = nn.Conv2d(3 + sum(feature_channels), embedding, 1, bias=False)
        nn.init.xavier_uniform_(self.head.weight)
        for layer in self.squeeze:
            nn.init.kaiming_normal_(layer.weight)  # type: ignore[arg-type]
        nn.init.xavier_uniform_(self.embed.weight, gain=4)
        if weights:
            load_network(self, Path(weights))
        self.to(memory_format=torch.channels_last)
        self.train()  # Lightning trains a network in the mode in which it finds it

    def train(self, mode: bool = True) -> "SeamNet":
        super().train(mode)
        self.backbone.keep(self.encoder)
        return self

    def features(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d h w"]:
        """The deepest map of the backbone."""
        deepest, _ = self._taps(self.normalise(image))
        return deepest

    def cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k h w"]:
        """Class activation of background and every class, unbounded."""
        return self.head(self.dropout(self.features(image)))

    def forward(
        self, image: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b k h w"], Float[Tensor, "b k h w"]]:
        """cam, unbounded, and refined, whose labels add up to 1 at each pixel."""
        normalised = self.normalise(image)
        deepest, tapped = self._taps(normalised)
        cam = self.head(self.dropout(deepest))
        size = (cam.shape[-2], cam.shape[-1])
        squeezed = [
            layer(maps.detach()).relu_() for layer, maps in zip(self.squeeze, tapped, strict=True)
        ]
        seen = [resize_to(maps, size) for maps in (normalised, *squeezed)]
        features = self.embed(torch.cat(seen, dim=1))
        return cam, pixel_correlation(suppress_non_max_classes(cam), features, self.block_mib)
