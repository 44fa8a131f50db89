"""Energies of labels from what is known of them.

Letters: l labels, H W an image.
"""

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from wsss_lightning.errors import InputError


def unary_from_scores(score: Float[Tensor, "l H W"]) -> Float[Tensor, "l H W"]:
    """-log of the score, kept within [1e-5, 1].

    The scores of a pixel need not sum to 1: a common factor drops out in the first softmax.

    Source: `unary_from_softmax` of pydensecrf.
    """
    return -score.clamp(1e-5, 1).log()


def unary_from_labels(
    labels: Integer[Tensor, "H W"], num_labels: int, gt_prob: float, zero_unsure: bool = False
) -> Float[Tensor, "l H W"]:
    """-log gt_prob for the given label; the others share the rest equally.

    The more labels, the stronger the unary: the wrong ones share the same 1 - gt_prob.

    Args:
        labels: 0 .. num_labels - 1, or 1 .. num_labels with `zero_unsure`.
        num_labels: of the result, 2 or more.
        gt_prob: probability that a label is right, within (0, 1).
        zero_unsure: 0 is no label but "unknown": all labels are equally probable there.

    Raises:
        InputError: `gt_prob`, `num_labels` or a label lies outside its range.

    Source: `unary_from_labels` of pydensecrf.
    """
    if not 0 < gt_prob < 1:
        raise InputError(f"gt_prob is {gt_prob}; set it within (0, 1) (0.7 is usual).")
    if num_labels < 2:
        raise InputError(f"num_labels is {num_labels}; a CRF chooses between 2 labels or more.")
    labels = labels.long()
    last = num_labels - (not zero_unsure)
    outside = labels[(labels < 0) | (labels > last)]
    if outside.numel():
        raise InputError(
            f"the labels hold {int(outside[0])}, but lie in 0..{last}; set num_labels to match, or "
            "relabel what is ignored."
        )
    index = labels - int(zero_unsure)
    right = index == torch.arange(num_labels, device=labels.device)[:, None, None]
    probability = torch.where(right, gt_prob, (1 - gt_prob) / (num_labels - 1))
    return -torch.where(index < 0, 1 / num_labels, probability).log()
