"""Image-level labels -> classifier -> seeds -> pseudo masks -> segmentation network."""

from omegaconf import DictConfig

from wsss_lightning.cache.stage_cache import StageCache
from wsss_lightning.data.supervision import TAGS
from wsss_lightning.pipelines.base import Experiment, Scores, learns_from


@learns_from(TAGS)
def image_labels(cfg: DictConfig, cache: StageCache, segment: bool) -> Scores:
    """Train a classifier on tags, refine its seeds, and train a segmentation network on them.

    Args:
        cfg: configuration of the run.
        cache: cache of the run's steps.
        segment: train and test the segmentation network.
    """
    experiment = Experiment(cfg, cache)
    trained = experiment.train_classifier("classifier", module=cfg.method, schedule=cfg.fit.method)
    seeds = experiment.make_seeds(trained)
    experiment.refine_and_segment(seeds, trained, segment)
    return experiment.scores
