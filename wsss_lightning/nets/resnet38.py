"""ResNet38, model A1 of Wu et al., the backbone of PSA, SEAM and SC-CAM.

Names of layers are those of the official checkpoints.

Letters: b images, d channels, h w a map, H W an image.
"""

from typing import Any, final

from jaxtyping import Float
from segmentation_models_pytorch.encoders._base import EncoderMixin
from torch import Tensor, nn

STRIDE = 8
# name: channels in, of the middle, out; stride, dilation of the first convolution, of the second
RESIDUAL = {
    "b2": (64, 128, 128, 2, 1, 1),
    "b2_1": (128, 128, 128, 1, 1, 1),
    "b2_2": (128, 128, 128, 1, 1, 1),
    "b3": (128, 256, 256, 2, 1, 1),
    "b3_1": (256, 256, 256, 1, 1, 1),
    "b3_2": (256, 256, 256, 1, 1, 1),
    "b4": (256, 512, 512, 2, 1, 1),
    **{f"b4_{i}": (512, 512, 512, 1, 1, 1) for i in range(1, 6)},
    "b5": (512, 512, 1024, 1, 1, 2),
    "b5_1": (1024, 512, 1024, 1, 2, 2),
    "b5_2": (1024, 512, 1024, 1, 2, 2),
}
# name: channels in, out; dropout
BOTTLENECKS = {"b6": (1024, 2048, 0.3), "b7": (2048, 4096, 0.5)}
# blocks whose activated input is one of the encoder's maps
TAPPED = ("b3", "b4", "b5", "b6")


@final
class ResNet38(nn.Module, EncoderMixin):
    """Pre-activation residual network of output stride 8 with 105 million parameters.

    It implements the encoder interface of segmentation_models_pytorch, so decoders for stride 8
    accept it. Scale and shift of batch norms are not trained, as in all official codes; the
    backbone's `freeze_norm` decides about their statistics.

    Args:
        depth: number of stages; only 5 is supported.
        output_stride: output stride of the last map; only 8 is supported.

    Raises:
        ValueError: `depth` or `output_stride` has another value.

    Source: Wu et al. 2019, "Wider or deeper"; `network/resnet38d.py` of the official PSA code.
    """

    def __init__(self, depth: int = 5, output_stride: int = STRIDE) -> None:
        super().__init__()
        if depth != 5 or output_stride != STRIDE:
            raise ValueError(
                f"resnet38 has output_stride {STRIDE} and five stages, not output_stride "
                f"{output_stride} and {depth} stages; set output_stride={STRIDE}, and for "
                "segmentation a decoder for stride 8, such as DeepLab-v3+"
            )
        self._depth, self._in_channels, self._output_stride = depth, 3, STRIDE
        inside = {name: shape[0] for name, shape in (RESIDUAL | BOTTLENECKS).items()}
        deepest = BOTTLENECKS["b7"][1]
        self._out_channels = [3, *(inside[name] for name in TAPPED), deepest]
        self.conv1a = nn.Conv2d(3, inside["b2"], 3, padding=1, bias=False)
        for name, shape in RESIDUAL.items():
            self.add_module(name, Residual(*shape))
        for name, (in_channels, out_channels, dropout) in BOTTLENECKS.items():
            self.add_module(name, Bottleneck(in_channels, out_channels, dropout))
        self.bn7 = nn.BatchNorm2d(deepest)
        self.relu7 = nn.ReLU(inplace=True)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.requires_grad_(False)

    def make_dilated(self, output_stride: int) -> None:
        """Part of the encoder interface; this network is always dilated."""

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> list[Any]:
        """The image, then activated maps of strides 2, 4, 8, 8, 8, called conv2 to conv6."""
        maps, x = [image], self.conv1a(image)
        for name in (*RESIDUAL, *BOTTLENECKS):
            x, activated = getattr(self, name)(x)
            if name in TAPPED:
                maps.append(activated)
        return [*maps, self.relu7(self.bn7(x))]


@final
class Residual(nn.Module):
    """x + conv2b1(relu(norm(conv2a(a)))), a = relu(norm(x)); conv1(a) for x if shapes differ."""

    def __init__(
        self, inside: int, middle: int, outside: int, stride: int, first: int, second: int
    ) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(inside)
        self.relu_branch2a = nn.ReLU(inplace=True)
        self.conv_branch2a = nn.Conv2d(inside, middle, 3, stride, first, first, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(middle)
        self.relu_branch2b1 = nn.ReLU(inplace=True)
        self.conv_branch2b1 = nn.Conv2d(middle, outside, 3, 1, second, second, bias=False)
        self.reshapes = inside != outside or stride != 1
        if self.reshapes:
            self.conv_branch1 = nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(
        self, x: Float[Tensor, "b d h w"]
    ) -> tuple[Float[Tensor, "b _ _ _"], Float[Tensor, "b d h w"]]:
        """The sum, and the activated input."""
        activated = self.relu_branch2a(self.bn_branch2a(x))
        branch = self.relu_branch2b1(self.bn_branch2b1(self.conv_branch2a(activated)))
        branch = self.conv_branch2b1(branch)
        return (self.conv_branch1(activated) if self.reshapes else x) + branch, activated


@final
class Bottleneck(nn.Module):
    """conv1(a) + conv2b2(drop(conv2b1(drop(conv2a(a))))), a = relu(norm(x)), norms between."""

    def __init__(self, inside: int, outside: int, dropout: float) -> None:
        super().__init__()
        quarter, half = outside // 4, outside // 2
        self.bn_branch2a = nn.BatchNorm2d(inside)
        self.relu_branch2a = nn.ReLU(inplace=True)
        self.conv_branch2a = nn.Conv2d(inside, quarter, 1, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(quarter)
        self.relu_branch2b1 = nn.ReLU(inplace=True)
        self.dropout_2b1 = nn.Dropout2d(dropout)
        self.conv_branch2b1 = nn.Conv2d(quarter, half, 3, padding=4, dilation=4, bias=False)
        self.bn_branch2b2 = nn.BatchNorm2d(half)
        self.relu_branch2b2 = nn.ReLU(inplace=True)
        self.dropout_2b2 = nn.Dropout2d(dropout)
        self.conv_branch2b2 = nn.Conv2d(half, outside, 1, bias=False)
        self.conv_branch1 = nn.Conv2d(inside, outside, 1, bias=False)

    def forward(
        self, x: Float[Tensor, "b d h w"]
    ) -> tuple[Float[Tensor, "b _ h w"], Float[Tensor, "b d h w"]]:
        """The sum, and the activated input."""
        activated = self.relu_branch2a(self.bn_branch2a(x))
        branch = self.relu_branch2b1(self.bn_branch2b1(self.conv_branch2a(activated)))
        branch = self.conv_branch2b1(self.dropout_2b1(branch))
        branch = self.relu_branch2b2(self.bn_branch2b2(branch))
        branch = self.conv_branch2b2(self.dropout_2b2(branch))
        return branch.add_(self.conv_branch1(activated)), activated
