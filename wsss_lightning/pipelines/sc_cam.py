"""Image-level labels -> rounds of clustering and classification -> as `image_labels`."""

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le
from omegaconf import DictConfig, ListConfig, OmegaConf

from wsss_lightning.cache.stage_cache import StageCache
from wsss_lightning.data.supervision import TAGS
from wsss_lightning.errors import InputError
from wsss_lightning.pipelines.base import Experiment, Scores, learns_from
from wsss_lightning.pipelines.image_labels import image_labels
from wsss_lightning.steps.clusters import cluster, features
from wsss_lightning.steps.previews import cluster_previews


@learns_from(TAGS)
def sc_cam(
    cfg: DictConfig,
    cache: StageCache,
    rounds: Annotated[int, Ge(1), "the paper has 3"],
    init_from: Literal["backbone", "last_round"],
    peak: Annotated[float, Ge(0), Le(1), "0.7 is a start"] | None,
    clusters: DictConfig,
    first: DictConfig,
    first_schedule: DictConfig,
    stop_epochs: ListConfig | None,
    segment: bool,
) -> Scores:
    """Alternate between clustering the images of each class and learning to classify the clusters.

    With `fit.method.max_epochs=0` a trained network is loaded, and there are no rounds.

    Args:
        cfg: configuration of the run.
        cache: cache of the run's steps.
        rounds: number of rounds, 1 or more.
        init_from: weights that a round's network starts from: "backbone" for the pretrained
            backbone, "last_round" for the encoder of the previous round.
        peak: as in `methods.sc_cam.features.PooledFeatures`.
        clusters: settings of the clustering.
        first: module of round 0, whose features are clustered in round 1.
        first_schedule: schedule of its training.
        stop_epochs: epoch after which each round stops, within its schedule; None: at its end.
        segment: train and test the segmentation network.

    Source: Chang et al. 2020 (SC-CAM); `script.sh` of the official code.
    """
    if cfg.fit.method.max_epochs == 0:
        return image_labels(cfg, cache, segment)
    count = _check(cfg, rounds, init_from, peak)
    experiment = Experiment(cfg, cache)
    trained = experiment.train_classifier(
        "round_0/classifier", "round_0/", module=first, schedule=first_schedule
    )
    experiment.make_seeds(trained, "round_0/", sub_maps=False)
    for r in range(1, rounds + 1):
        clustered = _cluster(experiment, f"round_{r}", trained, peak, count, clusters)
        trained = experiment.train_classifier(
            f"round_{r}/classifier",
            f"round_{r}/",
            module=cfg.method,
            clusters=clustered,
            encoder_from=trained if init_from == "last_round" else None,
            schedule=cfg.fit.method,
            stop_epoch=None if stop_epochs is None else stop_epochs[r - 1],
        )
        seeds = experiment.make_seeds(trained, f"round_{r}/")
    # the scores of the last round are those of the method
    last = f"round_{rounds}/"
    experiment.scores |= {
        key.removeprefix(last): value
        for key, value in experiment.scores.items()
        if key.startswith(last)
    }
    experiment.refine_and_segment(seeds, trained, segment)
    return experiment.scores


def _cluster(
    experiment: Experiment,
    name: str,
    trained: Path,
    peak: float | None,
    count: int,
    clusters: DictConfig,
) -> Path:
    """Cluster the training images by the features of a trained classifier."""
    cfg, data, cache = experiment.cfg, experiment.cfg.data, experiment.cache
    of_images = cache.run(
        f"{name}/features",
        features,
        trained=trained,
        data=data,
        split=data.train,
        settings=cfg.cam,
        peak=peak,
    )
    clustered = cache.run(
        f"{name}/clusters",
        cluster,
        features=of_images,
        data=data,
        split=data.train,
        count=count,
        clusters=clusters,
    )
    experiment.add(f"{name}/clusters/{data.train}", clustered)
    cache.run(
        f"pictures/{name}",
        cluster_previews,
        features=of_images,
        clusters=clustered,
        data=data,
        split=data.train,
    )
    return clustered


def _check(cfg: DictConfig, rounds: int, init_from: str, peak: float | None) -> int:
    """Check the arguments of the pipeline; return the number of sub-categories of a class."""
    if rounds < 1:
        raise InputError(f"pipeline.rounds is {rounds}, but must be 1 or more (SC-CAM: 3).")
    if init_from not in ("backbone", "last_round"):
        raise InputError(
            f"pipeline.init_from is {init_from}; set it to backbone, to start each round from the "
            "pretrained backbone, or to last_round, to start from the previous round's encoder."
        )
    if peak is not None and not 0 <= peak <= 1:
        raise InputError(
            f"pipeline.peak is {peak}, but is a share of the range of a CAM; set it in [0, 1] "
            "(0.7 is a start), or to null to compare whole images."
        )
    count = OmegaConf.select(cfg, "method.net.sub_categories")
    if count is None:
        raise InputError(
            f"pipeline=sc_cam makes sub-categories, but {cfg.method._target_} does not learn them; "
            "choose method=sc_cam, or pipeline=tags."
        )
    return count
