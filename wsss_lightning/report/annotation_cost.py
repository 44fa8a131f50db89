"""Annotation cost of a method: number of annotations times seconds per annotation."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.results.schema import Annotation


@dataclass(frozen=True)
class Costs:
    """Seconds per annotation; `--costs FILE` replaces any of them.

    Args:
        tag: whether one class occurs in one image. 20 s for VOC's 20 classes (Bearman et al. 2016,
            "What's the point", sec. 4).
        box: one box, drawn by clicking the four extreme points of an object (Papadopoulos et al.
            2017, "Extreme clicking": 7.0 s).
        outline: polygon of one object: 79 s on COCO (Lin et al. 2014; also used by Bearman et al.).
        mask: one whole image whose objects were not counted: 239.7 s on VOC (Bearman et al. 2016).
            A corrected pseudo mask counts as one too, which is an upper bound.
    """

    tag: float = 1.0
    box: float = 7.0
    outline: float = 79.0
    mask: float = 239.7


SOURCES: Final = {
    "tag": "Bearman et al. 2016: 20 s for the 20 classes of VOC",
    "box": "Papadopoulos et al. 2017: extreme clicking",
    "outline": "Lin et al. 2014: objects of COCO",
    "mask": "Bearman et al. 2016: images of VOC",
}


def read_costs(path: Path | None) -> Costs:
    """Read costs from a YAML file of seconds, such as `box: 35`; others keep their default.

    Raises:
        InputError: the file cannot be read or has an unknown key, or a cost is no number >= 0.
    """
    if path is None:
        return Costs()
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{path} cannot be read as costs ({error}).") from error
    except Exception as error:  # of the YAML parser
        raise InputError(f"{path} is not a YAML file ({error}).") from error
    known = [field.name for field in fields(Costs)]
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds no costs; write lines such as box: 35 (seconds).")
    for unit, seconds in content.items():
        if unit not in known:
            raise InputError(
                f"{path} has a cost for {unit}, which is not a kind of annotation; "
                f"{did_you_mean(str(unit), known)}"
            )
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0:
            raise InputError(
                f"{path} has {unit}: {seconds}, but a cost is a number of seconds >= 0, such as "
                "7.5."
            )
    return Costs(**{str(unit): float(seconds) for unit, seconds in content.items()})


def hours(annotation: Annotation, costs: Costs) -> dict[str, float]:
    """Hours of annotation by kind, for the kinds that a run used.

    Tags are counted for boxes and masks too, because their annotators must know which classes an
    image shows. The time of a review was measured. Held-out masks are counted as whole masks, under
    `held_out`; nothing is learnt from them.
    """
    seconds = {"tags": (annotation.tag_questions or 0) * costs.tag}
    if annotation.boxes:
        seconds["boxes"] = annotation.boxes * costs.box
    if annotation.masks:
        objects = annotation.objects_outlined
        if objects is None:  # the time of a whole mask includes its tags
            seconds = {"masks": annotation.masks * costs.mask}
        else:
            seconds["masks"] = objects * costs.outline
    if annotation.corrected_masks:
        seconds["corrected"] = annotation.corrected_masks * costs.mask
    if annotation.review:
        seconds["review"] = annotation.review.seconds
    if annotation.held_out_masks:
        seconds["held_out"] = annotation.held_out_masks * costs.mask
    return {kind: value / 3600 for kind, value in seconds.items()}
