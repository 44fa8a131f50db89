"""Writes masks in the format of a labelling tool, and reads them back to check them.

Letters: k labels with background first, H W an image.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from wsss_lightning.errors import InputError
from wsss_lightning.export.masks.files import new_folder
from wsss_lightning.export.masks.formats import FORMATS, Codec, WriteOptions, codec
from wsss_lightning.export.masks.objects import (
    ImageObjects,
    exported,
    label_names,
    paint,
    remove_small,
    split_objects,
)
from wsss_lightning.export.masks.sources import MaskSource
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.utils.files import write_json

TINY = 16  # pixels of an object that no person would draw
Track = Callable[[Iterable[Any], int | None, str], Iterator[Any]]
RECORD = ".export.json"  # hidden, as labelme reads every .json of its folder


def untracked(items: Iterable[Any], total: int | None, text: str) -> Iterator[Any]:
    """Iterate without a progress bar."""
    return iter(items)


@dataclass(frozen=True)
class ExportOptions:
    """What is exported.

    Args:
        simplify: largest distance of a removed corner from the polygon, pixels; 0: exact polygons.
        min_area: smaller parts take the label around them, pixels.
        merge: one object for each class rather than for each connected component.
        keep_ignored: ignored pixels are objects of the class `ignored`.
        image_url: text before the path of each image in Label Studio's tasks.
    """

    simplify: float = 1.0
    min_area: int = 0
    merge: bool = False
    keep_ignored: bool = False
    image_url: str = "/data/local-files/?d="


@dataclass
class ExportReport:
    """What was written, and how much of it survives being read back.

    Args:
        images: number of images.
        objects: number of objects.
        tiny: number of objects of less than `TINY` pixels.
        small: number of parts that were smaller than `min_area`.
        ignored: number of images with ignored pixels.
        ignored_share: share of ignored pixels.
        iou: mean IoU between the masks and the export that was read back, over the labels that
            occur, background included.
        worst: name and share of unchanged pixels of the image that changed most.
    """

    images: int = 0
    objects: int = 0
    tiny: int = 0
    small: int = 0
    ignored: int = 0
    ignored_share: float = 0.0
    iou: float = 1.0
    worst: tuple[str, float] = ("", 1.0)
    names: list[str] = field(default_factory=list)


def export_masks(
    source: MaskSource,
    name: str,
    target: Path,
    options: ExportOptions,
    overwrite: bool = False,
    track: Track = untracked,
) -> ExportReport:
    """Write the masks of a source into a new folder, and read them back.

    Args:
        source: masks and images.
        name: key of `FORMATS`.
        target: folder that appears when all is written.
        options: what is exported.
        overwrite: replace an existing folder.
        track: progress bar, given items, their number and a text.

    Raises:
        InputError: an option does not fit the format, or a mask or an image cannot be used.
        RuntimeError: a format without polygons was not read back exactly, which is a defect.
    """
    kind, functions = FORMATS[name], codec(name)
    if options.merge and not kind.merges:
        raise InputError(
            f"--merge joins the parts of a class to one object, but an object of {name} has one "
            "part; leave it out."
        )
    keep_ignored = options.keep_ignored or name == "voc"
    report = ExportReport(names=source.names)
    target = target.absolute()
    write_options = WriteOptions(
        label_names(source.classes, keep_ignored),
        options.simplify if kind.polygons else 0.0,
        name == "coco-rle",
        target,
        source.split,
        options.image_url,
    )
    with new_folder(target, overwrite) as folder:
        images = _objects(source, options, write_options, report)
        functions.write(folder, track(images, len(source.names), "masks"), write_options)
        _read_back(source, functions, folder, options, write_options, report, track)
        if not kind.polygons and report.iou < 1:
            raise RuntimeError(f"{name} was read back with IoU {report.iou}, but is exact")
        write_json(folder / RECORD, _record(source, name, options, report))
    return report


def _objects(
    source: MaskSource, options: ExportOptions, write: WriteOptions, report: ExportReport
) -> Iterator[ImageObjects]:
    """Objects of each image; counts them."""
    pixels = ignored = 0
    for name in source.names:
        mask, small = remove_small(source.mask(name), options.min_area)
        own = int(np.count_nonzero(mask == IGNORE))
        pixels, ignored = pixels + mask.size, ignored + own
        mask = exported(mask, IGNORE in write.names)
        objects = split_objects(mask, write.names, options.merge)
        report.images += 1
        report.objects += len(objects)
        report.tiny += sum(one.patch.area < TINY for one in objects)
        report.small += small
        report.ignored += own > 0
        report.ignored_share = ignored / pixels
        yield ImageObjects(name, source.image(name), _relative(source, name), mask, objects)


def _relative(source: MaskSource, name: str) -> str:
    """Path of an image below the folder of images, with `/` between folders."""
    return source.image(name).relative_to(source.index.folder).as_posix()


def _read_back(
    source: MaskSource,
    functions: Codec,
    folder: Path,
    options: ExportOptions,
    write: WriteOptions,
    report: ExportReport,
    track: Track,
) -> None:
    """Compare the export with the masks."""
    labels = {text: label for label, text in write.names.items()}
    counts: Int64[np.ndarray, "k k"] = np.zeros((IGNORE + 1, IGNORE + 1), np.int64)
    own, names = set(source.names), {_relative(source, one): one for one in source.names}
    found = functions.read_written(folder, source.classes)
    for image in track(found, len(source.names), "read back"):
        # formats of a file per image name it without suffix, the others with it
        one = next(names.get(file, file) for file in image.files if file in names or file in own)
        mask = remove_small(source.mask(one), options.min_area)[0]
        expected = exported(mask, IGNORE in write.names)
        painted, _ = paint(image, labels, *expected.shape)
        same = float((painted == expected).mean())
        if same < report.worst[1] or not report.worst[0]:
            report.worst = one, same
        counts += np.bincount(
            expected.ravel().astype(np.int64) * (IGNORE + 1) + painted.ravel(),
            minlength=(IGNORE + 1) ** 2,
        ).reshape(counts.shape)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    present = union > 0
    report.iou = float((counts.diagonal()[present] / union[present]).mean())


def _record(
    source: MaskSource, name: str, options: ExportOptions, report: ExportReport
) -> dict[str, Any]:
    return {
        "format": name,
        "masks": str(source.folder),
        "split": source.split,
        "images": report.images,
        "objects": report.objects,
        "classes": source.classes,
        "simplify": options.simplify if FORMATS[name].polygons else 0,
        "min_area": options.min_area,
        "merge": options.merge,
        "iou": report.iou,
    }
