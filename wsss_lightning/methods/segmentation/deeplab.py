"""DeepLab-v1 and DeepLab-v2, the segmentation networks of published results.

Letters: b images, k = c + 1 labels with background first, h w a map, H W an image.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wsss_lightning.methods.network import EncoderNetwork
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.ops.resize import resize_to


@final
class DeepLabV1(EncoderNetwork):
    """DeepLab with a large field of view: one dilated 3x3 convolution on the deepest map.

    The head is: 3x3 (dilated), norm, relu; 1x1, norm, relu; dropout; 1x1. Logits are resized to the
    image with aligned corners.

    Args:
        backbone: builds the encoder.
        output_stride: output stride of the encoder, which is dilated for it: 8, 16 or 32; None
            keeps the backbone's.
        dilation: dilation of the 3x3 convolution, in cells; 1 or more.
        channels: number of channels of both hidden layers; 1 or more.
        dropout: probability of dropping a single activation before the last layer, in [0, 1).
        norm_momentum: weight of a batch in the running statistics of all batch norms, in (0, 1].
        norm_affine: whether batch norms learn scale and shift.
        weights: local file of a whole network: an official .pth, or this network's state dict.
        num_classes: number of classes without background.

    Raises:
        ValueError: a value is out of range.

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
        for name, value, usual in (("dilation", dilation, 12), ("channels", channels, 512)):
            if value < 1:
                raise ValueError(
                    f"{name} is {value}, but must be >= 1 ({usual} in the published network)"
                )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}, but must be in [0, 1)")
        super().__init__(_with_stride(backbone, output_stride))
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
        _set_norms(self, norm_momentum, norm_affine)
        self.finish(weights)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k H W"]:
        logits = self.head(self.encoder(self.normalise(image))[-1])
        return resize_to(logits, (image.shape[-2], image.shape[-1]))


@final
class DeepLabV2(EncoderNetwork):
    """DeepLab with atrous spatial pyramid pooling, applied to an image at several scales.

    Logits at one scale are the sum of 3x3 convolutions of several dilations on the deepest map.
    Logits of the network are the maximum over scales, all resized to the map of the image itself.

    Args:
        backbone: builds the encoder.
        output_stride: output stride of the encoder, which is dilated for it: 8, 16 or 32; None
            keeps the backbone's.
        rates: dilations of the convolutions, in cells; each 1 or more.
        scales: scales of the copies used in addition to the image, each in (0, 1); empty:
            single-scale.
        norm_momentum: weight of a batch in the running statistics of all batch norms, in (0, 1].
        norm_affine: whether batch norms learn scale and shift.
        weights: local file of a whole network: a .pth of deeplab-pytorch, or this network's state
            dict.
        num_classes: number of classes without background.

    Raises:
        ValueError: a value is out of range.

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
        if not rates or min(rates) < 1:
            raise ValueError(
                f"rates is {list(rates)}, but must be one or more whole numbers >= 1 "
                "([6, 12, 18, 24] in the published network)"
            )
        if not all(0 < scale < 1 for scale in scales):
            raise ValueError(
                f"scales is {list(scales)}, but must be scales of smaller copies in (0, 1), or [] "
                "for the image alone"
            )
        super().__init__(_with_stride(backbone, output_stride))
        self.scales = tuple(scales)
        inside = int(self.encoder.out_channels[-1])
        self.aspp = nn.ModuleDict()
        for i, rate in enumerate(rates):
            branch = nn.Conv2d(inside, num_classes + 1, 3, padding=rate, dilation=rate)
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.bias)  # type: ignore[arg-type]
            self.aspp[f"c{i}"] = branch
        _set_norms(self, norm_momentum, norm_affine)
        self.finish(weights)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k H W"]:
        maximum = self.training_logits(image)[-1]
        return F.interpolate(maximum, image.shape[-2:], mode="bilinear", align_corners=False)

    def training_logits(self, image: Float[Tensor, "b 3 H W"]) -> list[Tensor]:
        """Logits that have a loss each: of the image, of each smaller copy, and their maximum.

        Logits of copies have the size of the copies' maps; the maximum has that of the image's map.
        """
        image = self.normalise(image)
        logits = [self._single_scale(image)]
        logits += [self._single_scale(_rescale(image, scale)) for scale in self.scales]
        size = logits[0].shape[-2:]
        resized = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in logits[1:]]
        if not resized:
            return logits
        return [*logits, torch.stack([logits[0], *resized]).amax(0)]

    def _single_scale(self, normalised: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k h w"]:
        deepest = self.encoder(normalised)[-1]
        return torch.stack([branch(deepest) for branch in self.aspp.values()]).sum(0)


def _with_stride(backbone: Backbone, output_stride: int | None) -> Backbone:
    if output_stride is None:
        return backbone
    if output_stride not in (8, 16, 32):
        raise ValueError(
            f"output_stride is {output_stride}, but must be 8 (published networks), 16, 32, or "
            "null for the backbone's"
        )
    return replace(backbone, output_stride=output_stride, dilated=True)


def _set_norms(network: nn.Module, momentum: float, affine: bool) -> None:
    if not 0 < momentum <= 1:
        raise ValueError(
            f"norm_momentum is {momentum}, but must be in (0, 1] (0.1 is PyTorch's default)"
        )
    for part in network.modules():
        if isinstance(part, _BatchNorm):
            part.momentum = momentum
            if not affine:
                part.requires_grad_(False)


def _rescale(image: Float[Tensor, "b 3 H W"], scale: float) -> Float[Tensor, "b 3 _ _"]:
    """Bilinear, to floor(side * scale), with pixels spaced by 1 / scale as in deeplab-pytorch."""
    sides = [math.floor(side * scale) for side in image.shape[-2:]]
    if min(sides) < 1:  # an image of a few pixels
        sides = [max(1, side) for side in sides]
        return F.interpolate(image, sides, mode="bilinear", align_corners=False)
    return F.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False)
