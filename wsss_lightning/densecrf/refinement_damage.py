"""Detection of damage by refinement, without true masks.

Letters: H W an image.
"""

import torch
from jaxtyping import Integer
from torch import Tensor


def refinement_damage(
    before: Integer[Tensor, "H W"], after: Integer[Tensor, "H W"], area_factor: float
) -> str | None:
    """Whether a refined label map lost a label or changed the area of one too much.

    The CRF uses colours, not classes. Where colours mislead it, a small object disappears in its
    surroundings or spreads over them.

    Args:
        before: labels without refinement, those of the image's tags and background.
        after: labels with refinement.
        area_factor: largest factor, 1 or more, by which the area of a label may grow or shrink.

    Returns:
        "lost" if a label is gone, "area" if an area changed by more than `area_factor`, else None.
    """
    labels, areas = torch.unique(before, return_counts=True)
    refined = torch.stack([(after == label).sum() for label in labels])
    if (refined == 0).any():
        return "lost"
    ratio = refined / areas
    return "area" if bool((torch.maximum(ratio, 1 / ratio) > area_factor).any()) else None
