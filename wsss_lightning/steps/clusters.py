"""Sub-categories: features of images, and clusters of the images of each class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from wsss_lightning.cache.step import step
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.methods.sc_cam.clusters import ABSENT, quality
from wsss_lightning.methods.sc_cam.clusters import cluster as cluster_features
from wsss_lightning.methods.sc_cam.features import PooledFeatures
from wsss_lightning.methods.sc_cam.files import (
    CLUSTERS,
    FEATURES,
    collect_features,
    load_features,
    read_subcategories,
    save_clusters,
)
from wsss_lightning.steps.config_nodes import settings_of
from wsss_lightning.steps.datasets import data_module, datasets_of
from wsss_lightning.steps.metrics_file import save_metrics
from wsss_lightning.steps.runtime import Runtime, name_of, predict_images
from wsss_lightning.steps.train import load
from wsss_lightning.training.callbacks.feature_writer import FeatureWriter
from wsss_lightning.utils.console import track
from wsss_lightning.utils.files import write_json, write_table


@step(memory_keys=("cam.batch_size", "cam.long_side"))
def features(
    folder: Path,
    *,
    runtime: Runtime,
    trained: Path,
    data: DictConfig,
    split: str,
    settings: DictConfig,
    peak: float | None,
) -> None:
    """Features of every image of a split, in one file.

    Args:
        folder: to write to.
        runtime: trainer and processes.
        trained: folder of a trained `TagMethod`.
        data: configuration of the data set.
        split: split whose images are read.
        settings: the node `cam` of the configuration.
        peak: as in `PooledFeatures`.
    """
    method: Any = load(trained)
    cam_settings = CamSettings(
        long_side=settings.long_side,
        alignment=settings.alignment,
        stride=method.net.backbone.output_stride,
    )
    writer = FeatureWriter(folder)
    images = data_module(
        data, runtime, eval_batch_size=settings.batch_size, predict=split, skip=writer.done()
    )
    predict_images(runtime, folder, PooledFeatures(method, cam_settings, peak), images, writer)
    collect_features(folder, datasets_of(data)(split, with_masks=False).names)


def cluster(
    folder: Path,
    *,
    features: Path,
    data: DictConfig,
    split: str,
    count: int,
    clusters: DictConfig,
) -> None:
    """Cluster the images of each class into sub-categories, and measure the clusters.

    clusters.npz holds the cluster of each image and class; clusters.csv the same as text;
    classes.json sizes, silhouette and stability of each class's clusters, and their agreement with
    true sub-categories where these are known (`data.subcategories`); metrics.json the means.

    Args:
        folder: to write to.
        features: folder of `features`.
        data: configuration of the data set.
        split: split whose images are clustered.
        count: number of clusters of a class.
        clusters: settings of k-means, and the number of further clusterings that measure stability.
    """
    dataset = datasets_of(data)(split, with_masks=False)
    names, stored = dataset.names, load_features(features / FEATURES)
    seed = torch.initial_seed() % 2**32
    settings = settings_of(clusters)
    other_seeds = [(seed + k) % 2**32 for k in range(1, settings.pop("stability") + 1)]
    known = (
        read_subcategories(dataset.root / data.subcategories, names, dataset.classes)
        if data.subcategories
        else None
    )
    numbers = np.full((len(names), dataset.num_classes), ABSENT, np.int64)
    classes = {}
    for c in track(range(dataset.num_classes), dataset.num_classes, name_of(folder)):
        rows = np.flatnonzero(dataset.tags[:, c].numpy())
        if len(rows) == 0:
            continue
        of_class = stored.of_class(c, [names[i] for i in rows])
        numbers[rows, c] = cluster_features(of_class, count, **settings, seed=seed)
        others = [cluster_features(of_class, count, **settings, seed=one) for one in other_seeds]
        true = None if known is None else known[rows, c]
        classes[dataset.classes[c]] = quality(of_class, numbers[rows, c], count, others, true, seed)
    save_clusters(folder / CLUSTERS, names, numbers, count)
    present = zip(*np.nonzero(numbers != ABSENT), strict=True)
    table = [(names[i], dataset.classes[c], numbers[i, c]) for i, c in present]
    write_table(folder / "clusters.csv", [("name", "class", "cluster"), *table])
    write_json(folder / "classes.json", classes)
    save_metrics(folder, _means(classes))


def _means(classes: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Mean of each measure over the classes that have it."""
    means = {}
    for key in ("silhouette", "stability", "recovery"):
        values = [one[key] for one in classes.values() if one.get(key) is not None]
        if values:
            means[key] = float(np.mean(values))
    return means
