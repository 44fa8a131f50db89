"""mIoU of seeds and of masks over a split."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from wsss_lightning.data.scores import dense, load_mask, load_score
from wsss_lightning.data.stage_files import image_file
from wsss_lightning.evaluation.metrics import (
    ThresholdCurve,
    iou,
    is_held_out,
    miou,
    precision_recall,
)
from wsss_lightning.evaluation.pixel_counts import PixelCountWriter
from wsss_lightning.ops.cam import with_constant_background
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.metrics_file import Metrics, save_metrics
from wsss_lightning.steps.runtime import name_of
from wsss_lightning.utils.console import track
from wsss_lightning.utils.files import write_json


def evaluate_seeds(
    folder: Path, *, scores: Path, data: DictConfig, split: str, seeds: DictConfig
) -> None:
    """mIoU of seeds under a fixed, a held-out and the oracle threshold, and the whole curve.

    fixed: `background_score`, over the split. oracle: the best threshold for this split's own
    masks, over the split. held_out: the best threshold for a part of the split, evaluated on all
    other images. images.npz holds the pixel counts of each image under the fixed threshold.

    Args:
        folder: to write to.
        scores: folder of CAM scores.
        data: configuration of the data set.
        split: split whose images are evaluated; without true masks the metrics are empty.
        seeds: the node `seeds` of the configuration.
    """
    dataset = datasets_of(data)(split)
    if not dataset.has_masks():
        return save_metrics(folder, {})
    labels = dataset.num_classes + 1
    fixed = PixelCountWriter(labels)
    held_out, rest = (ThresholdCurve(labels, seeds.thresholds) for _ in range(2))
    for i in track(range(len(dataset)), len(dataset), name_of(folder)):
        score, keys = load_score(image_file(scores, dataset.names[i], ".npz"))
        full = torch.from_numpy(dense(score, keys, labels))[1:]
        mask = torch.from_numpy(dataset.mask(i).astype(np.int64))
        (held_out if is_held_out(i, seeds.held_out) else rest).update(full, mask)
        seed = with_constant_background(full, seeds.background_score).argmax(0)
        fixed.add(dataset.names[i], seed, mask)
    fixed.save(folder)
    matrix = fixed.matrix()
    if not matrix.any():  # all pixels are ignored
        return save_metrics(folder, {})
    metrics: Metrics = {"miou": miou(matrix), **_iou_of_classes(matrix, dataset.classes)}
    metrics["threshold"] = seeds.background_score
    if seeds.held_out:
        threshold, _ = held_out.best()
        if threshold == threshold:  # NaN: the part has no labelled pixel
            index = int(torch.argmin((rest.thresholds - threshold).abs()))
            metrics["miou_held_out"] = miou(rest.compute()[index])
            metrics["threshold_held_out"] = threshold
    rest.counts += held_out.counts
    metrics["threshold_oracle"], metrics["miou_oracle"] = rest.best()
    _save_curve(folder / "curve.json", rest)
    save_metrics(folder, metrics)


def evaluate_masks(folder: Path, *, masks: Path, data: DictConfig, split: str) -> None:
    """mIoU and IoU of each class of masks over a split, and the share of labelled pixels.

    Ignored pixels count as errors; if there are any, `miou_labelled` leaves them out. images.npz
    holds the pixel counts of each image.

    Args:
        folder: to write to.
        masks: folder of masks.
        data: configuration of the data set.
        split: split whose images are evaluated; without true masks the metrics are empty.
    """
    dataset = datasets_of(data)(split)
    if not dataset.has_masks():
        return save_metrics(folder, {})
    counts = PixelCountWriter(dataset.num_classes + 1)
    for i in track(range(len(dataset)), len(dataset), name_of(folder)):
        path = image_file(masks, dataset.names[i], ".png")
        prediction = torch.from_numpy(load_mask(path).astype(int))
        counts.add(dataset.names[i], prediction, torch.from_numpy(dataset.mask(i).astype(int)))
    counts.save(folder)
    matrix = counts.matrix()
    if not matrix.any():  # all pixels are ignored
        return save_metrics(folder, {})
    coverage = 1 - float(matrix[:, -1].sum() / matrix.sum())
    metrics: Metrics = {"miou": miou(matrix), "coverage": coverage}
    if coverage < 1:
        labelled = matrix.clone()
        labelled[:, -1] = 0
        metrics["miou_labelled"] = miou(labelled)
    save_metrics(folder, metrics | _iou_of_classes(matrix, dataset.classes))
    write_json(folder / "confusion.json", matrix.tolist())


def _iou_of_classes(matrix: torch.Tensor, classes: Sequence[str]) -> Metrics:
    names = [f"iou_{name}" for name in ["background", *classes]]
    return dict(zip(names, iou(matrix).tolist(), strict=True))


def _save_curve(path: Path, curve: ThresholdCurve) -> None:
    matrices = curve.compute()
    precision, recall = precision_recall(matrices)
    points = {
        "threshold": curve.thresholds,
        "miou": iou(matrices).nanmean(-1),
        "precision": precision.nan_to_num(1.0),  # NaN: nothing is predicted as an object
        "recall": recall.nan_to_num(0.0),
    }
    rounded = {key: [round(v, 6) for v in values.tolist()] for key, values in points.items()}
    write_json(path, rounded)
