"""Corrections by a person: re-tagged images, and pseudo masks after `pseudo.review`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from wsss_lightning.cache.stage_cache import ALARMS
from wsss_lightning.config.splits import splits_of
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.file_facts import digests_of
from wsss_lightning.data.review.corrections import correct_mask
from wsss_lightning.data.review.decisions import Decision, read_decisions
from wsss_lightning.data.review.state import ImageState, states
from wsss_lightning.data.scores import load_mask, save_mask
from wsss_lightning.data.sources.masks import BACKGROUND
from wsss_lightning.data.stage_files import image_file
from wsss_lightning.data.supervision import MASKS, TAGS, Supervision
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.runtime import name_of
from wsss_lightning.training.callbacks.pseudo_mask_alarms import PseudoMaskAlarms
from wsss_lightning.utils.console import print_plain, track, warn
from wsss_lightning.utils.files import write_json
from wsss_lightning.utils.text import shorten


@dataclass(frozen=True)
class Review:
    """The decisions of `pseudo.review` about the training split.

    Args:
        decisions: all of them, in their order, undone ones too.
        images: what counts, by name of the image.
        digest: digest of the file.
    """

    decisions: list[Decision]
    images: Mapping[str, ImageState]
    digest: str

    def corrections(self) -> dict[str, Any]:
        """Corrections of pseudo masks (`correct_mask`), by name; no entry for other images."""
        found = ((name, self.images[name].corrections()) for name in sorted(self.images))
        return {name: one for name, one in found if one is not None}


_reviews: dict[str, Review] = {}  # read once a run, although a person may add decisions meanwhile


def review_of(cfg: DictConfig) -> Review | None:
    """The decisions that a run uses, as `prepare_review` read them; None: there are none."""
    return None if cfg.pseudo.review is None else _reviews[cfg.pseudo.review]


def accepted_names(cfg: DictConfig) -> list[str]:
    """Names of the training images whose masks a person accepted, sorted."""
    review = review_of(cfg)
    if review is None:
        return []
    return sorted(
        name for name, state in review.images.items() if "accept" in state.verdicts.values()
    )


def prepare_review(cfg: DictConfig, supervision: Supervision) -> None:
    """Read `pseudo.review`, check it against the data set, and re-tag images of the data set.

    Re-tagged images become `data.dataset.retags`, so that steps depend on the tags themselves
    rather than on the file.

    Args:
        cfg: composed configuration, whose data set is checked and generated.
        supervision: supervision of the pipeline.

    Raises:
        InputError: the file cannot be read, or names images, classes or sizes that the data set
            does not have.
    """
    path = cfg.pseudo.review
    if path is None:
        return
    if supervision is MASKS:
        raise InputError(
            f"pseudo.review is {path}, but this pipeline trains on true masks and makes no pseudo "
            "masks; leave pseudo.review out, or choose an experiment with tags or boxes."
        )
    decisions = read_decisions(Path(path).expanduser())
    datasets, known = _open_splits(cfg.data)
    train = datasets[cfg.data.train]
    _check_names(path, decisions, known, cfg.data)
    _check_classes(path, decisions, train.classes)
    used = [one for one in decisions if one.name in known[cfg.data.train]]
    images = states(used)
    _check_sizes(path, images, train)
    retags = _changed_tags(images, train)
    if retags and supervision is not TAGS:
        raise InputError(
            f"pseudo.review is {path}, which changes tags ({shorten(sorted(retags))}), but this "
            "pipeline learns from boxes; correct the boxes of the data set, and undo these "
            "decisions."
        )
    if retags:
        with open_dict(cfg.data.dataset):
            cfg.data.dataset.retags = {cfg.data.train: retags}
    _reviews[path] = Review(used, images, digests_of([Path(path).expanduser()])[0])
    count = sum(state.is_reviewed for state in images.values())
    print_plain(f"review: decisions about {count} images from {path}", "dim")


def review(
    folder: Path,
    *,
    masks: Path,
    data: DictConfig,
    split: str,
    corrections: Mapping[str, Any],
    box_min_fill: float,
) -> None:
    """Pseudo masks `<name>.png` of all images after the corrections of some.

    Args:
        folder: to write to.
        masks: folder of pseudo masks.
        data: configuration of the data set.
        split: split whose images are read.
        corrections: as `Review.corrections` returns them.
        box_min_fill: smallest share of a drawn box that its class fills, in [0, 1].
    """
    dataset = datasets_of(data)(split, with_masks=False)
    labels = {name: i for i, name in enumerate([BACKGROUND, *dataset.classes])}
    alarms = PseudoMaskAlarms(dataset.classes)
    for i in track(range(len(dataset)), len(dataset), name_of(folder)):
        name = dataset.names[i]
        mask = load_mask(image_file(masks, name, ".png"))
        if name in corrections:
            tagged = [c for c, t in zip(dataset.classes, dataset.tags[i], strict=True) if t]
            mask = correct_mask(mask, corrections[name], labels, tagged, box_min_fill)
        if (mask != IGNORE).any():  # a rejected image is no cause for alarm
            alarms.update(name, mask, dataset.tags[i])
        save_mask(image_file(folder, name, ".png"), mask)
    write_json(folder / ALARMS, alarms.alarms())


def _open_splits(data: DictConfig) -> tuple[dict[str, VOCDataset], dict[str, set[str]]]:
    """Each split, and the names of all its images, those included that cannot be used."""
    datasets, names = {}, {}
    for split in splits_of(data):
        # images that the data set refuses are named by its own check, after this one
        problems: dict[str, str] = {}
        datasets[split] = instantiate(data.dataset)(split=split, problems=problems)
        names[split] = {*datasets[split].names, *problems}
    return datasets, names


def _changed_tags(
    images: Mapping[str, ImageState], dataset: VOCDataset
) -> dict[str, dict[str, bool]]:
    """Tags that differ from those of the data set, by image and class."""
    changed: dict[str, dict[str, bool]] = {}
    for name, tags in zip(dataset.names, dataset.tags, strict=True):
        given = dict(zip(dataset.classes, tags.bool().tolist(), strict=True))
        decided = images[name].tags if name in images else {}
        tags_of_image = {c: present for c, present in decided.items() if present != given[c]}
        if tags_of_image:
            changed[name] = tags_of_image
    return changed


def _check_names(
    path: str,
    decisions: list[Decision],
    known: Mapping[str, set[str]],
    data: DictConfig,
) -> None:
    names = dict.fromkeys(one.name for one in decisions)
    everywhere = set().union(*known.values())
    unknown = [name for name in names if name not in everywhere]
    if unknown:
        hint = did_you_mean(unknown[0], everywhere)
        raise InputError(
            f"pseudo.review is {path}, which names {len(unknown)} images that {data.name} does not "
            f"have ({shorten(unknown)}); give the file that belongs to this data set, or remove "
            f"these rows.{' ' + hint if hint.startswith('did') else ''}"
        )
    others = [name for name in names if name not in known[data.train]]
    if others:
        warn(
            f"review: decisions about {len(others)} images that are not in {data.train} have no "
            f"effect ({shorten(others)})"
        )


def _check_classes(path: str, decisions: list[Decision], classes: list[str]) -> None:
    known = {*classes, "", BACKGROUND}
    unknown = list(dict.fromkeys(d.class_name for d in decisions if d.class_name not in known))
    if unknown:
        raise InputError(
            f"pseudo.review is {path}, which names classes that the data set does not have "
            f"({shorten(unknown)}); {did_you_mean(unknown[0], classes)} Remove these rows, or add "
            "the classes to data.dataset.classes."
        )


def _check_sizes(path: str, images: Mapping[str, ImageState], dataset: VOCDataset) -> None:
    sizes = {name: dataset.image_size(i) for i, name in enumerate(dataset.names)}
    for name, state in images.items():
        size = sizes.get(name)
        for shape in state.shapes.values():
            drawn = tuple(shape.detail["size"])
            if size is not None and drawn != (size[1], size[0]):
                raise InputError(
                    f"pseudo.review is {path}, which holds a shape ({shape.kind}) drawn on {name} "
                    f"of {drawn[0]}x{drawn[1]} pixels, but the image has {size[1]}x{size[0]}; "
                    "review the image again, or restore the image that was reviewed."
                )
