"""Losses that methods share.

Letters: b images, c classes.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def tag_loss(logits: Float[Tensor, "b c"], tags: Float[Tensor, "b c"]) -> Float[Tensor, ""]:
    """Multilabel soft margin: -mean_c [y log s(x) + (1 - y) log s(-x)], s the logistic function.

    Args:
        logits: unbounded.
        tags: multi-hot.

    Source: `F.multilabel_soft_margin_loss` of the official PSA, IRN and SEAM codes; equal to
    binary cross-entropy with logits, whose stable form is taken here.
    """
    return F.binary_cross_entropy_with_logits(logits, tags)
