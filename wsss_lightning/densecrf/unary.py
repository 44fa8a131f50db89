"""Unary energies from scores or from labels.

Letters: l labels, H W an image.
"""

import torch
from jaxtyping import Float, Integer
from torch import Tensor


def unary_from_scores(score: Float[Tensor, "l H W"]) -> Float[Tensor, "l H W"]:
    """-log of the score, clipped to [1e-5, 1].

    The scores of a pixel need not sum to 1: a common factor cancels in the first softmax.

    Source: `unary_from_softmax` of pydensecrf.
    """
    return -score.clamp(1e-5, 1).log()


def unary_from_labels(
    labels: Integer[Tensor, "H W"], num_labels: int, gt_prob: float, zero_unsure: bool = False
) -> Float[Tensor, "l H W"]:
    """-log gt_prob for the given label; the other labels share 1 - gt_prob equally.

    The unary becomes stronger with the number of labels, since more labels share 1 - gt_prob.

    Args:
        labels: 0 .. num_labels - 1, or 1 .. num_labels with `zero_unsure`.
        num_labels: number of labels of the result, 2 or more.
        gt_prob: probability that a label is correct, in (0, 1).
        zero_unsure: 0 means "unknown", where all labels are equally probable.

    Raises:
        ValueError: `gt_prob`, `num_labels` or a label is out of range.

    Source: `unary_from_labels` of pydensecrf.
    """
    if not 0 < gt_prob < 1:
        raise ValueError(f"gt_prob must lie in (0, 1), got {gt_prob}; 0.7 is usual")
    if num_labels < 2:
        raise ValueError(f"num_labels must be 2 or more, got {num_labels}")
    labels = labels.long()
    last = num_labels - (not zero_unsure)
    outside = labels[(labels < 0) | (labels > last)]
    if outside.numel():
        raise ValueError(
            f"labels must lie in 0..{last}, got {int(outside[0])}; adapt num_labels, or relabel "
            "ignored pixels"
        )
    index = labels - int(zero_unsure)
    right = index == torch.arange(num_labels, device=labels.device)[:, None, None]
    probability = torch.where(right, gt_prob, (1 - gt_prob) / (num_labels - 1))
    return -torch.where(index < 0, 1 / num_labels, probability).log()
