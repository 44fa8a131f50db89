"""Quality of pseudo masks, estimated without true masks."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from omegaconf import DictConfig

from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.scores import load_cam, load_mask, load_score, save_mask
from wsss_lightning.data.stage_files import image_file
from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.consistency import FoldClassifiers, at_cells, sample_cells
from wsss_lightning.evaluation.metrics import iou
from wsss_lightning.evaluation.pixel_counts import PIXEL_COUNTS_FILE, load_pixel_counts
from wsss_lightning.evaluation.quality import (
    combine,
    edge_evidence,
    expected_iou,
    largest_part,
    mask_iou,
    rank_correlation,
    worst_found,
)
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.metrics_file import save_metrics
from wsss_lightning.steps.runtime import name_of
from wsss_lightning.utils.console import track
from wsss_lightning.utils.files import write_table, write_text

TABLE: Final = "quality.csv"
WHOLE_IMAGE: Final = ""
"""Class of the rows of whole images."""
MIN_IMAGES: Final = 10
"""Smallest number of masks of a class for a rank correlation within the class."""


@dataclass(frozen=True)
class QualityTable:
    """Content of `quality.csv`.

    Args:
        masks: quality of each mask of a tagged class, in (0, 1), by image and class.
        images: quality of each image, the mean over its classes; 1 for images without tags.
    """

    masks: Mapping[tuple[str, str], float]
    images: Mapping[str, float]


def quality(
    folder: Path,
    *,
    data: DictConfig,
    split: str,
    masks: Path,
    cams: Path | None = None,
    marginals: Path | None = None,
) -> None:
    """Quality of the pseudo mask of each image and tagged class, in `quality.csv`.

    Columns: name, class, quality in (0, 1), and the signals that it combines, all in [0, 1]. A row
    without class holds the means over the classes of an image; its quality is 1 if the image has no
    tags, since no class can be wrong. Signals:

    - edge: the contour follows edges of the image (`edge_evidence`).
    - largest: share of the largest connected component.
    - consistency: IoU with the labels that a classifier of `cams` predicts, which was fitted on
      the masks of other images (`FoldClassifiers`).
    - network: IoU that `marginals` lead to expect.

    Args:
        folder: to write to.
        data: configuration of the data set.
        split: split of the masks.
        masks: folder of pseudo masks.
        cams: folder of `class_cams`.
        marginals: folder of a segmentation network's marginals.
    """
    dataset = datasets_of(data)(split, with_masks=False)
    read = _Reader(dataset, masks, cams, marginals)
    keys: list[tuple[str, str]] = []
    rows: list[dict[str, float]] = []
    for i in track(range(len(dataset)), len(dataset), name_of(folder)):
        for c, signals in read.signals(i).items():
            keys.append((dataset.names[i], dataset.classes[c]))
            rows.append(signals)
    values = {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    combined = combine(values) if rows else np.zeros(0)
    _write(folder / TABLE, dataset.names, keys, {"quality": combined, **values})


def load_quality(folder: Path) -> QualityTable:
    """Read the table that `quality` wrote to a folder.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = folder / TABLE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                (row["name"], row["class"], float(row["quality"])) for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as a table with columns name, class and quality ({error!r}); "
            "delete its folder and repeat the run."
        ) from error
    return QualityTable(
        masks={(name, c): value for name, c, value in rows if c != WHOLE_IMAGE},
        images={name: value for name, c, value in rows if c == WHOLE_IMAGE},
    )


def evaluate_quality(folder: Path, *, quality: Path, counts: Path, classes: Sequence[str]) -> None:
    """Rank correlation of the estimated quality with true IoU, into metrics.json.

    spearman: over all masks of tagged classes. spearman_class: mean within the classes that have
    at least `MIN_IMAGES` masks. spearman_image: over images. worst_fifth: share of the truly worst
    fifth of the masks among the fifth that is estimated to be the worst. Masks of classes without
    a true pixel do not count. Metrics that too few masks define are left out.

    Args:
        folder: to write to.
        quality: folder of `quality`.
        counts: folder of `evaluate_masks` of the same masks; empty without true masks.
        classes: names of the classes, without background.
    """
    if not (counts / PIXEL_COUNTS_FILE).is_file():
        return save_metrics(folder, {})
    counted, estimated = load_pixel_counts(counts), load_quality(quality)
    true = {
        (name, classes[c]): float(value)
        for name, matrix in zip(counted.names, counted.matrices, strict=True)
        for c, value in enumerate(_class_iou(matrix))
        if value == value and (name, classes[c]) in estimated.masks
    }
    pairs = [(estimated.masks[key], value) for key, value in true.items()]
    names = list(dict.fromkeys(name for name, _ in true))
    by_image = [
        (estimated.images[name], _mean([v for key, v in true.items() if key[0] == name]))
        for name in names
    ]
    by_class = [
        [(estimated.masks[key], value) for key, value in true.items() if key[1] == one]
        for one in classes
    ]
    within = [_correlate(of_class) for of_class in by_class if len(of_class) >= MIN_IMAGES]
    metrics = {
        "spearman": _correlate(pairs),
        "spearman_class": _mean([value for value in within if value == value]),
        "spearman_image": _correlate(by_image),
        "worst_fifth": worst_found([e for e, _ in pairs], [t for _, t in pairs]),
    }
    save_metrics(folder, {name: value for name, value in metrics.items() if value == value})


def drop_worst(
    folder: Path,
    *,
    quality: Path,
    masks: Path,
    data: DictConfig,
    split: str,
    share: float,
    keep: Sequence[str] = (),
) -> None:
    """Copy masks, and ignore all pixels of the images of the worst quality.

    `DataModule` leaves such images out of the epochs. dropped.txt lists them.

    Args:
        folder: to write to.
        quality: folder of `quality`.
        masks: folder of pseudo masks.
        data: configuration of the data set.
        split: split of the masks.
        share: share of the images, in [0, 1); rounded down to whole images.
        keep: names of images that are never dropped, such as those that a person accepted.
    """
    names = datasets_of(data)(split, with_masks=False).names
    images = load_quality(quality).images
    ordered = sorted(set(names).difference(keep), key=lambda name: (images[name], name))
    dropped = set(ordered[: int(share * len(names))])
    for name in track(names, len(names), name_of(folder)):
        mask = load_mask(image_file(masks, name, ".png"))
        if name in dropped:
            mask = np.full_like(mask, IGNORE)
        save_mask(image_file(folder, name, ".png"), mask)
    write_text(folder / "dropped.txt", "".join(f"{name}\n" for name in ordered if name in dropped))


class _Reader:
    """Reads what the signals of an image are computed from; arguments as in `quality`."""

    def __init__(
        self,
        dataset: VOCDataset,
        masks: Path,
        cams: Path | None,
        marginals: Path | None,
    ) -> None:
        self.dataset, self.masks = dataset, masks
        self.cams, self.marginals = cams, marginals
        self.classifiers = None if cams is None else self._fit(cams)

    def signals(self, i: int) -> dict[int, dict[str, float]]:
        """Signals of the mask of each tagged class of image i, by number of the class."""
        name, image = self.dataset.names[i], np.asarray(self.dataset.image(i))
        mask = self._mask(i)
        classes = np.flatnonzero(self.dataset.tags[i].numpy()).tolist()
        signals = {
            c: {
                "edge": edge_evidence(image, mask == c + 1),
                "largest": largest_part(mask == c + 1),
            }
            for c in classes
        }
        if self.classifiers is not None and self.cams is not None:
            cam = load_cam(image_file(self.cams, name, ".npz"))
            predicted = self.classifiers.predict(i, cam, [0, *(c + 1 for c in classes)])
            cells = at_cells(mask, cam.shape[1:])
            for c in classes:
                signals[c]["consistency"] = mask_iou(predicted == c + 1, cells == c + 1)
        if self.marginals is not None:
            marginal, labels = load_score(image_file(self.marginals, name, ".npz"))
            maps = dict(zip(labels.tolist(), marginal, strict=True))
            for c in classes:  # a negligible map is not stored
                of_class = mask == c + 1
                signals[c]["network"] = (
                    expected_iou(maps[c + 1], of_class) if c + 1 in maps else 0.0
                )
        return signals

    def _mask(self, i: int) -> np.ndarray:
        return load_mask(image_file(self.masks, self.dataset.names[i], ".png"))

    def _fit(self, cams: Path) -> FoldClassifiers:
        """Classifiers of some cells of every image."""
        seed, cells, labels = torch.initial_seed() % 2**32, [], []
        for i, name in enumerate(self.dataset.names):
            cam = load_cam(image_file(cams, name, ".npz"))
            size = (cam.shape[1], cam.shape[2])
            chosen = sample_cells(size, len(self.dataset), seed=seed + i)
            cells.append(cam.reshape(len(cam), -1).T[chosen])
            labels.append(at_cells(self._mask(i), size).ravel()[chosen])
        return FoldClassifiers(cells, labels)


def _write(
    path: Path,
    names: Sequence[str],
    keys: Sequence[tuple[str, str]],
    columns: Mapping[str, np.ndarray],
) -> None:
    """Write a row for each image, followed by the rows of its classes."""
    rows_of: dict[str, list[int]] = {name: [] for name in names}
    for row, (name, _) in enumerate(keys):
        rows_of[name].append(row)
    table: list[tuple[object, ...]] = [("name", "class", *columns)]
    for name, rows in rows_of.items():
        means = ["1", *[""] * (len(columns) - 1)]  # without tags
        if rows:
            means = [f"{values[rows].mean():.6f}" for values in columns.values()]
        table.append((name, WHOLE_IMAGE, *means))
        for row in rows:
            values = [f"{column[row]:.6f}" for column in columns.values()]
            table.append((name, keys[row][1], *values))
    write_table(path, table)


def _class_iou(matrix: np.ndarray) -> list[float]:
    """IoU of each class from an image's pixel counts; NaN without true pixels."""
    return iou(torch.from_numpy(matrix))[1:].tolist()


def _correlate(pairs: Sequence[tuple[float, float]]) -> float:
    return rank_correlation([first for first, _ in pairs], [second for _, second in pairs])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
