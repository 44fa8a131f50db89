"""labelme: a JSON of shapes per image.

Source: https://github.com/wkentaro/labelme, `_label_file.py`.
"""

import base64
import binascii
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from wsss_lightning.errors import InputError
from wsss_lightning.export.masks.files import invalid, pixels_of_png, read_json
from wsss_lightning.export.masks.formats import WriteOptions
from wsss_lightning.export.masks.objects import AnnotatedImage, ImageObjects, Patch, Region
from wsss_lightning.export.masks.polygons import rings_of
from wsss_lightning.export.masks.shapes import box, ellipse
from wsss_lightning.utils.files import write_text

VERSION: Final = "5.5.0"  # of the format
NO_AREA: Final = ("point", "points", "line", "linestrip")


def write(folder: Path, images: Iterator[ImageObjects], options: WriteOptions) -> None:
    """Write `<name>.json`, which refers to its image by a relative path.

    Holes are bridged by slits. Parts of one object share a `group_id`.
    """
    for image in images:
        path = folder / f"{image.name}.json"
        final = (options.target / f"{image.name}.json").parent
        shapes = []
        for number, one in enumerate(image.objects, start=1):
            rings = rings_of(one, options.tolerance)
            shapes += [
                {
                    "label": one.name,
                    "points": ring.astype(float).tolist(),
                    "group_id": number if len(rings) > 1 else None,
                    "description": "",
                    "shape_type": "polygon",
                    "flags": {},
                    "mask": None,
                }
                for ring in rings
            ]
        content: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": Path(os.path.relpath(image.file, final)).as_posix(),
            "imageData": None,
            "imageHeight": image.height,
            "imageWidth": image.width,
        }
        write_text(path, json.dumps(content, ensure_ascii=False, indent=1))


def read(path: Path, classes: Sequence[str]) -> Iterator[AnnotatedImage]:
    """Polygons, rectangles, circles and masks, in the order in which labelme draws them.

    Args:
        path: folder of the files, with any sub-folders.
        classes: unused; the files name their own.

    Raises:
        InputError: a file cannot be read, or a shape has no area.
    """
    files = sorted(file for file in path.rglob("*.json") if not file.name.startswith("."))
    if not files:
        raise InputError(f"{path} holds no .json files; give the folder that labelme saved to.")
    for file in files:
        content = read_json(file)
        try:
            size = int(content["imageHeight"]), int(content["imageWidth"])
            image, shapes = str(content["imagePath"]), content["shapes"]
        except (KeyError, TypeError, ValueError) as error:
            raise invalid(file, error, "imagePath, imageHeight, imageWidth and shapes") from error
        regions = [_region(shape, size, file, i) for i, shape in enumerate(shapes, start=1)]
        beside = os.path.normpath(file.parent / image.replace("\\", "/"))
        own = file.relative_to(path).with_suffix("").as_posix()
        yield AnnotatedImage(str(file), [beside, image, own], regions, size)


def _region(shape: Any, size: tuple[int, int], file: Path, number: int) -> Region:
    source = f"{file}, shape {number}"
    try:
        name, kind = str(shape["label"]), shape.get("shape_type", "polygon")
        points = np.array(shape["points"], float).reshape(-1, 2)
        if kind == "mask":
            return Region(name, pixels=_mask(shape, points, size))
        if kind == "polygon":
            return Region(name, [points])
        if kind == "rectangle":
            (x0, y0), (x1, y1) = points
            return Region(name, [box(x0, y0, x1, y1)])
        if kind == "oriented_rectangle":
            return Region(name, [points])
        if kind == "circle":
            (x0, y0), (x1, y1) = points
            radius = float(np.hypot(x1 - x0, y1 - y0))
            return Region(name, [ellipse(x0, y0, radius, radius)])
    except (AttributeError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise invalid(source, error, "label, shape_type and points") from error
    hint = "has no area" if kind in NO_AREA else "is unknown"
    raise InputError(
        f"{source} ({name}) is a {kind}, which {hint}; draw a polygon, or remove the shape."
    )


def _mask(shape: Mapping[str, Any], points: np.ndarray, size: tuple[int, int]) -> Patch:
    """Pixels of a shape of type mask: a PNG at the first of two corners."""
    inside = pixels_of_png(base64.b64decode(shape["mask"], validate=True)) > 0
    (left, top), (h, w) = points[0].astype(int).tolist(), inside.shape
    if left < 0 or top < 0 or top + h > size[0] or left + w > size[1]:
        raise ValueError(
            f"its mask of {w}x{h} pixels at ({left}, {top}) is not within {size[1]}x{size[0]}"
        )
    return Patch(top, left, inside)
