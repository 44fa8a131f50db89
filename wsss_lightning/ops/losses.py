"""Losses of the methods.

Letters: b images, c classes, k = c + 1 with background first, h w a map.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from wsss_lightning.ops.cam import one_hot


def tag_loss(logits: Float[Tensor, "b c"], tags: Float[Tensor, "b c"]) -> Float[Tensor, ""]:
    """Multilabel soft margin: -mean_c [y log s(x) + (1 - y) log s(-x)], s the logistic function.

    Args:
        logits: unbounded.
        tags: multi-hot.

    Source: `F.multilabel_soft_margin_loss` of the official PSA, IRN and SEAM codes; equal to
    binary cross-entropy with logits, whose stable form is taken here.
    """
    return F.binary_cross_entropy_with_logits(logits, tags)


def min_pooling_loss(
    refined: Float[Tensor, "b c h w"], fraction: float = 0.25
) -> Float[Tensor, ""]:
    """Mean of max_c refined over the `fraction` of pixels where it is least: background is quiet.

    Its authors found that it leaves the best mIoU as it is and moves the threshold that gives it.

    Args:
        refined: maps of the present classes, zero for the others; unbounded, below 0 counts as 0.
        fraction: of the pixels, in (0, 1].

    Source: `adaptive_min_pooling_loss` of the official SEAM code; not in the paper.
    """
    strongest = refined.amax(1).flatten(1)
    count = max(1, int(strongest.shape[1] * fraction))
    least = strongest.topk(count, dim=1, largest=False).values
    return least.relu().mean()


def equivariance_loss(
    full: Float[Tensor, "b c h w"], small: Float[Tensor, "b c h w"], num_classes: int
) -> Float[Tensor, ""]:
    """ER: mean over all classes, present or not, of |full - small|.

    Args:
        full: scores of the full view at the small view's size, in [0, 1], zero where absent.
        small: scores of the small view, likewise.
        num_classes: all classes count; where only some are given, the others are zero.

    Source: Wang et al. 2020 (SEAM), eq. 4, as the official code has it: absent classes, which can
    differ in nothing, make the mean small.
    """
    b, _, h, w = full.shape
    return (full - small).abs().sum() / (b * num_classes * h * w)


def cross_refinement_loss(
    cam: Float[Tensor, "b k h w"],
    refined: Float[Tensor, "b k h w"],
    hard_fraction: float,
    num_labels: int,
) -> Float[Tensor, ""]:
    """ECR: mean of the hardest |one_hot(cam) - refined|, cam of one view, refined of the other.

    The cam is a target: it gets no gradient, its background is 1 - max over classes. The background
    of `refined` is what the network makes it.

    Args:
        cam: scores in [0, 1], zero where absent; the first channel is replaced.
        refined: scores in [0, 1], zero where absent.
        hard_fraction: of all values of an image, num_labels * h * w, in (0, 1].
        num_labels: all labels count; where only some are given, the others have no error.

    Source: Wang et al. 2020 (SEAM), sec. 3.4, eq. 9; one-hot, background and mining as in the
    official code.
    """
    classes = cam.detach()[:, 1:]
    target = one_hot(torch.cat([1 - classes.amax(1, keepdim=True), classes], dim=1))
    errors = (target - refined).abs().flatten(1)
    count = max(1, int(num_labels * refined.shape[-2] * refined.shape[-1] * hard_fraction))
    if count < errors.shape[1]:
        errors = errors.topk(count, dim=1).values
    return (errors.sum(1) / count).mean()
