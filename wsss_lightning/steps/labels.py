"""Labels and order of a pipeline's steps, for tables, charts and images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class StepInfo:
    """How a step appears in tables, charts and images.

    Args:
        label: in tables, charts and images.
        order: position in a pipeline; steps with a lower number come first.
    """

    label: str
    order: int


_REFINER_ORDER: Final = 60

# by the first part of a score's key (`seeds/train/miou`)
_steps: dict[str, StepInfo] = {
    "classifier": StepInfo("classifier", 0),
    "clusters": StepInfo("clusters", 5),
    "seeds": StepInfo("seeds", 10),
    "labels": StepInfo("labels", 65),
    "pseudo": StepInfo("pseudo masks", 70),
    "quality": StepInfo("quality estimate", 71),
    "corrected": StepInfo("corrected masks", 73),
    "reviewed": StepInfo("reviewed masks", 74),
    "segmentation": StepInfo("segmentation", 80),
    "segmentation_crf": StepInfo("segmentation + CRF", 81),
}


def declare_steps(steps: Mapping[str, StepInfo]) -> None:
    """Register label and order of further steps: those of a refiner or of a stored run."""
    _steps.update(steps)


def step_info(name: str) -> StepInfo:
    """Label and order of a step; undeclared steps come after the refiners.

    Args:
        name: first part of a score's key, with or without a round: `seeds`, `round_2/seeds`.
    """
    last = name.rpartition("/")[2]
    return _steps.get(last, StepInfo(last.replace("_", " "), _REFINER_ORDER))


def step_label(step: str) -> str:
    """Label of a step after its round, if it has one: `round_2/seeds` gives "round 2, seeds"."""
    *rounds, last = step.split("/")
    return ", ".join([*(part.replace("_", " ") for part in rounds), step_info(last).label])
