"""Maps from inside an encoder.

Letters: b images, d channels, h w a map, H W an image.
"""

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.errors import InputError
from wsss_lightning.nets.backbones import submodule

SIDE = 64  # of the image on which maps are measured


@final
class FeatureTap:
    """Chosen maps of an encoder, besides its deepest.

    Args:
        encoder: as `Backbone.build` gives it.
        feature_layers: numbers of the encoder's own maps, 0 being the image and -1 the deepest (-3 and -2
            are conv4 and conv5 of ResNet38), or names of layers, such as layer2.
        key: of the configuration that gives `taps`, for messages.

    Raises:
        InputError: there is no such map, or a layer puts out something else.
    """

    def __init__(self, encoder: Any, feature_layers: Sequence[int | str], key: str) -> None:
        self.encoder, self.feature_layers = encoder, list(feature_layers)
        self.kept: dict[str, Any] = {}
        for name in (tap for tap in feature_layers if isinstance(tap, str)):
            submodule(encoder, name, key).register_forward_hook(
                lambda _module, _inputs, output, name=name: self.kept.update({name: output})
            )
        maps = self._measured(key)
        self.channels = [m.shape[1] for m in maps]
        """Of each tap."""
        self.strides = [SIDE // m.shape[-1] for m in maps]
        """Pixels of the image a cell of each tap."""

    def __call__(
        self, normalised: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b d h w"], list[Any]]:
        """The deepest map, and those of the feature_layers."""
        maps = self.encoder(normalised)
        tapped = [self.kept[t] if isinstance(t, str) else maps[t] for t in self.feature_layers]
        self.kept.clear()  # the graph of a step must not outlive it
        return maps[-1], tapped

    def squeezed(self, channels: Sequence[int], key: str) -> nn.ModuleList:
        """A 1x1 convolution without bias for each tap, to so many channels.

        Raises:
            InputError: `channels`, which `key` of the configuration gives, are not as many as feature_layers.
        """
        if len(channels) != len(self.channels):
            raise InputError(
                f"{key} is {list(channels)}, but there are {len(self.channels)} taps; give a "
                "number of channels for each."
            )
        return nn.ModuleList(
            nn.Conv2d(inside, outside, 1, bias=False)
            for inside, outside in zip(self.channels, channels, strict=True)
        )

    def _measured(self, key: str) -> list[Tensor]:
        count = len(self.encoder.out_channels)
        for tap in self.feature_layers:
            if isinstance(tap, int) and not -count <= tap < count:
                raise InputError(
                    f"{key} has {tap}, but the encoder has {count} maps; count them from 0 (the "
                    f"image) to {count - 1}, or from -1 backwards."
                )
        mode = self.encoder.training
        with torch.no_grad():
            self.encoder.eval()
            _, tapped = self(torch.zeros(1, 3, SIDE, SIDE))
            self.encoder.train(mode)
        for name, maps in zip(self.feature_layers, tapped, strict=True):
            if not isinstance(maps, Tensor) or maps.dim() != 4:
                shape = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
                raise InputError(
                    f"{key} names {name}, which puts out {shape}; choose layers with maps "
                    "(b d h w), such as layer2 of a ResNet."
                )
        return tapped
