"""Why a pixel is wrong: each wrong pixel has one cause.

Letters: k labels with background first, H W an image.
"""

from enum import IntEnum
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Integer, UInt8
from torch import Tensor

from wsss_lightning.functional.masks import IGNORE

BAND: Final = 0.01
"""Width of the boundary band on either side, in diagonals of the image: 6 pixels on VOC."""


class Cause(IntEnum):
    """What a pixel is; the first that holds is taken, from `UNLABELLED` on."""

    RIGHT = 0
    UNLABELLED = 1
    """The prediction abstains (IGNORE)."""
    TAG = 2
    """It names a class that the image does not show, or names nowhere one that it shows."""
    BOUNDARY = 3
    """Beside a true boundary."""
    MISSED = 4
    """A part of an object is called background."""
    SPILL = 5
    """Background is called a class that the image shows."""
    CONFUSED = 6
    """An object is called another class that the image shows."""


WRONG: Final = tuple(cause for cause in Cause if cause != Cause.RIGHT)


def causes(
    prediction: Integer[Tensor, "H W"], truth: Integer[Tensor, "H W"], band: float = BAND
) -> UInt8[Tensor, "H W"]:
    """The `Cause` of each pixel; IGNORE where the truth is not known.

    A whole class that was not found is an error of tags, not a missed part: no better map of the
    classes found would mend it. Next come boundaries, where annotators differ too.

    Args:
        prediction: labels, IGNORE where it abstains.
        truth: labels, IGNORE where not known.
        band: as of `near_boundary`.

    Source: our own; after the taxonomies of TIDE (Bolya et al. 2020) and Boundary IoU (Cheng et
    al. 2021).
    """
    known = truth != IGNORE
    shown, named = truth[known].unique(), prediction[known].unique()
    nowhere = torch.zeros((), dtype=truth.dtype, device=truth.device)  # background is in no tag
    invented = ~torch.isin(prediction, torch.cat([shown, nowhere[None]]))
    unseen = ~torch.isin(truth, torch.cat([named, nowhere[None]]))
    found = torch.full_like(truth, Cause.CONFUSED)
    found[truth == 0] = Cause.SPILL
    found[prediction == 0] = Cause.MISSED
    found[near_boundary(truth, band)] = Cause.BOUNDARY
    found[invented | unseen] = Cause.TAG
    found[prediction == IGNORE] = Cause.UNLABELLED
    found[prediction == truth] = Cause.RIGHT
    found[~known] = IGNORE
    return found.to(torch.uint8)


def near_boundary(truth: Integer[Tensor, "H W"], band: float) -> Bool[Tensor, "H W"]:
    """Pixels from which another label, known or not, lies within a square window.

    Unknown pixels count as another label: on VOC they are the ring around objects.

    Args:
        band: half the window's width, in diagonals of the image; at least one pixel is taken.
    """
    height, width = truth.shape
    reach = max(1, round(band * (height**2 + width**2) ** 0.5))
    label = truth.double()[None, None]
    highest = _widest(label, reach)
    lowest = -_widest(-label, reach)
    return (highest != lowest)[0, 0]


def _widest(label: Tensor, reach: int) -> Tensor:
    # one axis after the other: the same maximum for a fraction of the comparisons
    for kernel, padding in (((2 * reach + 1, 1), (reach, 0)), ((1, 2 * reach + 1), (0, reach))):
        label = F.max_pool2d(label, kernel, stride=1, padding=padding)
    return label
