"""Mean and standard deviation of the images that a network's weights were trained with.

Letters: b images, H W an image.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, final

import segmentation_models_pytorch as smp
import timm
import torch
from jaxtyping import Float
from timm.data.constants import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    IMAGENET_DPN_MEAN,
    IMAGENET_DPN_STD,
    IMAGENET_INCEPTION_MEAN,
    IMAGENET_INCEPTION_STD,
)
from torch import Tensor, nn

from wsss_lightning.errors import InputError


class Statistics(NamedTuple):
    """Statistics of each channel of RGB in [0, 1].

    mean: subtracted from the image.
    std: divides the difference.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Statistics(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
"""Of torchvision's networks, and of the official codes of PSA, SEAM, SC-CAM and IRN."""

CAFFE = Statistics((122.675 / 255, 116.669 / 255, 104.008 / 255), (1 / 255, 1 / 255, 1 / 255))
"""Of deeplab-pytorch (`configs/voc12.yaml`): only a mean is subtracted from levels 0 to 255."""

DPN = Statistics(IMAGENET_DPN_MEAN, IMAGENET_DPN_STD)
INCEPTION = Statistics(IMAGENET_INCEPTION_MEAN, IMAGENET_INCEPTION_STD)

# encoders of segmentation_models_pytorch that were trained with other statistics than ImageNet's,
# by the prefix of their name. The numbers are those of `encoders/_legacy_pretrained_settings.py` in
# its repository: newer versions store them with the weights in the hub. resnet101_caffe is our own
OF_ENCODERS = {
    "resnet101_caffe": CAFFE,
    "dpn": DPN,
    "inception": INCEPTION,
    "xception": INCEPTION,
    "timm-tf_efficientnet_lite": INCEPTION,
}


@final
class Normalise(nn.Module):
    """(image - mean) / std; the buffers belong to the configuration, not to the checkpoint."""

    mean: Tensor
    std: Tensor

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        for name, value in statistics._asdict().items():
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        # channels-last convolutions are up to ten times faster on CPUs and never slower
        image = image.contiguous(memory_format=torch.channels_last)
        return (image - self.mean) / self.std


def known_statistics(encoder_name: str, weights: str | None) -> Statistics:
    """Statistics that the pretrained weights of an encoder were trained with.

    Args:
        encoder_name: in segmentation_models_pytorch, with the prefix `tu-` for timm's networks; a
            tag after a dot names one of timm's several weights, by default the first.
        weights: name of the weights in segmentation_models_pytorch's hub, whose settings are
            fetched; None: statistics of the name, without the hub.

    Raises:
        InputError: the hub cannot be reached, or the weights need another order of channels.
    """
    if encoder_name.startswith("tu-"):
        return _of_timm(encoder_name.removeprefix("tu-"))
    if weights is None:
        smp_statistics = (s for start, s in OF_ENCODERS.items() if encoder_name.startswith(start))
        return next(smp_statistics, IMAGENET)
    try:
        settings = smp.encoders.get_preprocessing_params(encoder_name, weights)
    except Exception as error:  # errors of the connection, the hub and its cache
        raise InputError(
            "pretrained must be false unless the hub can be reached, got True; fetching the "
            f"settings of {encoder_name}'s weights failed ({error}): connect to the hub once, or "
            "set weights to a file"
        ) from error
    return from_settings(encoder_name, settings)


def from_settings(name: str, settings: Mapping[str, Any]) -> Statistics:
    """Convert the statistics of a library's weights to RGB in [0, 1].

    Args:
        name: name of the network, for messages.
        settings: `mean`, `std`, `input_space` and `input_range`, as in
            `smp.encoders.get_preprocessing_params`.

    Raises:
        InputError: the weights need another order of channels, or a range that starts above 0.
    """
    low, high = settings["input_range"]
    if settings["input_space"] != "RGB" or low != 0:
        raise InputError(
            f"the pretrained weights of {name} need {settings['input_space']} images in [{low}, "
            f"{high}], but images are RGB in [0, 1] here; choose another backbone."
        )
    scaled = ([value / high for value in settings[key]] for key in ("mean", "std"))
    return Statistics(*map(tuple, scaled))


def _of_timm(name: str) -> Statistics:
    known = timm.models.get_pretrained_cfg(name)
    return IMAGENET if known is None else Statistics(tuple(known.mean), tuple(known.std))
