"""The state of each image after all decisions about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from wsss_lightning.data.review.decisions import (
    SHAPES,
    VERDICTS,
    Decision,
    Removed,
    Tag,
)

LONGEST_LOOK: Final = 60.0  # seconds; a longer gap between two decisions is a break


@dataclass(frozen=True)
class PlacedShape:
    """A shape and the class it is about; empty for ignored regions."""

    kind: str
    class_name: str
    detail: dict[str, Any]


@dataclass
class ImageState:
    """What counts of the decisions about an image.

    Args:
        verdicts: `accept` or `reject` by class; the empty class is the whole image.
        tags: whether the image shows a class, where that differs from the data set or confirms it.
        shapes: by id, in the order in which they were drawn.
    """

    verdicts: dict[str, str] = field(default_factory=dict)
    tags: dict[str, bool] = field(default_factory=dict)
    shapes: dict[str, PlacedShape] = field(default_factory=dict)

    @property
    def is_reviewed(self) -> bool:
        """Whether any decision about the image counts."""
        return bool(self.verdicts or self.tags or self.shapes)

    def add(self, decision: Decision) -> None:
        """Take a later decision into account."""
        detail, name = decision.parsed, decision.class_name
        if decision.kind in VERDICTS:
            self.verdicts.pop(name, None)
            if decision.kind != "undecided":
                self.verdicts[name] = decision.kind
        elif isinstance(detail, Tag):
            self.tags.pop(name, None)
            if detail.present is not None:
                self.tags[name] = detail.present
        else:
            self.shapes.pop(decision.detail["id"], None)
            if not isinstance(detail, Removed):
                shape = PlacedShape(decision.kind, name, dict(decision.detail))
                self.shapes[decision.detail["id"]] = shape

    def corrections(self) -> dict[str, Any] | None:
        """What changes the pseudo mask, without ids; None if nothing does."""
        rejected = [name for name, verdict in self.verdicts.items() if verdict == "reject"]
        shapes = [
            {
                "kind": shape.kind,
                "class": shape.class_name,
                **{key: value for key, value in shape.detail.items() if key != "id"},
            }
            for shape in self.shapes.values()
        ]
        if not rejected and not shapes:
            return None
        return {"rejected": sorted(rejected), "shapes": shapes}


def states(decisions: Iterable[Decision]) -> dict[str, ImageState]:
    """State of each image that has a decision, by name."""
    images: dict[str, ImageState] = {}
    for decision in decisions:
        images.setdefault(decision.name, ImageState()).add(decision)
    return images


def count_decisions(images: Iterable[ImageState]) -> dict[str, int]:
    """Number of decisions that count, by kind."""
    counts = dict.fromkeys((*VERDICTS[:2], "tag", *SHAPES), 0)
    for image in images:
        for verdict in image.verdicts.values():
            counts[verdict] += 1
        counts["tag"] += len(image.tags)
        for shape in image.shapes.values():
            counts[shape.kind] += 1
    return counts


def seconds_spent(decisions: Sequence[Decision]) -> float:
    """Time between the decisions, those that were undone too; breaks count `LONGEST_LOOK` each.

    The time before the first decision, which is unknown, counts as much as the mean of the others.
    """
    times = sorted(filter(None, (_seconds(decision.time) for decision in decisions)))
    if not times:
        return 0.0
    gaps = [min(after - before, LONGEST_LOOK) for before, after in pairwise(times)]
    return sum(gaps) + (sum(gaps) / len(gaps) if gaps else LONGEST_LOOK)


def _seconds(time: str) -> float | None:
    """Seconds since 1970; None for a time that an editor has changed to another format."""
    try:
        return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
