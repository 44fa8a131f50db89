"""Intermediate feature maps of an encoder.

Letters: b images, d channels, h w a map, H W an image.
"""

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.nets.backbones import submodule

SIDE = 64  # of the image that measures channels and strides


@final
class FeatureTap:
    """Selected feature maps of an encoder, besides the deepest.

    Args:
        encoder: from `Backbone.build`.
        feature_layers: indices of the encoder's maps, 0 for the image and -1 for the deepest (-3
            and -2 are conv4 and conv5 of ResNet38), or names of layers, such as layer2.

    Raises:
        ValueError: there is no such map, or the output of a layer is not a map.
    """

    def __init__(self, encoder: Any, feature_layers: Sequence[int | str]) -> None:
        self.encoder, self.feature_layers = encoder, list(feature_layers)
        self.kept: dict[str, Any] = {}
        for name in (layer for layer in feature_layers if isinstance(layer, str)):
            submodule(encoder, name, "feature_layers").register_forward_hook(
                lambda _module, _inputs, output, name=name: self.kept.update({name: output})
            )
        maps = self._measure()
        self.channels = [m.shape[1] for m in maps]
        """Of each feature map."""
        self.strides = [SIDE // m.shape[-1] for m in maps]
        """Of each feature map, in pixels of the image."""

    def __call__(
        self, normalised: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b d h w"], list[Any]]:
        """The deepest map, and the selected feature maps."""
        maps = self.encoder(normalised)
        tapped = [self.kept[i] if isinstance(i, str) else maps[i] for i in self.feature_layers]
        self.kept.clear()  # releases the graph of the step
        return maps[-1], tapped

    def squeezed(self, feature_channels: Sequence[int]) -> nn.ModuleList:
        """A 1x1 convolution without bias for each feature map.

        Args:
            feature_channels: output channels of each convolution.

        Raises:
            ValueError: `feature_channels` has another length than `feature_layers`.
        """
        if len(feature_channels) != len(self.channels):
            raise ValueError(
                f"feature_channels must have one number for each of the {len(self.channels)} "
                f"feature_layers, got {list(feature_channels)}"
            )
        return nn.ModuleList(
            nn.Conv2d(inside, outside, 1, bias=False)
            for inside, outside in zip(self.channels, feature_channels, strict=True)
        )

    def _measure(self) -> list[Tensor]:
        """The feature maps of a small image."""
        count = len(self.encoder.out_channels)
        for index in self.feature_layers:
            if isinstance(index, int) and not -count <= index < count:
                raise ValueError(
                    f"feature_layers must have indices from {-count} to {count - 1} (0 is the "
                    f"image, -1 the deepest map), got {self.feature_layers}"
                )
        mode = self.encoder.training
        with torch.no_grad():
            self.encoder.eval()
            _, tapped = self(torch.zeros(1, 3, SIDE, SIDE))
            self.encoder.train(mode)
        for name, maps in zip(self.feature_layers, tapped, strict=True):
            if not isinstance(maps, Tensor) or maps.dim() != 4:
                shape = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
                raise ValueError(
                    f"feature_layers must name layers whose output is a map (b d h w), got {name}; "
                    f"its output is {shape}"
                )
        return tapped
