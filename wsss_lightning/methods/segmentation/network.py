"""Segmentation networks of segmentation_models_pytorch on the backbones of this package.

Letters: b images, k = c + 1 labels with background first, H W an image.
"""

import inspect
from collections.abc import Mapping
from typing import Any, final

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.errors import did_you_mean
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.normalisation import Normalise

ARCHITECTURES = ("unet", "unetplusplus", "fpn", "pspnet", "deeplabv3", "deeplabv3plus", "upernet")
# decoders that need a map of a fixed stride; the others use maps of all strides
DILATED = ("deeplabv3", "deeplabv3plus")


@final
class SegmentationNet(nn.Module):
    """Logits of every label at every pixel, for images of any size.

    Args:
        backbone: names the encoder, its weights and its frozen parts.
        architecture: architecture of segmentation_models_pytorch, such as deeplabv3plus or unet.
        options: further arguments of the architecture's constructor.
        num_classes: number of classes without background.
        output_stride: output stride of the encoder, for architectures that dilate it: 8 or 16;
            None: the backbone's, at most 16. A separate value keeps this network unchanged when a
            method needs finer maps.

    Raises:
        ValueError: `output_stride` or `architecture` is out of range, `architecture` lacks one of
            the `options`, or the library cannot build the network.
    """

    def __init__(
        self,
        backbone: Backbone,
        architecture: str,
        options: Mapping[str, Any],
        num_classes: int,
        output_stride: int | None = None,
    ) -> None:
        super().__init__()
        if output_stride not in (None, 8, 16):
            raise ValueError(
                f"output_stride is {output_stride}, but must be 8, 16, or null for the backbone's"
            )
        if architecture not in ARCHITECTURES:
            raise ValueError(
                f"architecture is {architecture}, but must be one of {', '.join(ARCHITECTURES)}; "
                f"{did_you_mean(architecture, ARCHITECTURES)}"
            )
        _check_options(architecture, options)
        self.backbone = backbone
        self.normalise = Normalise(backbone.statistics)
        dilation: dict[str, Any] = {}
        if architecture in DILATED:
            dilation["encoder_output_stride"] = output_stride or min(backbone.output_stride, 16)
        name, weights = backbone.encoder_name, backbone.encoder_weights
        options_of_backbone = backbone.known_options
        try:
            self.net = smp.create_model(
                architecture,
                encoder_name=name,
                encoder_weights=weights,
                classes=num_classes + 1,
                **dilation,
                **options,
                **options_of_backbone,
            )
        except Exception as error:  # libraries reject arguments with exceptions of many types
            message = (
                f"options must suit architecture {architecture} and backbone {name} with options "
                f"{dict(options_of_backbone)}, got {dict(options)}; the library reports: "
                f"{str(error).rstrip('.!')}; unet suits most backbones, deeplabv3plus those that "
                "dilate"
            )
            raise backbone.failure(message, error) from error
        backbone.load(self.net.encoder)
        self.to(memory_format=torch.channels_last)
        self.train()  # Lightning fits a network in its present mode; this freezes batch norms

    @property
    def encoder(self) -> nn.Module:
        return self.net.encoder

    def train(self, mode: bool = True) -> "SegmentationNet":
        super().train(mode)
        self.backbone.keep(self.encoder)
        return self

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k H W"]:
        """Logits of the image, padded to sides that the decoders accept and cropped afterwards."""
        height, width = image.shape[-2:]
        # not `-width % 32`, from which torch.export derives an empty range
        right, below = ((side + 31) // 32 * 32 - side for side in (width, height))
        # after normalisation, zero is the mean colour
        return self.net(F.pad(self.normalise(image), (0, right, 0, below)))[..., :height, :width]


def _check_options(architecture: str, options: Mapping[str, Any]) -> None:
    """Check names of options, since decoders pass unknown ones on to the encoder."""
    classes = {name.lower(): value for name, value in vars(smp).items()}
    known = set(inspect.signature(classes[architecture]).parameters) - {"kwargs", "classes"}
    for name in options:
        if name not in known:
            raise ValueError(
                f"options is {dict(options)}, but must be arguments of {architecture}, which lacks "
                f"{name}; {did_you_mean(name, known)}"
            )
