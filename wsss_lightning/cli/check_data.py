"""Report what training will see of a data set: `python -m wsss_lightning.cli.check_data data=NAME`.

Words are those of the main command. Every image and mask of both splits is decoded in full, and
all that is wrong is told at once. Exit code 0: fine; 1: training would refuse something, or scores
would be false. Beside the terminal: doctor.json and doctor.png in a folder below `runs/doctor`.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wsss_lightning.cli.run import checked_data, command, options_first
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
from wsss_lightning.figures.image_grid import image_grid, save_image
from wsss_lightning.figures.overlays import class_legend, mask_overlay
from wsss_lightning.steps.datasets import name_keys
from wsss_lightning.utils.console import track
from wsss_lightning.utils.files import write_json

console = Console()
SHOWN = 5  # of each kind of finding, in the terminal; doctor.json has all
HEADINGS = {
    "notes": ("nothing else worth a look", "worth a look"),
    "problems": ("no problems", "problems"),
}
BLANK = np.full((1, 1, 3), 255, np.uint8)


def main() -> None:
    """Entry of `python -m wsss_lightning.cli.check_data`."""
    words = options_first(sys.argv[1:])
    if {"--help", "-h"} & set(words):
        print(__doc__)
        return
    if not any(word.startswith("experiment=") for word in words):
        words.append("experiment=cam")  # composition wants one; nothing of it is looked at
    folder = "${runs}/doctor/${run_name:${hydra.overrides.task}}"
    found: list[dict[str, Any]] = []
    command([*words, f"hydra.run.dir='{folder}'"], lambda cfg: found.append(report(cfg)))
    if any(one["problems"] for one in found):
        sys.exit(1)


def report(cfg: DictConfig) -> dict[str, Any]:
    """Examine all splits, print what was found, and leave doctor.json and doctor.png.

    Raises:
        InputError: a list, a file of tags or a value of the configuration cannot be used at all.
    """
    checked_data(cfg)
    folder = Path(HydraConfig.get().runtime.output_dir)
    reads, seen, problems, notes = {}, {}, [], []
    for split in splits_of(cfg.data):
        wrong: dict[str, str] = {}
        read = instantiate(cfg.data.dataset)(split=split, problems=wrong)
        reads[split] = read
        seen[split] = list(track(examine(read, cfg.workers), len(read), f"doctor {split}"))
        problems += [*dict.fromkeys(wrong.values())]
        problems += dict.fromkeys(message for one in seen[split] for message in one.problems)
        survey = survey_masks(read, seen[split])
        problems += survey.problems()
        notes += [f"{split}: {note}" for note in (*read.notes, *survey.notes())]
    train, val = reads[cfg.data.train], cfg.data.val
    absent, rare = rare_classes(train.tags.numpy(), train.classes)
    if absent:
        problems.append(
            f"no image of {train.split} is tagged {', '.join(absent)}: these are never learnt; add "
            "images, or leave the classes out by data.dataset.classes and mask_ids."
        )
    if always := always_tagged(train.tags.numpy(), train.classes):
        problems.append(
            f"every image of {train.split} is tagged {', '.join(always)}: without images that lack "
            "it, a classifier cannot learn what it looks like; add some (a picture of no class is "
            "kept by data.dataset.on_missing_labels=background), or learn from boxes or masks."
        )
    notes += [f"{name} ({split}): {told}" for split, name, told in _conflicts(reads, seen)]
    if rare:
        notes.append(f"few images of {train.split} beside the most frequent class: {rare}")
    groups, pairs = _duplicates(seen, cfg)
    problems += [f"the same pixels in {train.split} and {val}: {g}" for g in groups["across"]]
    notes += [f"the same pixels twice in a split: {group}" for group in groups["within"]]
    notes += [f"look the same: {one} ({train.split}), {two} ({val})" for one, two in pairs]
    problems = list(map(name_keys, problems))
    told = {
        "data": cfg.data.name,
        "root": str(train.root),
        "splits": {split: summary(seen[split], train.classes) for split in reads},
        "problems": problems,
        "notes": notes,
    }
    write_json(folder / "doctor.json", told)
    _sheet(folder / "doctor.png", cfg, reads, seen, [*groups["across"], *map(list, pairs)])
    show(told, train.classes)
    console.print(f"sheet    {os.path.relpath(folder)}/doctor.png", soft_wrap=True)
    console.print(f"results  {os.path.relpath(folder)}/doctor.json", soft_wrap=True)
    return told


def _conflicts(
    reads: dict[str, VOCDataset], seen: dict[str, list[ImageReport]]
) -> list[tuple[str, str, str]]:
    return [
        (split, name, told)
        for split, read in reads.items()
        for name, told in conflicts(seen[split], read.classes)
    ]


def _duplicates(
    seen: dict[str, list[ImageReport]], cfg: DictConfig
) -> tuple[dict[str, list[list[str]]], list[tuple[str, str]]]:
    """Groups of equal images within a split and across both, and pairs across that look alike."""
    within = [group for part in seen.values() for group in same_pixels(part)]
    if len(seen) < 2:
        return {"within": within, "across": []}, []
    first, second = seen[cfg.data.train], seen[cfg.data.val]
    of_train = {one.digest: one.name for one in first if one.digest}
    across = [[of_train[o.digest], o.name] for o in second if o.digest in of_train]
    return {"within": within, "across": across}, near_duplicates(first, second)


def show(told: dict[str, Any], classes: list[str]) -> None:
    """Tables of counts, then what is wrong and what is worth a look."""
    splits = told["splits"]
    table = Table(title=f"{told['data']}: what training will see", min_width=40)
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
        lines = told[kind]
        none, heading = HEADINGS[kind]
        console.print(f"[{colour}]{len(lines)} {heading}[/]" if lines else none)
        for line in lines[:SHOWN]:
            console.print(f"  {line}", soft_wrap=True, markup=False, highlight=False)
        if len(lines) > SHOWN:
            console.print(f"  and {len(lines) - SHOWN} more in doctor.json")


def _class_cell(split: dict[str, Any], name: str) -> str:
    cell = f"{split['images_of_class'][name]} images"
    if split["masks"]:
        cell += f", {100 * split['share_of_pixels'].get(name, 0):.1f} % of pixels"
    return cell


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {count}" for key, count in value.items())
    return "none" if value is None else str(value)


def _sheet(
    path: Path,
    cfg: DictConfig,
    reads: dict[str, VOCDataset],
    seen: dict[str, list[ImageReport]],
    alike: list[list[str]],
) -> None:
    """Pairs that look the same, conflicts, then evenly chosen images of the training split."""
    place = {(s, name): i for s, read in reads.items() for i, name in enumerate(read.names)}
    train, val = cfg.data.train, cfg.data.val
    chosen: dict[tuple[str, str], tuple[str, str]] = {}  # split and name: caption, its double
    for one, two, *_ in alike[: max(1, cfg.num_previews // 2)]:
        chosen[train, one] = (f"{one} ({train}) looks the same as {two} ({val})", two)
    for split, name, told in _conflicts(reads, seen)[: max(1, cfg.num_previews // 2)]:
        chosen.setdefault((split, name), (f"{name} ({split}): {told}", ""))
    readable = [one.name for one in seen[train] if one.digest]
    for i in np.linspace(0, len(readable) - 1, cfg.num_previews).round().astype(int).tolist():
        if readable and len(chosen) < cfg.num_previews:
            chosen.setdefault((train, readable[i]), (f"{readable[i]} ({train})", ""))
    rows, captions, used = [], [], []
    for (split, name), (caption, other) in chosen.items():
        image = np.asarray(reads[split].image(place[split, name]))
        row = {"image": image, "true mask": BLANK}
        if any(double for _, double in chosen.values()):
            row["looks the same"] = BLANK
        try:
            mask = reads[split].mask(place[split, name])
            used.append(mask)
            row["true mask"] = mask_overlay(image, mask)
        except InputError:  # told among the problems
            pass
        if other:
            row["looks the same"] = np.asarray(reads[val].image(place[val, other]))
        rows.append(row)
        captions.append(caption)
    if rows:
        legend = class_legend(used, reads[train].classes) if used else {}
        save_image(path, image_grid(rows, captions, legend, tile=200))


if __name__ == "__main__":
    main()
