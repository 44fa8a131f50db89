"""Mean and standard deviation that a network subtracts and divides by: those of its weights.

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
    """Of each channel of RGB in [0, 1].

    mean: subtracted first.
    std: divided by then.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Statistics(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
"""Of torchvision's networks, and of all official codes of PSA, SEAM, SC-CAM and IRN."""

CAFFE = Statistics((122.675 / 255, 116.669 / 255, 104.008 / 255), (1 / 255, 1 / 255, 1 / 255))
"""Of deeplab-pytorch (`configs/voc12.yaml`): levels 0 to 255 of which only a mean is subtracted."""

DPN = Statistics(IMAGENET_DPN_MEAN, IMAGENET_DPN_STD)
INCEPTION = Statistics(IMAGENET_INCEPTION_MEAN, IMAGENET_INCEPTION_STD)

# encoders of segmentation_models_pytorch that were not trained with ImageNet's, by how their names
# begin. Its package holds these numbers no longer, its hub beside the weights; they are those of
# `encoders/_legacy_pretrained_settings.py` of its repository. resnet101_caffe is our own
OF_ENCODERS = {
    "resnet101_caffe": CAFFE,
    "dpn": DPN,
    "inception": INCEPTION,
    "xception": INCEPTION,
    "timm-tf_efficientnet_lite": INCEPTION,
}


@final
class Normalise(nn.Module):
    """(image - mean) / std; the buffers are no part of a checkpoint, but of the configuration."""

    mean: Tensor
    std: Tensor

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        for name, value in statistics._asdict().items():
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        # channels last runs convolutions up to ten times faster on CPUs, and never slower
        image = image.contiguous(memory_format=torch.channels_last)
        return (image - self.mean) / self.std


def known_statistics(encoder_name: str, weights: str | None) -> Statistics:
    """What the pretrained weights of an encoder were trained with.

    Args:
        encoder_name: as segmentation_models_pytorch writes it, timm's networks behind `tu-`; a tag
            behind a dot names one of timm's several weights, the first of which is the default.
        weights: the weights of segmentation_models_pytorch's hub that are taken, whose settings
            are read there; None: those that the name stands for, without the hub.

    Raises:
        InputError: the hub cannot be reached, or weights want images in another order of channels.
    """
    if encoder_name.startswith("tu-"):
        return _of_timm(encoder_name.removeprefix("tu-"))
    if weights is None:
        own = (s for start, s in OF_ENCODERS.items() if encoder_name.startswith(start))
        return next(own, IMAGENET)
    try:
        settings = smp.encoders.get_preprocessing_params(encoder_name, weights)
    except Exception as error:  # of connections, of the hub and of its cache
        raise InputError(
            f"backbone.pretrained is true, but the settings of {encoder_name}'s weights cannot be "
            f"fetched ({error}); connect to the hub once, or set backbone.pretrained=false and "
            "backbone.weights=FILE."
        ) from error
    return from_settings(encoder_name, settings)


def from_settings(name: str, settings: Mapping[str, Any]) -> Statistics:
    """Statistics for RGB in [0, 1] from those that a library gives for its weights.

    Args:
        settings: `mean`, `std`, `input_space` and `input_range`, as of
            `smp.encoders.get_preprocessing_params`.

    Raises:
        InputError: the weights want another order of channels, or a range that does not begin at 0.
    """
    low, high = settings["input_range"]
    if settings["input_space"] != "RGB" or low != 0:
        raise InputError(
            f"the pretrained weights of {name} want {settings['input_space']} images in [{low}, "
            f"{high}], but networks here see RGB in [0, 1]; choose another backbone."
        )
    scaled = ([value / high for value in settings[key]] for key in ("mean", "std"))
    return Statistics(*map(tuple, scaled))


def _of_timm(name: str) -> Statistics:
    known = timm.models.get_pretrained_cfg(name)
    return IMAGENET if known is None else Statistics(tuple(known.mean), tuple(known.std))
