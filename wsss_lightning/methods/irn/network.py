"""The network that finds boundaries between classes, from nothing but pairs of pixels.

Letters: b images, d channels, h w a map, H W an image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.errors import InputError
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.feature_tap import FeatureTap
from wsss_lightning.nets.normalisation import Normalise
from wsss_lightning.nets.weights import load_network


@final
class BoundaryNet(nn.Module):
    """boundary logit = head([relu(up(norm(squeeze(tap)))) for each tap]), at `stride`.

    The boundary branch of IRN. Its other branch, the displacement field that tells instances apart,
    is left out: it has no effect on semantic labels.

    Args:
        backbone: where the encoder comes from.
        feature_layers: as of `FeatureTap`; those of the official network are what ResNet50 has behind max-pooling
            and its four stages.
        feature_channels: what each tap is squeezed to by a 1x1 convolution.
        groups: of the group norm behind that.
        stride: pixels of the image a cell of the boundary map; feature_layers may not be finer.
        least_size: pixels that the sides of an image are padded to; the group norm counts all
            cells, so it sees as many as in training.
        frozen: the encoder does not learn.
        weights: local file of a whole network: an official IRN .pth, or this network's own state.

    Raises:
        InputError: a tap is finer than `stride`, or `groups` does not divide `feature_channels`.

    Source: Ahn et al. 2019 (IRN), sec. 4.1; `net/resnet50_irn.py` of the official code.
    """

    encoder: Any

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
        super().__init__()
        self.backbone, self.stride, self.least_size = backbone, stride, least_size
        self.frozen = frozen
        self.normalise = Normalise(backbone.statistics)
        self.encoder = backbone.build()
        if frozen:
            self.encoder.requires_grad_(False)
        self._taps = FeatureTap(self.encoder, feature_layers)
        finest = min(self._taps.strides)
        if finest < stride:
            raise InputError(
                f"refine.module.net.stride is {stride}, but a tap of {list(feature_layers)} has a cell every "
                f"{finest} pixels; leave that tap out, or set a stride of {finest}."
            )
        if any(channels % groups for channels in feature_channels):
            raise InputError(
                f"refine.module.net.groups is {groups}, which does not divide all of feature_channels, "
                f"{list(feature_channels)}; set a divisor (4 of 32 is usual)."
            )
        self.squeeze = self._taps.squeezed(feature_channels)
        self.norm = nn.ModuleList(nn.GroupNorm(groups, channels) for channels in feature_channels)
        self.head = nn.Conv2d(sum(feature_channels), 1, 1)
        if weights:
            load_network(self, Path(weights))
        self.to(memory_format=torch.channels_last)
        self.train()  # Lightning trains a network in the mode in which it finds it

    def train(self, mode: bool = True) -> "BoundaryNet":
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        self.backbone.keep(self.encoder)
        return self

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w"]:
        """Logit of a boundary at every cell that begins on the image.

        The padding is zero behind normalisation.
        """
        height, width = image.shape[-2:]
        # the deepest maps have a cell every 32 pixels at most
        sides = [max(-(-side // 32) * 32, self.least_size) for side in (height, width)]
        padded = F.pad(self.normalise(image), (0, sides[1] - width, 0, sides[0] - height))
        cells = [-(-side // self.stride) for side in sides]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            _, tapped = self._taps(padded)
        seen = []
        for squeeze, norm, maps, stride in zip(
            self.squeeze, self.norm, tapped, self._taps.strides, strict=True
        ):
            edge = norm(squeeze(maps))
            if stride > self.stride:
                edge = F.interpolate(edge, scale_factor=stride / self.stride, mode="bilinear")
            seen.append(edge.relu()[..., : cells[0], : cells[1]])
        logit = self.head(torch.cat(seen, dim=1))[:, 0]
        return logit[..., : -(-height // self.stride), : -(-width // self.stride)]
