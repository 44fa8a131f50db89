"""True masks -> segmentation network: the upper bound of weak supervision."""

from omegaconf import DictConfig

from wsss_lightning.cache.stage_cache import StageCache
from wsss_lightning.config.splits import splits_of
from wsss_lightning.data.supervision import MASKS
from wsss_lightning.pipelines.base import Experiment, Scores, learns_from
from wsss_lightning.pipelines.pictures import show


@learns_from(MASKS)
def full_supervision(cfg: DictConfig, cache: StageCache) -> Scores:
    """Train the segmentation network on true masks.

    Args:
        cfg: configuration of the run.
        cache: cache of the run's steps.
    """
    experiment = Experiment(cfg, cache)
    predictions = experiment.segment()
    for split in splits_of(cfg.data):
        steps = {"prediction": predictions[split]}
        show(experiment, split, split, steps, ("segmentation", "prediction"))
    return experiment.scores
