"""mIoU as the field counts it: one confusion matrix over a split, no mean over images.

Letters: k labels with background first, c = k - 1 classes, t thresholds, H W an image.
"""

from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import multiclass_confusion_matrix

from wsss_lightning.functional.masks import IGNORE


@final
class Confusion(Metric):
    """Pixels by true label (rows) and predicted label (columns), int64.

    The last column counts predictions of IGNORE: they are misses, since a map that abstains where
    it is hard must not gain by it. Pixels whose true label is IGNORE do not count.
    """

    full_state_update = False
    matrix: Tensor

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.num_labels = num_labels
        zero = torch.zeros(num_labels, num_labels + 1, dtype=torch.int64)
        self.add_state("matrix", zero, dist_reduce_fx="sum")

    def update(self, prediction: Int[Tensor, "*size"], truth: Int[Tensor, "*size"]) -> None:
        prediction = torch.where(prediction == IGNORE, self.num_labels, prediction.long())
        # NumPy's and torchmetrics' counts agree; torchmetrics takes one more label than truth has
        counted = multiclass_confusion_matrix(
            prediction, truth.long(), self.num_labels + 1, ignore_index=IGNORE
        )
        self.matrix += counted[: self.num_labels].to(self.matrix)

    def compute(self) -> Int[Tensor, "k k+1"]:
        return self.matrix


def iou(matrix: Int[Tensor, "*batch k _"]) -> Float[Tensor, "*batch k"]:
    """TP / (TP + FP + FN) of every label, float64; NaN for one that no image truly shows."""
    labels = matrix.shape[-2]
    exact = matrix.double()
    right = exact[..., :labels].diagonal(dim1=-2, dim2=-1)
    true, predicted = exact.sum(-1), exact[..., :labels].sum(-2)
    return torch.where(true > 0, right / (true + predicted - right), torch.nan)


def miou(matrix: Int[Tensor, "k _"]) -> float:
    """Mean of `iou` over the labels that the split truly shows, in [0, 1].

    On the splits of VOC these are all 21. On a small split without some class, an evaluator that
    averages over all labels counts a zero nobody could have avoided (methods such as SEAM's do).
    """
    return float(iou(matrix).nanmean())


@final
class ThresholdCurve(Metric):
    """Confusion matrices of seeds under every constant background score, in one pass.

    A pixel is background where its strongest class does not exceed the threshold. Per true label
    and strongest class, pixels are counted by their score; sums from above give each threshold.

    Args:
        num_labels: k.
        thresholds: how many, evenly over [0, 1].
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, num_labels: int, thresholds: int) -> None:
        super().__init__()
        self.num_labels = num_labels
        # i / (t - 1) in double precision, so that 0.2 is the float32 nearest to 0.2
        levels = np.arange(thresholds) / max(1, thresholds - 1)
        self.register_buffer("thresholds", torch.from_numpy(levels).float(), persistent=False)
        zero = torch.zeros(num_labels, num_labels, thresholds + 1, dtype=torch.int64)
        self.add_state("counts", zero, dist_reduce_fx="sum")

    def update(self, score: Float[Tensor, "*batch c H W"], truth: Int[Tensor, "*batch H W"]) -> None:
        strongest, which = score.max(dim=-3)
        # bin i: above the thresholds 0 .. i - 1, not above threshold i
        bins = torch.bucketize(strongest.contiguous(), self.thresholds)
        counted = truth != IGNORE
        index = torch.stack([truth.long(), which + 1, bins])[:, counted]
        shape = self.counts.shape
        flat = (index[0] * shape[1] + index[1]) * shape[2] + index[2]
        self.counts += torch.bincount(flat, minlength=self.counts.numel()).view(shape)

    def compute(self) -> Int[Tensor, "t k k"]:
        above = self.counts.flip(-1).cumsum(-1).flip(-1)[..., 1:]  # strictly above threshold i
        matrix = above.permute(2, 0, 1).clone()
        matrix[:, :, 0] = self.counts.sum((1, 2)) - above.sum(1).T
        return matrix

    def best(self) -> tuple[float, float]:
        """The threshold with the highest mIoU, and that mIoU."""
        values = iou(self.compute()).nanmean(-1)
        i = int(values.argmax())
        return round(float(self.thresholds[i]), 6), float(values[i])
