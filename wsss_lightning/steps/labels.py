"""Labels and order of a pipeline's steps, for tables, charts and images."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class StepInfo:
    """A step, as people read about it.

    Args:
        label: in tables, charts and images.
        order: place in a pipeline; steps with a lower number come first.
    """

    label: str
    order: int


_REFINER_ORDER: Final = 60

# keyed by the name that leads a score's key (`none/train/miou`)
_STEPS: Final = {
    "classifier": StepInfo("classifier", 0),
    "clusters": StepInfo("clusters", 5),
    "seeds": StepInfo("seeds", 10),
    "none": StepInfo("seeds without refinement", 11),
    "crf": StepInfo("CRF", 12),
    "affinity": StepInfo("affinity", 20),
    "affinity_crf": StepInfo("affinity + CRF", 21),
    "irn": StepInfo("IRN", 30),
    "irn_crf": StepInfo("IRN + CRF", 31),
    "labels": StepInfo("labels", 65),
    "pseudo": StepInfo("pseudo masks", 70),
    "segmentation": StepInfo("segmentation", 80),
    "segmentation_crf": StepInfo("segmentation + CRF", 81),
}


def step_info(name: str) -> StepInfo:
    """Label and order of a step; an unknown name is taken for a user's own refiner.

    Args:
        name: as it leads a score's key, with or without a round: `seeds`, `round_2/seeds`.
    """
    last = name.rpartition("/")[2]
    return _STEPS.get(last, StepInfo(last.replace("_", " "), _REFINER_ORDER))


def step_label(step: str) -> str:
    """Label of a step after its round, if it has one: `round_2/seeds` gives "round 2, seeds"."""
    *rounds, last = step.split("/")
    return ", ".join([*(part.replace("_", " ") for part in rounds), step_info(last).label])
