"""Metrics as the field computes them: mIoU from one confusion matrix over a split, mAP, F1.

Letters: k labels with background first, c = k - 1 classes, t thresholds, H W an image.
"""

import math
import warnings
from fractions import Fraction
from typing import final

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAveragePrecision,
    BinaryStatScores,
    MultilabelAveragePrecision,
    MultilabelStatScores,
)
from torchmetrics.functional.classification import multiclass_confusion_matrix

from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE


@final
class Confusion(Metric):
    """Confusion matrix: pixels by true label (rows) and predicted label (columns), int64.

    The last column counts predictions of IGNORE. They are misses, so that leaving difficult pixels
    unlabelled does not raise the score. Pixels whose true label is IGNORE do not count.

    Args:
        num_labels: k.

    Raises:
        InputError: on `update`, a label is neither IGNORE nor in 0 to k - 1.

    Source: counts as SEAM's `evaluation.py`, where a prediction of 255 is a miss.
    """

    full_state_update = False
    matrix: Tensor

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.num_labels = num_labels
        zero = torch.zeros(num_labels, num_labels + 1, dtype=torch.int64)
        self.add_state("matrix", zero, dist_reduce_fx="sum")

    def update(self, prediction: Integer[Tensor, "*size"], truth: Integer[Tensor, "*size"]) -> None:
        # not in place, which would fail outside inference mode on a state created inside it
        counted = count_pixels(prediction, truth, self.num_labels)
        self.matrix = self.matrix + counted.to(self.matrix)

    def compute(self) -> Int[Tensor, "k k+1"]:
        return self.matrix


def count_pixels(
    prediction: Integer[Tensor, "*size"], truth: Integer[Tensor, "*size"], num_labels: int
) -> Int[Tensor, "k k+1"]:
    """Confusion matrix of one prediction, as in `Confusion`.

    Args:
        prediction: predicted labels; IGNORE: not labelled.
        truth: true labels; IGNORE: unknown.
        num_labels: k.

    Raises:
        InputError: a label is neither IGNORE nor in 0 to k - 1.
    """
    prediction, truth = prediction.long(), truth.long()
    _check(prediction, "prediction", num_labels)
    _check(truth, "truth", num_labels)
    # torchmetrics would count a label out of range as another one, hence the checks above
    counted = multiclass_confusion_matrix(
        torch.where(prediction == IGNORE, num_labels, prediction),
        truth,
        num_labels + 1,
        ignore_index=IGNORE,
        validate_args=False,
    )
    return counted[:num_labels]


def iou(matrix: Int[Tensor, "*batch k _"]) -> Float[Tensor, "*batch k"]:
    """IoU of every label: TP / (TP + FP + FN), float64.

    Args:
        matrix: pixels by true label (rows) and predicted label (columns), with or without the
            column of IGNORE.

    Returns:
        Values in [0, 1]; NaN for labels without true pixels. If such a label is predicted, its
        pixels already count against their true labels.
    """
    labels = matrix.shape[-2]
    exact = matrix.double()
    right = exact[..., :labels].diagonal(dim1=-2, dim2=-1)
    true, predicted = exact.sum(-1), exact[..., :labels].sum(-2)
    return torch.where(true > 0, right / (true + predicted - right), torch.nan)


def miou(matrix: Int[Tensor, "k _"]) -> float:
    """Mean of `iou` over the labels that have true pixels, in [0, 1].

    On the splits of VOC these are all 21 labels. On a small split that lacks a class,
    evaluators that average over all labels (SEAM's) count an unavoidable zero.

    Source: the bincount evaluators of SC-CAM and DeepLab-PyTorch.
    """
    return float(iou(matrix).nanmean())


def precision_recall(
    matrix: Int[Tensor, "*batch k k"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Precision and recall of object pixels, over all classes together.

    A pixel is correct if its class is; background counts neither way.

    Args:
        matrix: pixels by true label (rows) and predicted label (columns).

    Returns:
        Precision and recall in [0, 1], float64. Precision is NaN if no object is predicted.
    """
    exact = matrix.double()
    right = exact.diagonal(dim1=-2, dim2=-1)[..., 1:].sum(-1)
    return right / exact[..., 1:].sum((-2, -1)), right / exact[..., 1:, :].sum((-2, -1))


@final
class ThresholdCurve(Metric):
    """Confusion matrices of seeds at every constant background score, in one pass.

    A pixel is background if its highest score does not exceed the threshold. Pixels are counted by
    true label, best class and score; cumulative sums give the matrix of each threshold.

    Args:
        num_labels: k.
        thresholds: t, evenly spaced over [0, 1]: i / (t - 1).

    Raises:
        InputError: fewer than 2 thresholds; on `update`, the scores are not of k - 1 classes, or a
            true label is neither IGNORE nor in 0 to k - 1.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, num_labels: int, thresholds: int) -> None:
        # `counts` of several processes may be added between two results
        super().__init__(compute_with_cache=False)
        self.num_labels = num_labels
        if thresholds < 2:
            raise InputError(
                f"thresholds is {thresholds}; set 2 or more (101 gives steps of 0.01)."
            )
        self.thresholds = torch.arange(thresholds, dtype=torch.float64) / (thresholds - 1)
        zero = torch.zeros(num_labels, num_labels, thresholds + 1, dtype=torch.int64)
        self.add_state("counts", zero, dist_reduce_fx="sum")

    def update(
        self, score: Float[Tensor, "*batch c H W"], truth: Integer[Tensor, "*batch H W"]
    ) -> None:
        if score.shape[-3] != self.num_labels - 1:
            raise InputError(
                f"the scores are of {score.shape[-3]} classes, but with background there are "
                f"{self.num_labels} labels; score all {self.num_labels - 1} classes."
            )
        truth = truth.long()
        _check(truth, "truth", self.num_labels)
        best, index_of_best = score.max(dim=-3)
        # in the precision of the scores, as a constant background map would be
        thresholds = self.thresholds.to(best)
        # bin i: above thresholds 0 to i - 1, not above threshold i
        bins = torch.bucketize(best.contiguous(), thresholds)
        counted = truth != IGNORE
        index = torch.stack([truth, index_of_best + 1, bins])[:, counted]
        shape = self.counts.shape
        flat = (index[0] * shape[1] + index[1]) * shape[2] + index[2]
        pixels = torch.bincount(flat, minlength=self.counts.numel()).view(shape)
        self.counts = self.counts + pixels.to(self.counts)

    def compute(self) -> Int[Tensor, "t k k"]:
        above = self.counts.flip(-1).cumsum(-1).flip(-1)[..., 1:]  # strictly above threshold i
        matrix = above.permute(2, 0, 1).clone()
        matrix[:, :, 0] = self.counts.sum((1, 2)) - above.sum(1).T
        return matrix

    def best(self) -> tuple[float, float]:
        """The threshold with the highest mIoU (the lowest of several), and that mIoU.

        Both are NaN if no pixel was counted.
        """
        values = iou(self.compute()).nanmean(-1)
        if values.isnan().all():
            return math.nan, math.nan
        i = int(values.argmax())
        return float(self.thresholds[i]), float(values[i])


def score_parts(key: str) -> tuple[str, str, str]:
    """Step, split and metric of a key in `results.json`: `round_1/seeds/train/iou_tv/monitor`.

    Names of steps and classes may contain `/`; those of splits and other metrics do not.
    """
    place, iou_of, name = key.partition("/iou_")
    if not iou_of:
        place, _, metric = key.rpartition("/")
    step, _, split = place.rpartition("/")
    return step, split, f"iou_{name}" if iou_of else metric


def is_held_out(i: int, share: float) -> bool:
    """Whether image i of a split belongs to the evenly spaced share that selects the threshold.

    Of n images, ceil(n * share) belong to it, including the first.

    Args:
        i: index of the image.
        share: in [0, 1]; read as a decimal number, so that 0.1 is exactly a tenth.
    """
    exact = Fraction(str(share))
    return math.ceil((i + 1) * exact) > math.ceil(i * exact)


@final
class TagMetrics(Metric):
    """mAP and macro F1 of tags: means over the classes that the split shows.

    A class without a positive image has no average precision, and its F1 is 0 for any prediction.
    It is left out, as `miou` leaves out labels without true pixels.

    Args:
        num_classes: c.
    """

    full_state_update = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        # the multilabel metrics of torchmetrics need at least two labels
        metrics: dict[str, Metric | MetricCollection] = (
            {"precision": BinaryAveragePrecision(), "counts": BinaryStatScores()}
            if num_classes == 1
            else {
                "precision": MultilabelAveragePrecision(num_classes, average="none"),
                "counts": MultilabelStatScores(num_classes, average="none"),
            }
        )
        self.metrics = MetricCollection(metrics, compute_groups=False)

    def update(self, probability: Float[Tensor, "b c"], tags: Int[Tensor, "b c"]) -> None:
        self.metrics.update(probability, tags)

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """`map` and `f1` in [0, 1]; NaN if no image has a tag."""
        with (
            warnings.catch_warnings()
        ):  # about classes without a positive image, which are left out
            warnings.filterwarnings("ignore", message="No positive samples")
            values = self.metrics.compute()
        true, false, _, missed, positive = values["counts"].reshape(-1, 5).unbind(1)
        f1 = 2 * true / (2 * true + false + missed)
        present = positive > 0
        return {
            "map": values["precision"].reshape(-1)[present].mean(),
            "f1": f1[present].mean(),
        }

    def reset(self) -> None:
        super().reset()
        self.metrics.reset()


def _check(labels: Int[Tensor, "*size"], kind: str, num_labels: int) -> None:
    outside = labels[((labels < 0) | (labels >= num_labels)) & (labels != IGNORE)]
    if outside.numel():
        raise InputError(
            f"the {kind} holds label {int(outside[0])}, but labels are 0..{num_labels - 1} and "
            f"{IGNORE} (ignored); set num_classes to that of the dataset, or correct the masks."
        )
