"""The original ResNet for Caffe, the backbone of DeepLab-v2's published weights.

Names of layers are those of the checkpoints of deeplab-pytorch.

Letters: b images, d channels, h w a map, H W an image.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, final

import torch.nn.functional as F
from jaxtyping import Float
from segmentation_models_pytorch.encoders._base import EncoderMixin
from torch import Tensor, nn


@final
class CaffeResNet(nn.Module, EncoderMixin):
    """Residual network of bottlenecks with the stride in the first 1x1 convolution.

    Three differences to torchvision's ResNet: the stride is not in the 3x3 convolution; max-pooling
    rounds sizes up; the weights were trained on BGR, so the network reverses the channels of its
    RGB input. It implements the encoder interface of segmentation_models_pytorch.

    Args:
        blocks: number of bottlenecks in each of the four stages; [3, 4, 23, 3] is ResNet101.
        depth: number of strides; only 5 is supported.
        output_stride: output stride of the deepest map; `make_dilated` turns strides into
            dilations.

    Raises:
        ValueError: `depth` is not 5.

    Source: `libs/models/resnet.py` and `deeplabv2.py` of deeplab-pytorch.
    """

    layer1: Any
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module
    layer5: nn.Module

    def __init__(self, blocks: Sequence[int], depth: int = 5, output_stride: int = 32) -> None:
        super().__init__()
        if depth != 5:
            raise ValueError(f"depth must be 5, got {depth}")
        self._depth, self._in_channels, self._output_stride = depth, 3, output_stride
        self._out_channels = [3, 64, 256, 512, 1024, 2048]
        pool = nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)
        self.layer1 = _named(conv1=_conv_norm(3, 64, 7, 2, relu=True), pool=pool)
        shapes = zip(blocks, (64, 256, 512, 1024), (1, 2, 2, 2), strict=True)
        for number, (count, inside, stride) in enumerate(shapes, start=2):
            outside = self._out_channels[number]
            first = Bottleneck(inside, outside, stride)
            others = [Bottleneck(outside, outside, 1) for _ in range(count - 1)]
            stage = {f"block{i}": block for i, block in enumerate([first, *others], start=1)}
            self.add_module(f"layer{number}", _named(**stage))

    def get_stages(self) -> dict[int, Sequence[nn.Module]]:
        """Stages by the stride of their maps, for `EncoderMixin.make_dilated`."""
        return {16: [self.layer4], 32: [self.layer5]}

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> list[Any]:
        """The image, then activated maps of strides 2, 4, 8, 16, 32 (or less where dilated)."""
        stem = self.layer1.conv1(image.flip(1))
        maps, x = [image, stem], self.layer1.pool(stem)
        for stage in (self.layer2, self.layer3, self.layer4, self.layer5):
            x = stage(x)
            maps.append(x)
        return maps


@final
class Bottleneck(nn.Module):
    """relu(shortcut(x) + increase(relu(conv3x3(relu(reduce(x)))))), each followed by a norm."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        middle = outside // 4
        self.reduce = _conv_norm(inside, middle, 1, stride, relu=True)
        self.conv3x3 = _conv_norm(middle, middle, 3, 1, relu=True)
        self.increase = _conv_norm(middle, outside, 1, 1, relu=False)
        self.shortcut: nn.Module = nn.Identity()
        if inside != outside:
            self.shortcut = _conv_norm(inside, outside, 1, stride, relu=False)

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b _ _ _"]:
        return F.relu(self.increase(self.conv3x3(self.reduce(x))) + self.shortcut(x))


def _conv_norm(inside: int, outside: int, size: int, stride: int, relu: bool) -> nn.Sequential:
    layers: dict[str, nn.Module] = {
        "conv": nn.Conv2d(inside, outside, size, stride, padding=size // 2, bias=False),
        "bn": nn.BatchNorm2d(outside),
    }
    if relu:
        layers["relu"] = nn.ReLU(inplace=True)
    return _named(**layers)


def _named(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))
