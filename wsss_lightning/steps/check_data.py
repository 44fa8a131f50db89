"""Checks of a data set before any step starts."""

import hashlib
from collections.abc import Sequence

from omegaconf import DictConfig

from wsss_lightning.config.splits import splits_of
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.duplicates import shared_files
from wsss_lightning.data.report import TrainTestScale, always_tagged, median_long_side, rare_classes
from wsss_lightning.data.supervision import BOXES, MASKS, TAGS, Supervision
from wsss_lightning.methods.sc_cam.files import read_subcategories
from wsss_lightning.steps.datasets import datasets_of, forget_splits
from wsss_lightning.utils.console import print_plain, warn


def check_data(
    data: DictConfig,
    learns_from: Supervision = TAGS,
    scales: Sequence[TrainTestScale] = (),
) -> str:
    """Read lists, tags and headers of all splits, and some masks, before any step starts.

    Args:
        data: configuration of the data set.
        learns_from: supervision of the pipeline.
        scales: sizes of images in training and testing, compared with those of the last split.

    Returns:
        Digest of everything that was read.

    Raises:
        InputError: a file cannot be used.
    """
    forget_splits()
    digests, datasets = [], []
    for split in splits_of(data):
        dataset = _open(data, split, learns_from)
        datasets.append(dataset)
        digests += [dataset.fingerprint(), dataset.mask_fingerprint()]
        if data.subcategories:
            known = read_subcategories(
                dataset.root / data.subcategories, dataset.names, dataset.classes
            )
            digests.append(hashlib.sha256(known.tobytes()).hexdigest()[:12])
        _describe(data.name, dataset)
    train, last = datasets[0], datasets[-1]
    _warn_of_tags(train, learns_from)
    _warn_of_splits(data, train, last)
    if scales and len(last):
        side = median_long_side(last)
        for warning in filter(None, (scale.warning(side) for scale in scales)):
            warn(f"{last.split}: {warning}")
    return "-".join(digests)


def _open(data: DictConfig, split: str, learns_from: Supervision) -> VOCDataset:
    train = split == data.train
    dataset = datasets_of(data)(split, with_boxes=learns_from is BOXES and train)
    if learns_from is MASKS and train and len(dataset):
        dataset.check_mask_exists(0)
    dataset.check()
    return dataset


def _warn_of_tags(train: VOCDataset, learns_from: Supervision) -> None:
    """Warn of classes that no training image shows, or that every one shows."""
    absent, _ = rare_classes(train.tags.numpy(), train.classes)
    if absent:
        warn(f"no image of {train.split} is tagged {', '.join(absent)}")
    always = always_tagged(train.tags.numpy(), train.classes)
    if always and learns_from is TAGS:
        warn(
            f"every image of {train.split} is tagged {', '.join(always)}; a classifier needs "
            "images without a class to learn it (data.dataset.on_missing_labels=background keeps "
            "images without any class)"
        )


def _warn_of_splits(data: DictConfig, train: VOCDataset, last: VOCDataset) -> None:
    """Warn of a validation split that is absent or shares images with the training split."""
    if data.val is None:
        print_plain(f"{data.name} has no validation split, so no score is computed on one", "dim")
    elif data.val == data.train:
        warn(f"data.val is {data.val}, the training split, so its scores are too optimistic")
    shared = shared_files(train, last)
    if shared:
        warn(
            f"{len(shared)} images of {data.val} are also in {data.train} "
            f"({', '.join(shared[:3])}), so the scores are too optimistic; "
            "python -m wsss_lightning check-data lists them"
        )


def _describe(name: str, dataset: VOCDataset) -> None:
    """Print a summary of a split."""
    where = f"{name} {dataset.split}"
    tagged = int(dataset.tags.any(1).sum())
    masks = "true masks for scoring" if dataset.has_masks() else "no true masks, so no mIoU"
    print_plain(f"{where}: {len(dataset)} images, {tagged} tagged, {masks}", "dim")
    if dataset.with_boxes:
        counts = dataset.count_boxes()
        empty = f", {counts.empty} without width or height left out" if counts.empty else ""
        print_plain(
            f"{where}: {counts.boxes} boxes from {dataset.boxes_from}, {counts.clipped} clipped to "
            f"the image, {counts.tags_without_box} tags without a box{empty}",
            "dim",
        )
    for note in dataset.notes:
        warn(f"{where}: {note}")
