"""Which images of a split are shown, and the pictures of an image after each step.

Letters: n images, l labels of an image, H W an image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.scores import load_mask, load_score
from wsss_lightning.data.stage_files import image_file
from wsss_lightning.data.tag_probabilities import PROBABILITIES_FILE, load_probabilities
from wsss_lightning.evaluation.metrics import count_pixels, iou, miou
from wsss_lightning.evaluation.pixel_counts import PIXEL_COUNTS_FILE, load_pixel_counts
from wsss_lightning.figures.image_grid import Cell, Tile
from wsss_lightning.figures.overlays import confidence_overlay, heat_overlay, mask_overlay
from wsss_lightning.steps.quality import load_quality

Mask = UInt8[np.ndarray, "_ _"]


# choice of images


@dataclass(frozen=True)
class Ranking:
    """A score by which images are ordered.

    Args:
        meaning: name of the score, such as "mIoU of the pseudo mask".
        values: score in [0, 1] of each image, by name.
    """

    meaning: str
    values: Mapping[str, float]

    def order(self) -> list[str]:
        """Names of the images, lowest score first."""
        return sorted(self.values, key=lambda name: (self.values[name], name))

    def text(self, name: str) -> str:
        """Meaning and score of an image, in percent."""
        return f"{self.meaning} {100 * self.values[name]:.0f} %"


@dataclass(frozen=True)
class Choice:
    """An image to show.

    Args:
        index: position in its split.
        note: its place in the ranking, such as "worst of 300: mIoU of the pseudo mask 12 %"; empty
            for others.
    """

    index: int
    note: str = ""


def ranking_by_miou(evaluation: Path, masks: str) -> Ranking | None:
    """mIoU of each image over the labels of its true mask; None without true masks.

    Args:
        evaluation: folder of an evaluation.
        masks: name of the evaluated masks, such as "pseudo mask".
    """
    if not (evaluation / PIXEL_COUNTS_FILE).is_file():
        return None
    counts = load_pixel_counts(evaluation)
    values = iou(torch.from_numpy(counts.matrices)).nanmean(-1).tolist()
    known = {
        name: value for name, value in zip(counts.names, values, strict=True) if value == value
    }
    return Ranking(f"mIoU of the {masks}", known) if known else None


def ranking_by_quality(folder: Path) -> Ranking | None:
    """Estimated quality of each image's pseudo mask; None if the table is empty.

    Args:
        folder: folder of the step `quality`.
    """
    values = load_quality(folder).images
    return Ranking("estimated quality", values) if values else None


def evenly_spaced(length: int, count: int) -> list[int]:
    """At most `count` evenly spaced positions from the first to the last."""
    return np.unique(np.linspace(0, length - 1, count).round().astype(int)).tolist()


def choose_images(dataset: VOCDataset, count: int, ranking: Ranking | None) -> list[Choice]:
    """Evenly spaced images, then the worst and the best of the others; each image once.

    Images without a tag are not ranked, because they show no class that could be missed.

    Args:
        dataset: dataset of the split.
        count: number of evenly spaced images. A quarter of it, at least one, is the number of the
            worst and that of the best images, which are added.
        ranking: None adds no image.
    """
    notes = {}
    if ranking is not None:
        tagged = tagged_names(dataset)
        of_tagged = {name: value for name, value in ranking.values.items() if name in tagged}
        notes = ranked_notes(Ranking(ranking.meaning, of_tagged), max(1, count // 4))
    chosen = [dataset.names[i] for i in evenly_spaced(len(dataset), count)]
    position = {name: i for i, name in enumerate(dataset.names)}
    added = [name for name in notes if name not in chosen]
    return [Choice(position[name], notes.get(name, "")) for name in [*chosen, *added]]


def tagged_names(dataset: VOCDataset) -> set[str]:
    """Names of the images that have a tag."""
    has_tag = dataset.tags.any(1).tolist()
    return {name for name, has in zip(dataset.names, has_tag, strict=True) if has}


def ranked_notes(ranking: Ranking, count: int) -> dict[str, str]:
    """Place in the ranking of the worst images, then of the best, by name.

    Args:
        ranking: score of each image.
        count: number of the worst, and of the best; an image is not both.
    """
    ordered = ranking.order()
    worst = ordered[: min(count, -(-len(ordered) // 2))]
    best = ordered[::-1][: min(count, len(ordered) - len(worst))]
    notes = {}
    for place, names in (("worst", worst), ("best", best)):
        for i, name in enumerate(names):
            ordinal = place if i == 0 else f"{_ordinal(i + 1)} {place}"
            notes[name] = f"{ordinal} of {len(ordered)}: {ranking.text(name)}"
    return notes


def _ordinal(number: int) -> str:
    ending = (
        "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    )
    return f"{number}{ending}"


# pictures of an image


@dataclass(frozen=True)
class StepFolders:
    """Results of the steps that are shown.

    Args:
        masks: folders of masks, by heading.
        seeds: folder of CAM scores.
        marginals: folder of the marginals of the last refinement.
        probabilities: probability of each tag, by name of image and class.
    """

    masks: Mapping[str, Path]
    seeds: Path | None = None
    marginals: Path | None = None
    probabilities: Mapping[str, Mapping[str, float]] | None = None


@dataclass(frozen=True)
class ClassScore:
    """CAM score of a class.

    Args:
        name: name of the class.
        score: in [0, 1].
        probability: probability of the tag; None: unknown.
    """

    name: str
    score: Float32[np.ndarray, "H W"]
    probability: float | None

    @property
    def numbers(self) -> str:
        """Highest score, and the probability of the tag if it is known."""
        peak = f"peak {self.score.max(initial=0):.2f}"
        return peak if self.probability is None else f"{peak}, p {self.probability:.2f}"


def stored_probabilities(folder: Path | None) -> dict[str, dict[str, float]] | None:
    """Probabilities that the step `tag_probabilities` left in a folder; None without a folder."""
    return None if folder is None else load_probabilities(folder / PROBABILITIES_FILE)


def class_scores(
    dataset: VOCDataset, i: int, seeds: Path, probabilities: Mapping[str, float] | None
) -> list[ClassScore]:
    """CAM scores of the tags of an image, and of further classes that have one.

    Args:
        dataset: dataset of the split.
        i: index of the image.
        seeds: folder of CAM scores; a class that it lacks has the score 0.
        probabilities: probability of each class for this image; None: unknown.
    """
    stored, labels = load_score(image_file(seeds, dataset.names[i], ".npz"))
    of_class = dict(zip((labels - 1).tolist(), stored, strict=True))
    tagged = np.flatnonzero(dataset.tags[i].numpy()).tolist()
    none = np.zeros(dataset.image_size(i), np.float32)
    shown = []
    for c in sorted({*tagged, *of_class}):
        name = dataset.classes[c]
        known = None if probabilities is None else probabilities.get(name)
        shown.append(ClassScore(name, of_class.get(c, none), known))
    return shown


def confidence(path: Path) -> Float32[np.ndarray, "H W"]:
    """Probability of the most probable label of each pixel, from a file of marginals."""
    marginals, _ = load_score(path)
    return marginals.max(0)


def preview_row(
    dataset: VOCDataset, i: int, steps: StepFolders
) -> tuple[dict[str, Cell], dict[str, Mask]]:
    """Pictures of an image after each step, and its masks, by heading.

    Masks are labelled with their mIoU over the labels of the true mask, if there is one.

    Args:
        dataset: dataset of the split.
        i: index of the image.
        steps: results of the steps.
    """
    name, image = dataset.names[i], np.asarray(dataset.image(i))
    row: dict[str, Cell] = {"image": [Tile(image)]}
    truth = dataset.mask(i) if dataset.has_masks() else None
    if truth is not None:
        row["truth"] = [Tile(mask_overlay(image, truth))]
    if steps.seeds is not None:
        known = None if steps.probabilities is None else steps.probabilities.get(name)
        scores = class_scores(dataset, i, steps.seeds, known)
        tiles = [
            Tile(heat_overlay(image, one.score), f"{one.name}: {one.numbers}") for one in scores
        ]
        nothing = np.zeros(image.shape[:2], np.float32)
        row["CAM"] = tiles or [Tile(heat_overlay(image, nothing), "no tag")]
    if steps.marginals is not None:
        sure = confidence(image_file(steps.marginals, name, ".npz"))
        row["confidence"] = [Tile(confidence_overlay(image, sure), f"mean {sure.mean():.2f}")]
    masks = {
        heading: load_mask(image_file(folder, name, ".png"))
        for heading, folder in steps.masks.items()
    }
    for heading, mask in masks.items():
        label = "" if truth is None else miou_label(mask, truth, dataset.num_classes + 1)
        row[heading] = [Tile(mask_overlay(image, mask), label)]
    return row, masks


def identical_columns(masks: Sequence[Mapping[str, Mask]]) -> list[list[str]]:
    """Headings in groups of the same masks in every row, in their order.

    Args:
        masks: masks of each row by heading; a row may lack some.
    """
    groups: list[list[str]] = []
    for heading in dict.fromkeys(heading for row in masks for heading in row):
        for group in groups:
            if all(_same(row.get(heading), row.get(group[0])) for row in masks):
                group.append(heading)
                break
        else:
            groups.append([heading])
    return groups


def _same(one: Mask | None, other: Mask | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def merge_columns(
    rows: Sequence[Mapping[str, Cell]], groups: Sequence[Sequence[str]]
) -> list[dict[str, Cell]]:
    """Replace the columns of each group by its first one, with a heading such as "CRF = labels".

    Args:
        rows: tiles by heading.
        groups: headings whose columns are identical.
    """
    renamed = {group[0]: " = ".join(group) for group in groups}
    dropped = {heading for group in groups for heading in group[1:]}
    return [
        {
            renamed.get(heading, heading): cell
            for heading, cell in row.items()
            if heading not in dropped
        }
        for row in rows
    ]


def miou_label(mask: Mask, truth: Mask, num_labels: int) -> str:
    """mIoU of a mask over the labels of the true mask; empty if all pixels are ignored."""
    counted = count_pixels(torch.from_numpy(mask), torch.from_numpy(truth), num_labels)
    value = miou(counted)
    return "" if value != value else f"mIoU {100 * value:.0f} %"
