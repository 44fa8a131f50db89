"""Quality of the pseudo masks of a pipeline, and training without the worst of them."""

from pathlib import Path
from typing import TYPE_CHECKING

from wsss_lightning.steps.quality import drop_worst, evaluate_quality, quality
from wsss_lightning.steps.scored_splits import scored_splits

if TYPE_CHECKING:
    from wsss_lightning.pipelines.base import Experiment


def masks_to_learn(experiment: "Experiment", masks: Path) -> Path:
    """Score pseudo masks, estimate the quality of each, and drop the worst (`pseudo.drop_worst`).

    Args:
        experiment: the run.
        masks: folder of pseudo masks of the training split.

    Returns:
        Folder of the masks that the segmentation network learns from.
    """
    cfg, data, cache = experiment.cfg, experiment.cfg.data, experiment.cache
    experiment.score_masks("pseudo", data.train, masks)
    estimated = cache.run("quality", quality, data=data, split=data.train, masks=masks)
    for scored_split in scored_splits(cfg, data.train):
        split = scored_split.name
        scored = cache.run(
            f"quality_score/{split}",
            evaluate_quality,
            quality=estimated,
            counts=experiment.evaluations[f"pseudo/{split}"],
            classes=list(data.dataset.classes),
        )
        experiment.add(f"quality/{split}", scored)
    if not cfg.pseudo.drop_worst:
        return masks
    kept = cache.run(
        "kept",
        drop_worst,
        quality=estimated,
        masks=masks,
        data=data,
        split=data.train,
        share=cfg.pseudo.drop_worst,
    )
    experiment.score_masks("kept", data.train, kept)
    return kept
