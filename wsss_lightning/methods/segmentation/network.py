"""Segmentation networks of segmentation_models_pytorch on our backbones.

Letters: b images, k = c + 1 labels with background first, H W an image.
"""

from collections.abc import Mapping
from typing import Any, final

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.normalisation import Normalise

ARCHITECTURES = ("unet", "unetplusplus", "fpn", "pspnet", "deeplabv3", "deeplabv3plus", "upernet")
# decoders built on a map of a fixed stride; the others use all strides of the backbone
DILATED = ("deeplabv3", "deeplabv3plus")


@final
class SegmentationNet(nn.Module):
    """image -> logits of every label at every pixel, for images of any size.

    Args:
        backbone: where the encoder comes from.
        architecture: of segmentation_models_pytorch, such as deeplabv3plus or unet.
        options: further arguments of the architecture's constructor.
        num_classes: without background.
        output_stride: of the encoder, where the architecture dilates; None: the backbone's, at
            most 16. A method that wants finer maps of its own then leaves this network as it is.
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
            raise InputError(
                f"segmenter.net.output_stride is {output_stride}; set 8 or 16, or null for the "
                "backbone's."
            )
        if architecture not in ARCHITECTURES:
            raise InputError(
                f"segmenter.net.architecture is {architecture}; "
                f"{did_you_mean(architecture, ARCHITECTURES)}"
            )
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
        except Exception as error:  # of any type: networks differ in how they refuse arguments
            message = (
                f"options must suit architecture {architecture} and backbone {name} with options "
                f"{dict(options_of_backbone)}, got {dict(options)}; the library reports: "
                f"{str(error).rstrip('.!')}; unet suits most backbones, deeplabv3plus those that "
                "dilate"
            )
            raise backbone.failure(message, error) from error
        backbone.load(self.net.encoder)
        self.to(memory_format=torch.channels_last)
        self.train()  # Lightning trains a network in the mode in which it finds it

    @property
    def encoder(self) -> nn.Module:
        return self.net.encoder

    def train(self, mode: bool = True) -> "SegmentationNet":
        super().train(mode)
        self.backbone.keep(self.encoder)
        return self

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k H W"]:
        """Logits; images are padded to what the decoders need, and the logits cut back."""
        height, width = image.shape[-2:]
        padding = (0, -width % 32, 0, -height % 32)
        # zero is the mean colour once normalised
        return self.net(F.pad(self.normalise(image), padding))[..., :height, :width]
