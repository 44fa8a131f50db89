"""Label maps.

Letters: k labels with background first, H W an image.
"""

from functools import cache
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

IGNORE: Final = 255
"""Label of pixels that neither losses nor metrics count."""


def pseudo_mask(marginal: Float[Tensor, "k H W"], confidence: float) -> UInt8[Tensor, "H W"]:
    """The most probable label of each pixel; IGNORE where its probability is below `confidence`.

    Args:
        marginal: probabilities, sum 1 over k.
        confidence: in [0, 1]; 0 ignores no pixel.
    """
    probability, label = marginal.max(dim=0)
    return torch.where(probability < confidence, IGNORE, label).to(torch.uint8)


@cache
def voc_palette() -> bytes:
    """RGB colours of labels 0 to 255 as 768 bytes; the bits of a label set those of its colour.

    Source: `VOClabelcolormap` of the VOC development kit.
    """
    colours = np.zeros((256, 3), np.uint8)
    labels = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((labels >> channel) & 1) << (7 - bit)).astype(np.uint8)
        labels = labels >> 3
    return colours.tobytes()
