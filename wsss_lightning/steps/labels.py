"""What tables, charts and error messages need to know about each step of a pipeline."""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class StepInfo:
    """A step, as people read about it.

    Args:
        label: in tables, charts and pictures.
        order: place in the order of a pipeline; steps with a lower number come first.
        memory_keys: configuration keys to lower when the step runs out of memory.
    """

    label: str
    order: int
    memory_keys: tuple[str, ...] = ("workers",)


def _training(node: str) -> tuple[str, ...]:
    return (f"{node}.batch_size", f"{node}.crop_size")


_CAM_KEYS: Final = ("cam.batch_size", "cam.scales", "cam.long_side")
_WALK_KEYS: Final = ("refine.walk.batch_size",)
_TEST_KEYS: Final = ("test.batch_size", "test.scales")
_REFINER_ORDER: Final = 60

# keyed by the name that leads a score's key (`none/train/miou`) or a stage's name
# (`predictions/val`), or by the end of the name of a refiner's stage (`affinity/network`)
_STEPS: Final = {
    "classifier": StepInfo("classifier", 0, _training("fit.method")),
    "classifier_val": StepInfo("classifier", 0, ("cam.long_side",)),
    "features": StepInfo("features", 5, ("cam.batch_size", "cam.long_side")),
    "clusters": StepInfo("clusters", 6),
    "seeds": StepInfo("seeds", 10, _CAM_KEYS),
    "none": StepInfo("seeds without refinement", 11),
    "crf": StepInfo("CRF", 12),
    "affinity": StepInfo("affinity", 20, _WALK_KEYS),
    "affinity_crf": StepInfo("affinity + CRF", 21),
    "irn": StepInfo("IRN", 30, _WALK_KEYS),
    "irn_crf": StepInfo("IRN + CRF", 31),
    "network": StepInfo("affinity network", 15, _training("refine.schedule")),
    "labels": StepInfo("labels", 65),
    "labels_low": StepInfo("labels", 65),
    "labels_high": StepInfo("labels", 65),
    "pseudo": StepInfo("pseudo masks", 70),
    "segmentation": StepInfo("segmentation", 80, _training("fit.segmenter")),
    "predictions": StepInfo("segmentation", 80, _TEST_KEYS),
    "segmentation_crf": StepInfo("segmentation + CRF", 81),
}


def step_info(name: str) -> StepInfo:
    """Information about a step; an unknown name is taken for a user's own refiner.

    Args:
        name: step as it leads a score's key, or a stage's name, such as `seeds`, `round_2/seeds`
            or `affinity/network`.
    """
    first, _, last = re.sub(r"^round_\d+/", "", name).partition("/")
    for key in (last, first):
        if key in _STEPS:
            return _STEPS[key]
    return StepInfo(first.replace("_", " "), _REFINER_ORDER)


def step_label(step: str) -> str:
    """Label of a step with its round, if it has one: `round_2/seeds` gives "round 2, seeds"."""
    *rounds, last = step.split("/")
    return ", ".join([*(part.replace("_", " ") for part in rounds), step_info(last).label])
