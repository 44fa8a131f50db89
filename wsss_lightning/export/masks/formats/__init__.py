"""Formats of labelling tools, one module each: `write` makes an export, `read` reads one back."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from wsss_lightning.errors import InputError, did_you_mean


class Format(NamedTuple):
    """A format of a labelling tool.

    Attributes:
        module: module of this package that writes and reads it.
        summary: what an export holds, for help and messages.
        polygons: whether it holds polygons, which `--simplify` changes; else pixels.
        merges: whether one object of it can have several parts, as `--merge` needs.
    """

    module: str
    summary: str
    polygons: bool
    merges: bool


FORMATS: Final = {
    "coco": Format("coco", "instances.json of polygons", polygons=True, merges=True),
    "coco-rle": Format("coco", "instances.json of compressed RLE", polygons=False, merges=True),
    "yolo-seg": Format("yolo", "labels/*.txt and data.yaml", polygons=True, merges=False),
    "voc": Format("voc", "index masks and labelmap.txt", polygons=False, merges=False),
    "labelme": Format("labelme", "a JSON of polygons per image", polygons=True, merges=True),
    "cvat": Format("cvat", "CVAT for images 1.1 with polygons", polygons=True, merges=True),
    "label-studio": Format("label_studio", "tasks.json of brushes", polygons=False, merges=True),
}


@dataclass(frozen=True)
class WriteOptions:
    """How objects are written.

    Args:
        names: class of each label, without background; ignored pixels too if they are kept.
        tolerance: of the simplification of polygons, pixels.
        rle: write run lengths rather than polygons, where the format has both.
        target: folder that the export has in the end; files that are written may refer to it.
        split: name of the split of the images.
        image_url: text before the path of each image, for tools that load images by URL.
    """

    names: Mapping[int, str]
    tolerance: float
    rle: bool
    target: Path
    split: str
    image_url: str


@dataclass(frozen=True)
class Codec:
    """Functions of a format.

    Args:
        write: writes images (`ImageObjects`) into a folder, given `WriteOptions`.
        read: yields `AnnotatedImage`s of a path, given the classes for files that name none.
        read_written: as `read`, for an export of ours that nobody has opened.
    """

    write: Callable[[Path, Iterator[Any], WriteOptions], None]
    read: Callable[[Path, Sequence[str]], Iterator[Any]]
    read_written: Callable[[Path, Sequence[str]], Iterator[Any]]


def codec(name: str) -> Codec:
    """The functions of a format.

    Raises:
        InputError: the format is unknown, or a package that it needs is not installed.
    """
    if name not in FORMATS:
        raise InputError(f"there is no format {name}; {did_you_mean(name, FORMATS)}")
    try:
        module = importlib.import_module(f"{__name__}.{FORMATS[name].module}")
    except ModuleNotFoundError as error:
        if error.name not in ("cv2", "pycocotools"):
            raise
        raise InputError(
            f"masks of labelling tools need {error.name}, which is not installed; "
            "pip install 'wsss-lightning[masks]'"
        ) from error
    return Codec(module.write, module.read, getattr(module, "read_predictions", module.read))
