"""Pseudo masks that a person corrected take the place of their originals (`pseudo.masks`).

Letters: H W an image.
"""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from omegaconf import DictConfig

from wsss_lightning.cache.stage_cache import ALARMS
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.file_facts import digests_of
from wsss_lightning.data.scores import load_mask, save_mask
from wsss_lightning.data.stage_files import finished_images, image_file
from wsss_lightning.data.supervision import Supervision
from wsss_lightning.errors import InputError, closest
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.training.callbacks.pseudo_mask_alarms import PseudoMaskAlarms
from wsss_lightning.utils.console import print_plain, track
from wsss_lightning.utils.files import write_json
from wsss_lightning.utils.text import shorten


def corrected_names(cfg: DictConfig) -> list[str]:
    """Names of the training images whose pseudo masks are corrected, sorted."""
    if cfg.pseudo.masks is None:
        return []
    train = datasets_of(cfg.data)(cfg.data.train, with_masks=False)
    return sorted(finished_images(Path(cfg.pseudo.masks), ".png") & set(train.names))


def check_corrected_masks(cfg: DictConfig, supervision: Supervision) -> str:
    """Check `pseudo.masks` before work starts.

    Args:
        cfg: composed configuration.
        supervision: supervision of the pipeline.

    Returns:
        Digest of the corrected masks; empty without any.

    Raises:
        InputError: the pipeline makes no pseudo masks, there is no such folder, no file belongs to
            a training image, or a mask has another size than its image or holds other labels.
    """
    if cfg.pseudo.masks is None:
        return ""
    folder = Path(cfg.pseudo.masks)
    if supervision.name == "masks":
        raise InputError(
            f"pseudo.masks is {folder}, but this pipeline trains on true masks and makes no pseudo "
            f"masks; set data.dataset.mask_dir={folder.absolute()} to train on these masks."
        )
    if not folder.is_dir():
        raise InputError(
            f"pseudo.masks is {folder}, but there is no such folder; give the folder that "
            "wsss-lightning import-masks wrote."
        )
    train = datasets_of(cfg.data)(cfg.data.train, with_masks=False, masks=folder)
    present, names = finished_images(folder, ".png"), corrected_names(cfg)
    others = sorted(present - set(names))
    if not names:
        raise InputError(
            f"pseudo.masks is {folder}, but none of its {len(present)} masks belongs to an image "
            f"of {train.split}{_example(others, train)}; a mask has the name of its image and ends "
            "in .png."
        )
    index = {name: i for i, name in enumerate(train.names)}
    for name in names:
        train.mask(index[name])  # reads the corrected mask, and checks its size and labels
    print_plain(
        f"{train.split}: {len(names)} of {len(train)} pseudo masks are replaced by those of "
        f"{folder}"
        + (f"; {len(others)} further masks belong to no image of {train.split}" if others else ""),
        "dim",
    )
    return corrected_digest(cfg)


def corrected_digest(cfg: DictConfig) -> str:
    """Digest of the names and contents of the corrected masks that are used."""
    names = corrected_names(cfg)
    digests = digests_of(image_file(Path(cfg.pseudo.masks), name, ".png") for name in names)
    return hashlib.sha256(repr([*zip(names, digests, strict=True)]).encode()).hexdigest()[:12]


def correct_masks(
    folder: Path, *, masks: Path, corrected: Path, digest: str, data: DictConfig, split: str
) -> None:
    """Masks `<name>.png` of a split: the corrected one where there is one, else the pseudo mask.

    Args:
        folder: to write to.
        masks: folder of pseudo masks.
        corrected: folder of corrected masks of some images.
        digest: digest of the corrected masks, so that others are a different stage.
        data: configuration of the data set.
        split: split whose images are read.
    """
    dataset = datasets_of(data)(split, with_masks=False)
    alarms = PseudoMaskAlarms(dataset.classes)
    replaced = 0
    for i in track(range(len(dataset)), len(dataset), "corrected masks"):
        name = dataset.names[i]
        mask = _corrected_mask(dataset, corrected, i)
        replaced += mask is not None
        if mask is None:
            mask = load_mask(image_file(masks, name, ".png"))
        alarms.update(name, mask, dataset.tags[i])
        save_mask(image_file(folder, name, ".png"), mask)
    write_json(folder / ALARMS, alarms.alarms())
    write_json(folder / "corrected.json", {"corrected": replaced, "digest": digest})


def _corrected_mask(
    dataset: VOCDataset, corrected: Path, i: int
) -> UInt8[np.ndarray, "H W"] | None:
    """The corrected mask of image i; None if it has none."""
    if not image_file(corrected, dataset.names[i], ".png").is_file():
        return None
    return dataset.view(masks=corrected).mask(i)


def _example(others: list[str], train: VOCDataset) -> str:
    """Names of some masks, and of the image that the first may belong to."""
    if not others:
        return ""
    near = closest(others[0], train.names)
    return f" ({shorten(others)}{f'; an image is called {near}' if near else ''})"
