"""DeepLab-v1 and DeepLab-v2 on our backbones: the segmentation networks of published results.

Letters: b images, k = c + 1 labels with background first, h w a map, H W an image.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wsss_lightning.errors import InputError
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.normalisation import Normalise
from wsss_lightning.nets.weights import load_network
from wsss_lightning.ops.resize import resize_to


class _DeepLab(nn.Module):
    """Encoder, statistics and batch norms of both networks; each adds its head.

    Args:
        backbone, output_stride: as of the networks.
    """

    encoder: Any

    def __init__(self, backbone: Backbone, output_stride: int | None) -> None:
        super().__init__()
        self.backbone = _with_stride(backbone, output_stride)
        self.normalise = Normalise(backbone.statistics)
        self.encoder = self.backbone.build()

    def train(self, mode: bool = True) -> "_DeepLab":
        super().train(mode)
        self.backbone.keep(self.encoder)
        return self

    def _prepare(self, momentum: float, affine: bool, weights: str | Path | None) -> None:
        """Set up batch norms and load weights, once all layers are there."""
        _set_norms(self, momentum, affine)
        if weights:
            load_network(self, Path(weights))
        self.to(memory_format=torch.channels_last)
        self.train()  # Lightning trains a network in the mode in which it finds it


@final
class DeepLabV1(_DeepLab):
    """DeepLab with a large field of view: one dilated 3x3 convolution on the deepest map.

    3x3 (dilated), norm, relu; 1x1, norm, relu; dropout; 1x1. Logits are resized to the image with
    aligned corners.

    Args:
        backbone: where the encoder comes from.
        output_stride: of the encoder, which is then dilated; None: the backbone's.
        dilation: of the 3x3 convolution, cells.
        channels: of both hidden layers.
        dropout: of single activations before the last convolution.
        norm_momentum: weight of a batch in the running statistics of all batch norms.
        norm_affine: whether batch norms learn scale and shift.
        weights: local file of a whole network: an official .pth, or this network's own state.
        num_classes: without background.

    Source: Chen et al. 2015 (DeepLab-LargeFOV); `lib/net/deeplabv1.py` of the
    semantic-segmentation-codebase of SEAM's author.
    """

    def __init__(
        self,
        backbone: Backbone,
        output_stride: int | None,
        dilation: int,
        channels: int,
        dropout: float,
        norm_momentum: float,
        norm_affine: bool,
        weights: str | Path | None,
        num_classes: int,
    ) -> None:
        _check_positive("dilation", [dilation])
        _check_positive("channels", [channels])
        if not 0 <= dropout < 1:
            raise InputError(f"segmenter.net.dropout is {dropout}; set it in [0, 1).")
        super().__init__(backbone, output_stride)
        inside = int(self.encoder.out_channels[-1])
        self.head = nn.Sequential(
            nn.Conv2d(inside, channels, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(channels, num_classes + 1, 1),
        )
        for layer in self.head:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self._prepare(norm_momentum, norm_affine, weights)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k H W"]:
        logits = self.head(self.encoder(self.normalise(image))[-1])
        return resize_to(logits, (image.shape[-2], image.shape[-1]))


@final
class DeepLabV2(_DeepLab):
    """DeepLab with atrous spatial pyramid pooling, on an image and its smaller copies.

    Logits of one copy are the sum of 3x3 convolutions of several dilations on the deepest map.
    Logits of the network are the maximum over copies, all resized to the map of the image itself.

    Args:
        backbone: where the encoder comes from.
        output_stride: of the encoder, which is then dilated; None: the backbone's.
        rates: dilations of the convolutions, cells.
        scales: of the smaller copies, beside the image itself; none: single-scale.
        norm_momentum: weight of a batch in the running statistics of all batch norms.
        norm_affine: whether batch norms learn scale and shift.
        weights: local file of a whole network: a .pth of deeplab-pytorch, or this network's state.
        num_classes: without background.

    Source: Chen et al. 2018 (DeepLab-v2); `libs/models/deeplabv2.py` and `msc.py` of
    deeplab-pytorch.
    """

    def __init__(
        self,
        backbone: Backbone,
        output_stride: int | None,
        rates: Sequence[int],
        scales: Sequence[float],
        norm_momentum: float,
        norm_affine: bool,
        weights: str | Path | None,
        num_classes: int,
    ) -> None:
        _check_positive("rates", rates)
        if not all(0 < scale < 1 for scale in scales):
            raise InputError(
                f"segmenter.net.scales is {list(scales)}; give scales of smaller copies of the "
                "image, each within (0, 1), or [] for the image alone."
            )
        super().__init__(backbone, output_stride)
        self.scales = tuple(scales)
        inside = int(self.encoder.out_channels[-1])
        self.aspp = nn.ModuleDict()
        for i, rate in enumerate(rates):
            branch = nn.Conv2d(inside, num_classes + 1, 3, padding=rate, dilation=rate)
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.bias)  # type: ignore[arg-type]
            self.aspp[f"c{i}"] = branch
        self._prepare(norm_momentum, norm_affine, weights)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k H W"]:
        maximum = self.training_logits(image)[-1]
        return F.interpolate(maximum, image.shape[-2:], mode="bilinear", align_corners=False)

    def training_logits(self, image: Float[Tensor, "b 3 H W"]) -> list[Tensor]:
        """Logits that losses are computed on: of the image, of each copy, and their maximum.

        Those of copies have the size of the copies' maps; the maximum has that of the image's map.
        """
        image = self.normalise(image)
        logits = [self._single(image)]
        logits += [self._single(_scaled(image, scale)) for scale in self.scales]
        size = logits[0].shape[-2:]
        resized = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in logits[1:]]
        if not resized:
            return logits
        return [*logits, torch.stack([logits[0], *resized]).amax(0)]

    def _single(self, normalised: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k h w"]:
        deepest = self.encoder(normalised)[-1]
        return torch.stack([branch(deepest) for branch in self.aspp.values()]).sum(0)


def _with_stride(backbone: Backbone, output_stride: int | None) -> Backbone:
    if output_stride is None:
        return backbone
    if output_stride not in (8, 16, 32):
        raise InputError(
            f"segmenter.net.output_stride is {output_stride}; set 8 (the published networks'), 16 "
            "or 32, or null for the backbone's."
        )
    return replace(backbone, output_stride=output_stride, dilated=True)


def _set_norms(net: nn.Module, momentum: float, affine: bool) -> None:
    if not 0 < momentum <= 1:
        raise InputError(
            f"segmenter.net.norm_momentum is {momentum}; set it in (0, 1] (PyTorch's own is 0.1)."
        )
    for part in net.modules():
        if isinstance(part, _BatchNorm):
            part.momentum = momentum
            if not affine:
                part.requires_grad_(False)


def _check_positive(name: str, values: Sequence[int]) -> None:
    if not values or min(values) < 1:
        raise InputError(
            f"segmenter.net.{name} is {list(values)}, but whole numbers above 0 are expected; set "
            "them (the published networks have dilation 12, channels 512, rates [6, 12, 18, 24])."
        )


def _scaled(image: Float[Tensor, "b 3 H W"], scale: float) -> Float[Tensor, "b 3 _ _"]:
    """Bilinear, to floor(side * scale), with pixels spaced by 1 / scale as in deeplab-pytorch."""
    sides = [math.floor(side * scale) for side in image.shape[-2:]]
    if min(sides) < 1:  # an image of a few pixels
        sides = [max(1, side) for side in sides]
        return F.interpolate(image, sides, mode="bilinear", align_corners=False)
    return F.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False)
