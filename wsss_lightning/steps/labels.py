"""Names of a pipeline's steps, as people read them in tables, charts and pictures."""

from typing import Final

# by the key that leads a score (`none/train/miou`), in the order in which steps are made
STEP_NAMES: Final = {
    "seeds": "seeds",
    "none": "seeds without refinement",
    "crf": "CRF",
    "affinity": "affinity",
    "affinity_crf": "affinity + CRF",
    "irn": "IRN",
    "irn_crf": "IRN + CRF",
    "pseudo": "pseudo masks",
    "segmentation": "segmentation",
    "segmentation_crf": "segmentation + CRF",
}


def step_name(step: str) -> str:
    """Name of a step; that of a refiner with a name of its own is its key without underscores.

    Args:
        step: as it leads a score's key, behind its round where there are several, such as
            `round_2/seeds`.
    """
    *rounds, last = step.split("/")
    name = STEP_NAMES.get(last, last.replace("_", " "))
    return ", ".join([*(part.replace("_", " ") for part in rounds), name])
