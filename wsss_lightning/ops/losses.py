"""Losses that several methods share.

Letters: b images, c classes, k = c + 1 with background first, h w a map.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from wsss_lightning.ops.cam import one_hot


def tag_loss(logits: Float[Tensor, "b c"], tags: Float[Tensor, "b c"]) -> Float[Tensor, ""]:
    """Multi-label soft margin: -mean_c [y log s(x) + (1 - y) log s(-x)], s the logistic function.

    Args:
        logits: unbounded.
        tags: multi-hot.

    Source: `F.multilabel_soft_margin_loss` in the official PSA, IRN and SEAM codes. It equals
    binary cross-entropy with logits, which is used here because it is numerically stable.
    """
    return F.binary_cross_entropy_with_logits(logits, tags)


def min_pooling_loss(
    refined: Float[Tensor, "b c h w"], fraction: float = 0.25
) -> Float[Tensor, ""]:
    """Mean of max_c refined over the `fraction` of pixels where it is lowest.

    It lowers activations in the background. The authors of SEAM found that the best mIoU stays the
    same, but at another threshold.

    Args:
        refined: maps of the present classes, zero for the others; unbounded, negative counts as 0.
        fraction: fraction of the pixels, in (0, 1].

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
        full: scores of the full-size image at the size of `small`, in [0, 1], zero where absent.
        small: scores of the downscaled image, likewise.
        num_classes: number of all classes; those that are not given count as zero.

    Source: Wang et al. 2020 (SEAM), eq. 4, as in the official code: absent classes, whose maps are
    equal, lower the mean.
    """
    b, _, h, w = full.shape
    return (full - small).abs().sum() / (b * num_classes * h * w)


def cross_refinement_loss(
    cam: Float[Tensor, "b k h w"],
    refined: Float[Tensor, "b k h w"],
    hard_fraction: float,
    num_labels: int,
) -> Float[Tensor, ""]:
    """ECR: mean of the largest |one_hot(cam) - refined|, cam of one view, refined of the other.

    `cam` is the target and gets no gradient; its background is 1 - max over classes. The background
    of `refined` is the network's own.

    Args:
        cam: scores in [0, 1], zero where absent; the first channel is replaced.
        refined: scores in [0, 1], zero where absent.
        hard_fraction: fraction of all num_labels * h * w values of an image, in (0, 1].
        num_labels: number of all labels; those that are not given count as no error.

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
