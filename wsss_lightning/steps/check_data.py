"""Checks of a data set before any step starts."""

import hashlib
from collections.abc import Sequence

from omegaconf import DictConfig

from wsss_lightning.config.splits import splits_of
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.report import (
    TrainTestScale,
    always_tagged,
    median_long_side,
    rare_classes,
    shared_files,
)
from wsss_lightning.data.supervision import BOXES, MASKS, TAGS, Supervision
from wsss_lightning.methods.sc_cam.files import read_subcategories
from wsss_lightning.steps.datasets import datasets_of, forget_splits
from wsss_lightning.utils.console import print_plain, warn


def check_data(
    data: DictConfig, learns_from: Supervision = TAGS, sights: Sequence[TrainTestScale] = ()
) -> str:
    """Read lists, tags and headers of all splits, and some masks, before anything starts.

    Args:
        learns_from: what the pipeline learns from.
        sights: of networks, held against the size of the validation split's images.

    Returns:
        Digest of what was read.

    Raises:
        InputError: what cannot be used, with the file's name.
    """
    forget_splits()
    digests, reads = [], []
    for split in splits_of(data):
        with_boxes = learns_from is BOXES and split == data.train
        read = datasets_of(data)(split, with_boxes=with_boxes)
        if learns_from is MASKS and split == data.train and len(read):
            read.check_mask_exists(0)
        read.check()
        reads.append(read)
        digests += [read.fingerprint(), read.mask_fingerprint()]
        if data.subcategories:
            looks = read_subcategories(read.root / data.subcategories, read.names, read.classes)
            digests.append(hashlib.sha256(looks.tobytes()).hexdigest()[:12])
        _describe_split(data.name, read)
    train = reads[0]
    absent, _ = rare_classes(train.tags.numpy(), train.classes)
    if absent:
        warn(f"no image of {data.train} is tagged {', '.join(absent)}")
    always = always_tagged(train.tags.numpy(), train.classes)
    if always and learns_from is TAGS:
        warn(
            f"every image of {data.train} is tagged {', '.join(always)}: without images that lack "
            "it, a classifier cannot learn what it looks like (data.dataset.on_missing_labels=background "
            "keeps images of no class)"
        )
    if data.val is None:
        print_plain(f"{data.name} has no validation split: nothing is scored on one", "dim")
    elif data.val == data.train:
        warn(f"data.val is {data.val}, the split that is learnt from: scores will flatter")
    shared = shared_files(train, reads[-1])
    if shared:
        warn(
            f"{len(shared)} images of {data.val} are in {data.train} too "
            f"({', '.join(shared[:3])}): scores will flatter; "
            "python -m wsss_lightning.cli.check_data tells which"
        )
    if sights and len(reads[-1]):
        side = median_long_side(reads[-1])
        for told in filter(None, (sight.complaint(side) for sight in sights)):
            warn(f"{reads[-1].split}: {told}")
    return "-".join(digests)


def _describe_split(data_name: str, read: VOCDataset) -> None:
    """Print what was read of a split, and how."""
    where = f"{data_name} {read.split}"
    tagged = int(read.tags.any(1).sum())
    truth = "true masks for scoring" if read.has_masks() else "no true masks: not scored"
    print_plain(f"{where}: {len(read)} images, {tagged} tagged, {truth}", "dim")
    if read.with_boxes:
        counts = read.count_boxes()
        left_out = f", {counts.left_out} without a side left out" if counts.left_out else ""
        print_plain(
            f"{where}: {counts.boxes} boxes from {read.boxes_from}, {counts.cut} cut to the image, "
            f"{counts.unboxed} tags without a box{left_out}",
            "dim",
        )
    for note in read.notes:
        warn(f"{where}: {note}")
