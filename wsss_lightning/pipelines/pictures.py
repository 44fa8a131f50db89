"""Previews of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wsss_lightning.evaluation.pixel_counts import PIXEL_COUNTS_FILE
from wsss_lightning.steps.previews import previews
from wsss_lightning.steps.tag_probabilities import tag_probabilities

if TYPE_CHECKING:
    from wsss_lightning.pipelines.base import Experiment


def show(
    experiment: "Experiment",
    name: str,
    split: str,
    steps: Mapping[str, Path],
    ranked_by: tuple[str, str],
    seeds: Path | None = None,
    marginals: Path | None = None,
    classifier: Path | None = None,
) -> None:
    """Preview of some images of a split after each step.

    Training images without true masks are ranked by the estimated quality of pseudo masks.

    Args:
        experiment: the run.
        name: name of the preview.
        split: split whose images are shown.
        steps: folders of masks, by heading.
        ranked_by: scored step that finds the worst and the best images, and the name of its masks;
            of predictions it is the CRF after them, if there is one.
        seeds: folder of CAM scores.
        marginals: folder of the marginals of the last refinement.
        classifier: folder of the trained classifier that made the seeds.
    """
    cfg = experiment.cfg
    step, masks = ranked_by
    if step == "segmentation" and cfg.test.crf:
        step = "segmentation_crf"
    evaluation = experiment.evaluations[f"{step}/{split}"]
    # the key of the preview depends only on what it uses
    has_masks = (evaluation / PIXEL_COUNTS_FILE).is_file()
    by_quality = not has_masks and split == cfg.data.train
    experiment.cache.run(
        f"pictures/{name}",
        previews,
        data=cfg.data,
        split=split,
        count=cfg.num_previews,
        steps=steps,
        seeds=seeds,
        marginals=marginals,
        probabilities=classifier and _probabilities(experiment, split, classifier),
        evaluation=evaluation if has_masks else None,
        evaluated=masks,
        quality=experiment.quality if by_quality else None,
    )


def _probabilities(experiment: "Experiment", split: str, classifier: Path) -> Path:
    """Probabilities of the tags of a split."""
    cfg = experiment.cfg
    return experiment.cache.run(
        f"tag_probabilities/{split}",
        tag_probabilities,
        trained=classifier,
        data=cfg.data,
        split=split,
        long_side=cfg.cam.long_side,
        batch_size=cfg.cam.batch_size,
    )
