"""Quality of the pseudo masks of a pipeline, and training without the worst of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_lightning.steps.cams import class_cams
from wsss_lightning.steps.quality import drop_worst, evaluate_quality, quality

if TYPE_CHECKING:
    from wsss_lightning.pipelines.base import Experiment


def masks_to_learn(
    experiment: "Experiment",
    masks: Path,
    trained: Path | None = None,
    marginals: Path | None = None,
) -> Path:
    """Score pseudo masks, estimate the quality of each, and drop the worst (`pseudo.drop_worst`).

    Args:
        experiment: the run.
        masks: folder of pseudo masks of the training split.
        trained: folder of the classifier that the masks come from.
        marginals: folder of a segmentation network's marginals of the training split.

    Returns:
        Folder of the masks that the segmentation network learns from.
    """
    cfg, data, cache = experiment.cfg, experiment.cfg.data, experiment.cache
    counts = experiment.score_masks("pseudo", data.train, masks)
    inputs: dict[str, Any] = {"data": data, "split": data.train}
    cams = None
    if trained is not None:
        cams = cache.run("class_cams", class_cams, trained=trained, settings=cfg.cam, **inputs)
    estimated = cache.run("quality", quality, masks=masks, cams=cams, marginals=marginals, **inputs)
    for split, folder in counts.items():
        scored = cache.run(
            f"quality_score/{split}",
            evaluate_quality,
            quality=estimated,
            counts=folder,
            classes=list(data.dataset.classes),
        )
        experiment.add(f"quality/{split}", scored)
    if not cfg.pseudo.drop_worst:
        return masks
    return cache.run(
        "kept",
        drop_worst,
        quality=estimated,
        masks=masks,
        share=cfg.pseudo.drop_worst,
        **inputs,
    )
