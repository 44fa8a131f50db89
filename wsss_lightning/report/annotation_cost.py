"""What supervision cost: units that a run consumed, times hours a unit."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wsss_lightning.errors import InputError, did_you_mean


@dataclass(frozen=True)
class Costs:
    """Seconds of annotation a unit; `--costs FILE` replaces any of them.

    Args:
        tag: one class of one image, there or not: 20 s for VOC's 20 (Bearman et al. 2016, "What's
            the point", sec. 4).
        box: one, by clicking the four extreme points of an object (Papadopoulos et al. 2017,
            "Extreme clicking": 7.0 s).
        outline: one object by polygons: 79 s on COCO (Lin et al. 2014; Bearman et al. take the
            same).
        mask: one image of which nobody counted the objects: 239.7 s on VOC (Bearman et al. 2016).
    """

    tag: float = 1.0
    box: float = 7.0
    outline: float = 79.0
    mask: float = 239.7


SOURCES: Final = {
    "tag": "Bearman et al. 2016: 20 s for the 20 classes of VOC",
    "box": "Papadopoulos et al. 2017: extreme clicking",
    "outline": "Lin et al. 2014, of COCO's objects",
    "mask": "Bearman et al. 2016, an image of VOC",
}


def read_costs(path: Path | None) -> Costs:
    """Costs of a YAML file of seconds, such as `box: 35`; what it leaves out stays as it is.

    Raises:
        InputError: the file cannot be read, names another unit, or a cost is no number from 0 on.
    """
    if path is None:
        return Costs()
    try:
        found = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{path} cannot be read as costs ({error}).") from error
    except Exception as error:  # of the YAML parser
        raise InputError(f"{path} is no YAML file ({error}).") from error
    known = [field.name for field in fields(Costs)]
    if not isinstance(found, Mapping):
        raise InputError(f"{path} holds no costs; give lines such as box: 35 (seconds).")
    for unit, seconds in found.items():
        if unit not in known:
            raise InputError(
                f"{path} has the cost of a {unit}, which is no unit of annotation; "
                f"{did_you_mean(str(unit), known)}"
            )
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0:
            raise InputError(
                f"{path} says {unit}: {seconds}, but costs are seconds from 0 on, such as 7.5."
            )
    return Costs(**{str(unit): float(seconds) for unit, seconds in found.items()})


def hours(annotation: Mapping[str, int | None], costs: Costs) -> dict[str, float]:
    """Hours of annotation a run consumed, by kind of supervision, of those that it used.

    Boxes and masks come with the question of which classes are there, so tags are counted too. Of
    held-out masks nothing is learnt; they are counted apart, under `held_out`, as whole masks.

    Args:
        annotation: as of `results.json`.
    """
    tags = (annotation["tag_questions"] or 0) * costs.tag
    found = {"tags": tags}
    if annotation["boxes"]:
        found["boxes"] = annotation["boxes"] * costs.box
    if annotation["masks"]:
        objects = annotation["objects_outlined"]
        if objects is None:  # a whole mask's time has the question of its classes in it
            found = {"masks": annotation["masks"] * costs.mask}
        else:
            found["masks"] = objects * costs.outline
    if annotation["held_out_masks"]:
        found["held_out"] = annotation["held_out_masks"] * costs.mask
    return {kind: seconds / 3600 for kind, seconds in found.items()}
