"""Description of a portable model: everything that its use needs besides the weights.

Letters: c classes, k = c + 1 labels with background first.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge
from pydantic import ConfigDict, TypeAdapter, ValidationError

from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.errors import InputError
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.methods.segmentation.predictor import TestSettings

METADATA: Final = "wsss_lightning"  # key of the metadata of a .safetensors file
FORMAT: Final = 1  # version that is written, and the newest that is read
BACKGROUND: Final = "background"


@dataclass(frozen=True)
class ModelInfo:
    """What a portable model is, and how its run used it.

    Args:
        task: `segmentation`, a `Segmenter`, or `classification`, a `TagMethod` with CAMs.
        module: configuration node of the module, without initial weights.
        classes: names of labels 1, 2, ..., without background.
        colours: RGB of the k labels in masks and overlays, 0..255, background first.
        mean, std: statistics of RGB in [0, 1] by which the network normalises images.
        sizes: sizes of the training images in pixels: `crop_size`, and `long_side` (range) or
            `scale` (range of factors).
        test: `TestSettings` of the run; None for a classifier.
        cam: `CamSettings` of the run; None for a segmentation network.
        crf: parameters and `engine` of the CRF that the run has for this network's output.
        uses_crf: whether the run's predictions are refined by that CRF.
        batch_size: largest number of images that the run predicts together.
        provenance: origin of the model, for the model card.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    task: Literal["segmentation", "classification"]
    module: dict[str, Any]
    classes: list[str]
    colours: list[list[int]]
    mean: list[float]
    std: list[float]
    sizes: dict[str, Any]
    test: dict[str, Any] | None
    cam: dict[str, Any] | None
    crf: dict[str, Any] | None
    uses_crf: bool
    batch_size: Annotated[int, Ge(1)]
    provenance: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        """Names of the k labels, background first."""
        return [BACKGROUND, *self.classes]

    @property
    def test_settings(self) -> TestSettings:
        """`test` as settings; of the image itself if there are none."""
        return TestSettings(**(self.test or {}))

    @property
    def cam_settings(self) -> CamSettings:
        """`cam` as settings; of the image itself if there are none."""
        return CamSettings(**(self.cam or {}))

    @property
    def crf_parameters(self) -> tuple[CRFParameters, str] | None:
        """`crf` as parameters and engine; None if there are none."""
        if self.crf is None:
            return None
        values = dict(self.crf)
        engine = values.pop("engine")
        return CRFParameters(**values), engine


_validator: Final = TypeAdapter(ModelInfo)


def to_json(info: ModelInfo) -> str:
    """One JSON object with the version of the format and the fields of the description."""
    return json.dumps({"format": FORMAT, **asdict(info)}, allow_nan=False)


def from_json(text: str, path: Path) -> ModelInfo:
    """Read a description.

    Args:
        text: as returned by `to_json`.
        path: file that holds it, for messages.

    Raises:
        InputError: the description is damaged, or of a newer format.
    """
    try:
        content = json.loads(text)
        version = content.pop("format")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(_damaged(path, f"no JSON object with its format ({error})")) from error
    if type(version) is not int or version < 1:
        raise InputError(_damaged(path, f"format {version!r}"))
    if version > FORMAT:
        raise InputError(
            f"{path} has model format {version}, but this wsss_lightning reads formats up to "
            f"{FORMAT}; update wsss_lightning."
        )
    try:
        info = _validator.validate_json(json.dumps(content), strict=True)
        _check(info)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise InputError(_damaged(path, f"{place}: {fault['msg']}")) from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(_damaged(path, str(error))) from error
    return info


def _check(info: ModelInfo) -> None:
    """Check that the fields agree with each other; raise any ValueError, TypeError or KeyError."""
    if not info.classes or len(set(info.labels)) != len(info.labels):
        raise ValueError(f"classes are {info.classes}, but must be different names")
    if len(info.labels) > 255:
        raise ValueError(f"there are {len(info.classes)} classes, but masks hold at most 254")
    if len(info.colours) != len(info.labels):
        raise ValueError(f"{len(info.colours)} colours for {len(info.labels)} labels")
    if any(len(rgb) != 3 or not all(0 <= level <= 255 for level in rgb) for rgb in info.colours):
        raise ValueError("colours must be RGB in 0..255")
    for name, values in (("mean", info.mean), ("std", info.std)):
        if len(values) != 3:
            raise ValueError(f"{name} is {values}, but must be three numbers")
    if (info.test if info.task == "segmentation" else info.cam) is None:
        raise ValueError(f"a model for {info.task} has no settings of its prediction")
    _ = info.test_settings, info.cam_settings, info.crf_parameters
    if not isinstance(info.module.get("_target_"), str):
        raise ValueError("module has no _target_")
    for key, text in _texts(info.module, "module"):
        if "${" in text:  # a reference would be resolved on this machine
            raise ValueError(f"{key} is {text}, a reference")


def _texts(node: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, Mapping):
        for name, item in node.items():
            yield from _texts(item, f"{key}.{name}")
    elif isinstance(node, list):
        for i, item in enumerate(node):
            yield from _texts(item, f"{key}[{i}]")


def _damaged(path: Path, fault: str) -> str:
    return (
        f"the description in {path} cannot be used: {fault}. The file is damaged or was edited; "
        "copy it again, or repeat the run that wrote it."
    )
