"""Label maps.

Letters: k labels with background first, H W an image.
"""

from typing import Final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

IGNORE: Final = 255
"""Label of pixels that count neither in a loss nor in a score."""


def pseudo_mask(marginal: Float[Tensor, "k H W"], confidence: float) -> UInt8[Tensor, "H W"]:
    """The most probable label; IGNORE where its probability lies below `confidence`.

    Args:
        marginal: probabilities, sum 1 over k.
        confidence: in [0, 1]; 0 ignores nothing.
    """
    probability, label = marginal.max(dim=0)
    return torch.where(probability < confidence, IGNORE, label).to(torch.uint8)
