"""The network that finds boundaries between classes, learned only from pairs of pixels.

Letters: b images, d channels, h w a map, H W an image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.methods.network import EncoderNetwork
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.feature_tap import FeatureTap

COARSEST = 32  # stride of the deepest maps at most, in pixels


@final
class BoundaryNet(EncoderNetwork):
    """boundary logit = head([relu(up(norm(squeeze(map)))) for each feature layer]), at `stride`.

    This is the boundary branch of IRN. The other branch, the displacement field that separates
    instances, is left out: it has no effect on semantic labels.

    Args:
        backbone: builds the encoder.
        feature_layers: layers whose maps are used, as in `FeatureTap`; the official network uses
            those of ResNet50 after max-pooling and after each of its four stages.
        feature_channels: number of channels that a 1x1 convolution reduces each of them to.
        groups: number of groups of the group norm after that convolution.
        stride: stride of the boundary map, in pixels; at most that of the finest feature layer.
        least_size: smallest side in pixels; smaller images are padded. Group norm averages over all
            cells, so test images should have as many cells as training crops.
        frozen: whether the encoder is not trained.
        weights: local file of a whole network: an official IRN .pth, or this network's state dict.

    Raises:
        ValueError: `stride` exceeds that of a feature layer, `groups` does not divide
            `feature_channels`, or these and `feature_layers` do not fit the encoder.

    Source: Ahn et al. 2019 (IRN), sec. 4.1; `net/resnet50_irn.py` of the official code.
    """

    def __init__(
        self,
        backbone: Backbone,
        feature_layers: Sequence[int | str],
        feature_channels: Sequence[int],
        groups: int,
        stride: int,
        least_size: int,
        frozen: bool,
        weights: str | Path | None,
    ) -> None:
        super().__init__(backbone)
        self.stride, self.least_size, self.frozen = stride, least_size, frozen
        if frozen:
            self.encoder.requires_grad_(False)
        self._taps = FeatureTap(self.encoder, feature_layers)
        finest = min(self._taps.strides)
        if finest < stride:
            raise ValueError(
                f"stride is {stride}, but must be at most {finest}, the stride of the finest of "
                f"feature_layers {list(feature_layers)}; lower it, or leave that layer out"
            )
        if any(channels % groups for channels in feature_channels):
            raise ValueError(
                f"groups is {groups}, but must divide all of feature_channels "
                f"{list(feature_channels)} (4 for 32 channels is usual)"
            )
        self.squeeze = self._taps.squeezed(feature_channels)
        self.norm = nn.ModuleList(nn.GroupNorm(groups, channels) for channels in feature_channels)
        self.head = nn.Conv2d(sum(feature_channels), 1, 1)
        self.finish(weights)

    def train(self, mode: bool = True) -> "BoundaryNet":
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w"]:
        """Logit of a boundary at every cell whose first pixel lies on the image.

        The padding is zero after normalisation.
        """
        height, width = image.shape[-2:]
        sides = [max(-(-side // COARSEST) * COARSEST, self.least_size) for side in (height, width)]
        padded = F.pad(self.normalise(image), (0, sides[1] - width, 0, sides[0] - height))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            _, tapped = self._taps(padded)
        cells = [-(-side // self.stride) for side in sides]
        edges = torch.cat(self._edges(tapped, cells), dim=1)
        logit = self.head(edges)[:, 0]
        return logit[..., : -(-height // self.stride), : -(-width // self.stride)]

    def _edges(self, tapped: Sequence[Any], cells: Sequence[int]) -> list[Tensor]:
        """Evidence of edges in each feature layer, all of the same size (height, width)."""
        edges = []
        for squeeze, norm, maps, stride in zip(
            self.squeeze, self.norm, tapped, self._taps.strides, strict=True
        ):
            edge = norm(squeeze(maps))
            if stride > self.stride:
                edge = F.interpolate(edge, scale_factor=stride / self.stride, mode="bilinear")
            edges.append(edge.relu()[..., : cells[0], : cells[1]])
        return edges
