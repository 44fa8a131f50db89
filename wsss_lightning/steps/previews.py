"""Previews: images of a split after each step."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.stage_files import class_file_names
from wsss_lightning.figures.charts import line_chart, save_chart
from wsss_lightning.figures.image_grid import Overlay, Tile, image_grid, save_image
from wsss_lightning.figures.overlays import class_legend, confidence_overlay, heat_overlay
from wsss_lightning.methods.sc_cam.files import CLUSTERS, FEATURES, load_clusters, load_features
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.preview_images import (
    StepFolders,
    choose_images,
    identical_columns,
    merge_columns,
    preview_row,
    ranking_by_miou,
    ranking_by_quality,
    stored_probabilities,
)
from wsss_lightning.steps.runtime import name_of
from wsss_lightning.utils.console import track

Points = Mapping[str, Sequence[Sequence[float]]]
CLUSTER_COLUMNS = 8  # images per sub-category in a preview
CLUSTER_HEADINGS = ("nearest", *(f"{i}." for i in range(2, CLUSTER_COLUMNS)), "farthest")
TILE = 160  # longer side of an image, pixels; eight images make a file of at most 2 MB
BLANK = np.full((1, 1, 3), 255, np.uint8)


def previews(
    folder: Path,
    *,
    data: DictConfig,
    split: str,
    count: int,
    steps: Mapping[str, Path],
    seeds: Path | None = None,
    marginals: Path | None = None,
    probabilities: Path | None = None,
    evaluation: Path | None = None,
    evaluated: str = "",
    quality: Path | None = None,
) -> None:
    """One preview: a row for each of some images, a column for each step.

    The images are evenly spaced; the worst and the best are added, by the mIoU of each image where
    there are true masks, otherwise by its estimated quality. Columns with the same masks in all
    rows become one.

    Args:
        folder: to write to.
        data: configuration of the data set.
        split: split whose images are shown.
        count: number of evenly spaced images, as in `choose_images`.
        steps: folders of masks, by heading.
        seeds: folder of CAM scores.
        marginals: folder of the marginals of the last refinement.
        probabilities: folder of `tag_probabilities`.
        evaluation: folder of `evaluate_masks`, by which images are ranked.
        evaluated: name of the evaluated masks, such as "pseudo mask".
        quality: folder of the step `quality`.
    """
    dataset = datasets_of(data)(split)
    ranking = None if evaluation is None else ranking_by_miou(evaluation, evaluated)
    if ranking is None and quality is not None:
        ranking = ranking_by_quality(quality)
    results = StepFolders(steps, seeds, marginals, stored_probabilities(probabilities))
    rows, masks, captions = [], [], []
    shown: list[np.ndarray] = []
    for choice in choose_images(dataset, count, ranking):
        row, of_steps = preview_row(dataset, choice.index, results)
        rows.append(row)
        masks.append(of_steps)
        shown += of_steps.values()
        if dataset.has_masks():
            shown.append(dataset.mask(choice.index))
        tags = f"tags: {tag_names(dataset, choice.index)}"
        captions.append("   ".join([dataset.names[choice.index], tags, choice.note]).rstrip())
    merged = merge_columns(rows, identical_columns(masks))
    legend = class_legend(shown, dataset.classes)
    page = image_grid(merged, captions, legend, TILE, colour_bars(results))
    save_image(folder / f"{split}.png", page)


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
            cells = ([Tile(image)] for image in images)
            rows.append(dict(zip(CLUSTER_HEADINGS, cells, strict=True)))
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


def colour_bars(steps: StepFolders) -> dict[str, Overlay]:
    """Overlays of the maps that are shown, by what their colours and labels stand for."""
    bars: dict[str, Overlay] = {}
    if steps.seeds is not None:
        known = steps.probabilities is not None
        meaning = "CAM (p: probability of the tag)" if known else "CAM"
        bars[meaning] = heat_overlay
    if steps.marginals is not None:
        bars["confidence"] = confidence_overlay
    return bars


def tag_names(dataset: VOCDataset, i: int) -> str:
    """Classes of an image, separated by commas."""
    present = [c for c, tag in zip(dataset.classes, dataset.tags[i], strict=True) if tag]
    return ", ".join(present) or "none"
