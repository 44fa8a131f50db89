"""From pseudo masks to the masks that the segmentation network learns from.

The stages, each only if the configuration asks for it: `kept` ignores the worst masks
(`pseudo.drop_worst`), `corrected` replaces masks by corrected ones (`pseudo.masks`), and `reviewed`
applies the decisions of a person (`pseudo.review`). People have the last word, so the worst are
dropped first.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wsss_lightning.steps.cams import class_cams
from wsss_lightning.steps.corrected_masks import correct_masks, corrected_digest, corrected_names
from wsss_lightning.steps.quality import drop_worst, evaluate_quality, quality
from wsss_lightning.steps.review import accepted_names, review, review_of
from wsss_lightning.steps.scored_splits import scored_splits

if TYPE_CHECKING:
    from wsss_lightning.pipelines.base import Experiment, Splits

PSEUDO_HEADINGS: Final = {
    "pseudo": "pseudo mask",
    "kept": "kept mask",
    "corrected": "corrected mask",
    "reviewed": "reviewed mask",
}
"""Headings of previews, by stage."""


def masks_to_learn(
    experiment: "Experiment",
    pseudo: Path,
    trained: Path | None = None,
    marginals: Path | None = None,
) -> "Splits":
    """Score pseudo masks, estimate their quality, and drop, correct and review them.

    Args:
        experiment: the run.
        pseudo: folder of pseudo masks of the training split.
        trained: folder of the classifier that the masks come from.
        marginals: folder of a segmentation network's marginals of the training split.

    Returns:
        Folders of masks by stage, in their order; the segmentation network learns from the last.
    """
    split = experiment.cfg.data.train
    stages = {"pseudo": pseudo}
    experiment.score_masks("pseudo", split, pseudo)
    estimated = _estimate_quality(experiment, pseudo, trained, marginals)
    for name, make in {"kept": _keep, "corrected": _correct, "reviewed": _review}.items():
        made = make(experiment, learned_from(stages), estimated)
        if made is not None:
            stages[name] = made
            if name != "kept":  # every pixel of a dropped image would count as a miss
                experiment.score_masks(name, split, made)
    return stages


def learned_from(stages: "Splits") -> Path:
    """The folder of the last stage."""
    return list(stages.values())[-1]


def _estimate_quality(
    experiment: "Experiment", masks: Path, trained: Path | None, marginals: Path | None
) -> Path:
    cfg, data, cache = experiment.cfg, experiment.cfg.data, experiment.cache
    inputs: dict[str, Any] = {"data": data, "split": data.train}
    cams = None
    if trained is not None:
        cams = cache.run("class_cams", class_cams, trained=trained, settings=cfg.cam, **inputs)
    estimated = cache.run("quality", quality, masks=masks, cams=cams, marginals=marginals, **inputs)
    experiment.quality = estimated
    for scored in scored_splits(cfg, data.train):
        tested = cache.run(
            f"quality_score/{scored.name}",
            evaluate_quality,
            quality=estimated,
            counts=experiment.evaluations[f"pseudo/{scored.name}"],
            classes=list(data.dataset.classes),
        )
        experiment.add(f"quality/{scored.name}", tested)
    return estimated


def _keep(experiment: "Experiment", masks: Path, estimated: Path) -> Path | None:
    cfg, data = experiment.cfg, experiment.cfg.data
    if not cfg.pseudo.drop_worst:
        return None
    return experiment.cache.run(
        "kept",
        drop_worst,
        quality=estimated,
        masks=masks,
        data=data,
        split=data.train,
        share=cfg.pseudo.drop_worst,
        keep=sorted({*corrected_names(cfg), *accepted_names(cfg)}),
    )


def _correct(experiment: "Experiment", masks: Path, _: Path) -> Path | None:
    cfg, data = experiment.cfg, experiment.cfg.data
    if cfg.pseudo.masks is None:
        return None
    return experiment.cache.run(
        "corrected",
        correct_masks,
        masks=masks,
        corrected=Path(cfg.pseudo.masks),
        digest=corrected_digest(cfg),
        data=data,
        split=data.train,
    )


def _review(experiment: "Experiment", masks: Path, _: Path) -> Path | None:
    cfg, data, decided = experiment.cfg, experiment.cfg.data, review_of(experiment.cfg)
    corrections = {} if decided is None else decided.corrections()
    if not corrections:
        return None
    return experiment.cache.run(
        "reviewed",
        review,
        masks=masks,
        data=data,
        split=data.train,
        corrections=corrections,
        box_min_fill=cfg.pseudo.box_min_fill,
    )
