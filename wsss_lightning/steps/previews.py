"""Previews: images of a split after each step."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.scores import load_mask, load_score
from wsss_lightning.data.stage_files import class_file_names, image_file
from wsss_lightning.figures.charts import line_chart, save_chart
from wsss_lightning.figures.image_grid import image_grid, save_image
from wsss_lightning.figures.overlays import class_legend, heat_overlay, mask_overlay
from wsss_lightning.methods.sc_cam.files import CLUSTERS, FEATURES, load_clusters, load_features
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.runtime import name_of
from wsss_lightning.utils.console import track

Points = Mapping[str, Sequence[Sequence[float]]]
CLUSTER_COLUMNS = 8  # images per sub-category in a preview
CLUSTER_HEADINGS = ("nearest", *(f"{i}." for i in range(2, CLUSTER_COLUMNS)), "farthest")
BLANK = np.full((1, 1, 3), 255, np.uint8)


def previews(
    folder: Path,
    *,
    data: DictConfig,
    split: str,
    count: int,
    seeds: Path | None,
    steps: Mapping[str, Path],
) -> None:
    """One preview: a row for each of some evenly spaced images, a column for each step.

    Args:
        folder: to write to.
        data: configuration of the data set.
        split: split whose images are shown.
        count: number of images.
        seeds: folder of CAM scores.
        steps: folders of masks, by heading.
    """
    dataset = datasets_of(data)(split)
    rows, captions, shown_masks = [], [], []
    for i in evenly_spaced(len(dataset), count):
        row, masks = preview_row(dataset, i, seeds, steps)
        rows.append(row)
        shown_masks += masks
        captions.append(f"{dataset.names[i]}   tags: {tag_names(dataset, i)}")
    legend = class_legend(shown_masks, dataset.classes)
    save_image(folder / f"{split}.png", image_grid(rows, captions, legend, tile=200))


def cluster_previews(
    folder: Path, *, features: Path, clusters: Path, data: DictConfig, split: str
) -> None:
    """One preview per class, one row per cluster: the images nearest to its mean and the farthest.

    Args:
        folder: to write to.
        features: folder of `features`.
        clusters: folder of `cluster`.
        data: configuration of the data set.
        split: split whose images were clustered.
    """
    dataset = datasets_of(data)(split, with_masks=False)
    names, numbers, count = load_clusters(clusters / CLUSTERS)
    stored = load_features(features / FEATURES)
    files = class_file_names(dataset.classes)
    classes = list(enumerate(dataset.classes))
    for c, name in track(classes, dataset.num_classes, name_of(folder)):
        rows, captions = [], []
        for k in range(count):
            members = np.flatnonzero(numbers[:, c] == k)
            if len(members) == 0:
                continue
            of_cluster = stored.of_class(c, [names[i] for i in members])
            distance = np.linalg.norm(of_cluster - of_cluster.mean(0), axis=1)
            ranked = members[np.argsort(distance, kind="stable")]
            shown = [*ranked[: CLUSTER_COLUMNS - 1], *ranked[CLUSTER_COLUMNS - 1 :][-1:]]
            images = [np.asarray(dataset.image(int(i))) for i in shown]
            images += [BLANK] * (CLUSTER_COLUMNS - len(images))
            rows.append(dict(zip(CLUSTER_HEADINGS, images, strict=True)))
            captions.append(f"{name}, sub-category {k}: {len(members)} images")
        if rows:
            save_image(folder / f"{files[c]}.png", image_grid(rows, captions, {}, tile=120))


def round_chart(folder: Path, *, points: Points, title: str) -> None:
    """A chart of scores in [0, 1] over rounds.

    Args:
        folder: to write to.
        points: (round, score) of each line, by its name.
        title: title of the chart.
    """
    chart = line_chart(points, "round", "mIoU (%)", integer_x=True)
    chart.suptitle(title, fontsize=11)
    save_chart(chart, folder / "rounds.png")


def preview_row(
    dataset: VOCDataset, i: int, seeds: Path | None, steps: Mapping[str, Path]
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """An image and its result after each step, by heading, and their masks.

    Args:
        dataset: dataset of the split.
        i: index of the image.
        seeds: folder of CAM scores.
        steps: folders of masks, by heading.
    """
    name, image, masks = dataset.names[i], np.asarray(dataset.image(i)), []
    row = {"image": image}
    if dataset.has_masks():
        masks.append(dataset.mask(i))
        row["truth"] = mask_overlay(image, masks[-1])
    if seeds is not None:
        score, _ = load_score(image_file(seeds, name, ".npz"))
        row["CAM"] = heat_overlay(image, score.max(0, initial=0))
    for heading, folder in steps.items():
        masks.append(load_mask(image_file(folder, name, ".png")))
        row[heading] = mask_overlay(image, masks[-1])
    return row, masks


def tag_names(dataset: VOCDataset, i: int) -> str:
    """Classes of an image, separated by commas."""
    present = [c for c, tag in zip(dataset.classes, dataset.tags[i], strict=True) if tag]
    return ", ".join(present) or "none"


def evenly_spaced(length: int, count: int) -> list[int]:
    """At most `count` evenly spaced positions from the first to the last."""
    return np.unique(np.linspace(0, length - 1, count).round().astype(int)).tolist()
