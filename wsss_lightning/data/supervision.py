"""Kinds of supervision, and the number of annotations that each needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from wsss_lightning.errors import InputError


@dataclass(frozen=True)
class Supervision:
    """Annotations that a pipeline learns from.

    Args:
        name: in `results.json`, on W&B and in reports.
        label: in tables and charts.
        count_units: number of annotations of each kind in a training split, given a function that
            opens the split, as `VOCDataset` does, from `with_masks` and `with_boxes`. None where a
            number is unknown.
        uses_seeds: whether a classifier makes seeds, whose threshold may be chosen on masks.
    """

    name: str
    label: str
    count_units: Callable[[Callable[..., Any]], dict[str, int | None]]
    uses_seeds: bool = False


def _tag_questions(open_split: Callable[..., Any]) -> dict[str, int | None]:
    dataset = open_split(with_masks=False)
    return {"tag_questions": len(dataset) * dataset.num_classes}


def _boxes(open_split: Callable[..., Any]) -> dict[str, int | None]:
    return {"boxes": _count_boxes(open_split)}


def _masks(open_split: Callable[..., Any]) -> dict[str, int | None]:
    # masks of classes do not separate objects; boxes do, where the data set has any
    return {
        "masks": len(open_split(with_masks=False)),
        "objects_outlined": _count_boxes(open_split),
    }


def _count_boxes(open_split: Callable[..., Any]) -> int | None:
    try:
        return open_split(with_masks=False, with_boxes=True).count_boxes().boxes
    except InputError:
        return None


TAGS: Final = Supervision("tags", "image-level labels", _tag_questions, uses_seeds=True)
BOXES: Final = Supervision("boxes", "boxes", _boxes)
MASKS: Final = Supervision("masks", "true masks", _masks)
