"""Counts the annotations that a run uses."""

from functools import partial

from omegaconf import DictConfig

from wsss_lightning.config.splits import splits_of
from wsss_lightning.data.review.state import count_decisions, seconds_spent
from wsss_lightning.data.supervision import Supervision
from wsss_lightning.evaluation.metrics import is_held_out
from wsss_lightning.results.schema import Annotation, ReviewCounts
from wsss_lightning.steps.corrected_masks import corrected_names
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.review import review_of


def count_annotation(cfg: DictConfig, supervision: Supervision) -> Annotation:
    """Count the annotations of the training split, and the masks that choose a threshold.

    Tags count for boxes and masks too, because their annotators must know which
    classes an image shows.

    Args:
        cfg: composed configuration.
        supervision: supervision of the pipeline, which counts its own annotations.
    """
    dataset = datasets_of(cfg.data)
    open_train = partial(dataset, split=cfg.data.train)
    train = open_train(with_masks=False)
    units: dict[str, int | None] = {
        "images": len(train),
        "tag_questions": len(train) * train.num_classes,
        "boxes": 0,
        "masks": 0,
        "objects_outlined": 0,
        "corrected_masks": len(corrected_names(cfg)),
        "held_out_masks": _count_held_out(cfg) if supervision.uses_seeds else 0,
    }
    return Annotation(**(units | supervision.count_units(open_train)), review=_count_review(cfg))


def _count_review(cfg: DictConfig) -> ReviewCounts | None:
    """Decisions of `pseudo.review`, and the time that they took."""
    review = review_of(cfg)
    if review is None:
        return None
    reviewed = [state for state in review.images.values() if state.is_reviewed]
    return ReviewCounts(
        images=len(reviewed),
        decisions=count_decisions(reviewed),
        seconds=round(seconds_spent(review.decisions), 1),
        digest=review.digest,
    )


def _count_held_out(cfg: DictConfig) -> int:
    """Number of masks that choose the held-out threshold, of the last split that has true masks."""
    splits = (datasets_of(cfg.data)(split=split) for split in reversed(splits_of(cfg.data)))
    scored = next((split for split in splits if split.has_masks()), None)
    if scored is None:
        return 0
    return sum(is_held_out(i, cfg.seeds.held_out) for i in range(len(scored)))
