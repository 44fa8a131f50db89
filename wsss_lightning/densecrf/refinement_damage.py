"""Whether refinement did harm, told without true masks.

Letters: H W an image.
"""

import torch
from jaxtyping import Integer
from torch import Tensor


def refinement_damage(
    before: Integer[Tensor, "H W"], after: Integer[Tensor, "H W"], area_factor: float
) -> str | None:
    """What speaks against a refined label map, or None.

    A label that the refined map lost altogether, or whose area changed by more than `area_factor`
    either way. The CRF knows nothing of classes: where colours mislead it, a small object vanishes
    in what is around it, or floods it.

    Args:
        before: labels without refinement, those of an image's tags and background.
        after: labels with it.
        area_factor: 1 or more.

    Returns:
        "lost", "area" or None.
    """
    labels, areas = torch.unique(before, return_counts=True)
    refined = torch.stack([(after == label).sum() for label in labels])
    if (refined == 0).any():
        return "lost"
    ratio = refined / areas
    return "area" if bool((torch.maximum(ratio, 1 / ratio) > area_factor).any()) else None
