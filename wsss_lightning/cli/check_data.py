"""Reports the images, tags, masks and boxes that training would read from a data set.

The command is in `check_data_command`.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.markup import escape
from rich.table import Table

from wsss_lightning.cli.checks import prepare_data
from wsss_lightning.cli.photo_folder import read_photos, write_split
from wsss_lightning.config.splits import splits_of
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.duplicates import near_duplicates, same_pixels
from wsss_lightning.data.report import (
    ImageReport,
    always_tagged,
    conflicts,
    examine,
    rare_classes,
    summary,
    survey_masks,
)
from wsss_lightning.errors import InputError
from wsss_lightning.figures.image_grid import Tile, image_grid, save_image
from wsss_lightning.figures.overlays import class_legend, mask_overlay
from wsss_lightning.steps.datasets import name_keys
from wsss_lightning.utils.console import console, print_plain, track
from wsss_lightning.utils.files import write_json

NAME = "check_data"  # name of the folder below `output_dir` and of the files
MAX_SHOWN = 5  # problems and notes that are printed; check_data.json has all
HEADINGS = {"notes": ("no notes", "notes"), "problems": ("no problems", "problems")}
BLANK = np.full((1, 1, 3), 255, np.uint8)


@dataclass
class Examined:
    """A split and the reports of its images."""

    dataset: VOCDataset
    images: list[ImageReport]

    def conflicts(self) -> list[tuple[str, str]]:
        """Names of images whose tags, masks and boxes contradict each other, and how."""
        return list(conflicts(self.images, self.dataset.classes))


def check_data(cfg: DictConfig) -> dict[str, Any]:
    """Examine all splits, print a report, and write check_data.json and check_data.png.

    Args:
        cfg: composed configuration.

    Returns:
        The content of check_data.json.

    Raises:
        InputError: a list, a file of tags or a value of the configuration cannot be used at all.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    photos = read_photos(cfg)
    prepare_data(cfg)
    if photos is not None:
        write_split(photos, folder)
    splits, problems, notes = {}, [], []
    for split in splits_of(cfg.data):
        splits[split], split_problems, split_notes = _examine(cfg, split)
        problems += split_problems
        notes += [f"{split}: {note}" for note in split_notes]
    train, val = splits[cfg.data.train], cfg.data.val
    notes += [
        f"{name} ({split}): {conflict}"
        for split, examined in splits.items()
        for name, conflict in examined.conflicts()
    ]
    tag_problems, tag_notes = _check_tags(train.dataset)
    equal, similar = _duplicates(splits, cfg.data.train, val)
    problems += tag_problems
    problems += [f"the same pixels in {cfg.data.train} and {val}: {g}" for g in equal["across"]]
    notes += tag_notes
    notes += [f"the same pixels twice in a split: {group}" for group in equal["within"]]
    notes += [
        f"near-duplicates: {one} ({cfg.data.train}), {other} ({val})" for one, other in similar
    ]
    report = {
        "data": cfg.data.name,
        "root": str(train.dataset.root),
        "splits": {
            split: summary(examined.images, train.dataset.classes)
            for split, examined in splits.items()
        },
        "problems": list(map(name_keys, problems)),
        "notes": notes,
    }
    write_json(folder / f"{NAME}.json", report)
    _write_image(folder / f"{NAME}.png", cfg, splits, [*equal["across"], *map(list, similar)])
    print_report(report, train.dataset.classes)
    print_plain(f"images   {os.path.relpath(folder)}/{NAME}.png")
    print_plain(f"results  {os.path.relpath(folder)}/{NAME}.json")
    return report


def _examine(cfg: DictConfig, split: str) -> tuple[Examined, list[str], list[str]]:
    """Decode a split; return its images, problems and notes."""
    unreadable: dict[str, str] = {}
    dataset = instantiate(cfg.data.dataset)(split=split, problems=unreadable)
    images = list(track(examine(dataset, cfg.workers), len(dataset), f"{NAME} {split}"))
    survey = survey_masks(dataset, images)
    problems = [*dict.fromkeys(unreadable.values())]
    problems += dict.fromkeys(message for image in images for message in image.problems)
    problems += survey.problems()
    return Examined(dataset, images), problems, [*dataset.notes, *survey.notes()]


def _check_tags(train: VOCDataset) -> tuple[list[str], list[str]]:
    """Problems and notes about the tags of the training split."""
    problems = []
    absent, rare = rare_classes(train.tags.numpy(), train.classes)
    if absent:
        problems.append(
            f"no image of {train.split} is tagged {', '.join(absent)}, so these classes cannot be "
            "learnt; add images, or remove the classes from data.dataset.classes and mask_ids."
        )
    if always := always_tagged(train.tags.numpy(), train.classes):
        problems.append(
            f"every image of {train.split} is tagged {', '.join(always)}. A classifier needs "
            "images without it to learn it; add some (an image without any class "
            "is kept by data.dataset.on_missing_labels=background), or learn from boxes or masks."
        )
    notes = [f"few images of {train.split} compared with the most frequent class: {rare}"]
    return problems, notes if rare else []


def _duplicates(
    splits: Mapping[str, Examined], train: str, val: str | None
) -> tuple[dict[str, list[list[str]]], list[tuple[str, str]]]:
    """Groups of equal images within a split and across both, and near-duplicates across both."""
    within = [group for examined in splits.values() for group in same_pixels(examined.images)]
    if val is None or len(splits) < 2:
        return {"within": within, "across": []}, []
    first, second = splits[train].images, splits[val].images
    of_train = {image.digest: image.name for image in first if image.digest}
    across = [[of_train[i.digest], i.name] for i in second if i.digest in of_train]
    return {"within": within, "across": across}, near_duplicates(first, second)


def print_report(report: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Print a table of counts, then notes and problems."""
    splits = report["splits"]
    table = Table(title=f"{report['data']}: data that training would read", min_width=40)
    table.add_column("")
    for split in splits:
        table.add_column(split, justify="right")
    for row in ("images", "tagged", "tags_an_image", "masks", "mask_modes", "boxes"):
        table.add_row(row.replace("_", " "), *(_cell(s[row]) for s in splits.values()))
    for side in ("width", "height"):
        cells = ("{least} to {most}, median {median}".format(**s[side]) for s in splits.values())
        table.add_row(side, *cells)
    ids = (", ".join(s["images_with_id"]) for s in splits.values())
    table.add_row("ids in masks", *(text[:60] for text in ids))
    for name in classes:
        table.add_row(escape(name), *(_class_cell(split, name) for split in splits.values()))
    ignored = (s["ignored"] for s in splits.values())
    table.add_row("ignored (255)", *("" if x is None else f"{100 * x:.1f} %" for x in ignored))
    console.print(table)
    for kind, colour in (("notes", "yellow"), ("problems", "red")):
        lines = report[kind]
        none, heading = HEADINGS[kind]
        console.print(f"[{colour}]{len(lines)} {heading}[/]" if lines else none)
        for line in lines[:MAX_SHOWN]:
            print_plain(f"  {line}")
        if len(lines) > MAX_SHOWN:
            console.print(f"  and {len(lines) - MAX_SHOWN} more in {NAME}.json")


def _class_cell(split: Mapping[str, Any], name: str) -> str:
    cell = f"{split['images_of_class'][name]} images"
    if split["masks"]:
        cell += f", {100 * split['share_of_pixels'].get(name, 0):.1f} % of pixels"
    return cell


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {count}" for key, count in value.items())
    return "none" if value is None else str(value)


@dataclass(frozen=True)
class Example:
    """An image of check_data.png: its split, name, caption, and its duplicate in the val split."""

    split: str
    name: str
    caption: str
    duplicate: str = ""


def _examples(
    cfg: DictConfig, splits: Mapping[str, Examined], duplicates: Sequence[Sequence[str]]
) -> list[Example]:
    """Duplicates, conflicts, then evenly spaced images of the training split."""
    train, val, count = cfg.data.train, cfg.data.val, cfg.num_previews
    half = max(1, count // 2)
    chosen = [
        Example(train, one, f"{one} ({train}) is a duplicate of {other} ({val})", other)
        for one, other, *_ in duplicates[:half]
    ]
    in_conflict = [
        Example(split, name, f"{name} ({split}): {conflict}")
        for split, examined in splits.items()
        for name, conflict in examined.conflicts()
    ]
    chosen += in_conflict[:half]
    readable = [image.name for image in splits[train].images if image.digest]
    if readable:
        indices = np.linspace(0, len(readable) - 1, count).round().astype(int).tolist()
        chosen += [Example(train, readable[i], f"{readable[i]} ({train})") for i in indices]
    by_image: dict[tuple[str, str], Example] = {}
    for example in chosen:
        if len(by_image) < count or example.duplicate or example in in_conflict:
            by_image.setdefault((example.split, example.name), example)
    return list(by_image.values())


def _write_image(
    path: Path,
    cfg: DictConfig,
    splits: Mapping[str, Examined],
    duplicates: Sequence[Sequence[str]],
) -> None:
    """Write a grid of examples: each image, its true mask, and its duplicate."""
    examples = _examples(cfg, splits, duplicates)
    index = {
        (split, name): i
        for split, examined in splits.items()
        for i, name in enumerate(examined.dataset.names)
    }
    rows, masks = [], []
    for example in examples:
        dataset, i = splits[example.split].dataset, index[example.split, example.name]
        image = np.asarray(dataset.image(i))
        row = {"image": image, "true mask": BLANK}
        if any(one.duplicate for one in examples):
            row["duplicate"] = BLANK
        try:
            masks.append(dataset.mask(i))
            row["true mask"] = mask_overlay(image, masks[-1])
        except InputError:  # listed among the problems
            pass
        if example.duplicate:
            val = splits[cfg.data.val].dataset
            row["duplicate"] = np.asarray(val.image(index[cfg.data.val, example.duplicate]))
        rows.append({heading: [Tile(picture)] for heading, picture in row.items()})
    if rows:
        classes = splits[cfg.data.train].dataset.classes
        legend = class_legend(masks, classes) if masks else {}
        captions = [example.caption for example in examples]
        save_image(path, image_grid(rows, captions, legend, tile=200))


if __name__ == "__main__":
    from wsss_lightning.__main__ import main

    main(["check-data", *sys.argv[1:]])
