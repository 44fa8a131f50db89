"""COCO: `instances.json` of polygons, or of compressed run lengths.

Source: https://cocodataset.org/#format-data; run lengths by pycocotools.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco_mask

from wsss_lightning.errors import InputError
from wsss_lightning.export.masks.files import find_file, invalid, read_json
from wsss_lightning.export.masks.formats import WriteOptions
from wsss_lightning.export.masks.objects import (
    AnnotatedImage,
    ImageObjects,
    MaskObject,
    Patch,
    Region,
    fill,
)
from wsss_lightning.export.masks.polygons import rings_of
from wsss_lightning.utils.files import write_text

FILE: Final = "instances.json"


def write(folder: Path, images: Iterator[ImageObjects], options: WriteOptions) -> None:
    """Write `instances.json`; `area` and `bbox` are those of the segmentation that is written.

    COCO's polygons have no holes, so that holes are bridged by slits. `iscrowd` is always 0.
    """
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images, start=1):
        listed.append(
            {
                "id": number,
                "file_name": image.relative,
                "height": image.height,
                "width": image.width,
            }
        )
        for one in image.objects:
            segmentation = _rle(one, image) if options.rle else _polygons(one, image, options)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": one.label,
                    **segmentation,
                    "iscrowd": 0,
                }
            )
    categories = [
        {"id": label, "name": name, "supercategory": ""} for label, name in options.names.items()
    ]
    content = {
        "info": {"description": f"masks of {options.split}, written by wsss-lightning"},
        "licenses": [],
        "images": listed,
        "categories": categories,
        "annotations": annotations,
    }
    write_text(folder / FILE, json.dumps(content, ensure_ascii=False))


def _rle(one: MaskObject, image: ImageObjects) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(one.patch.canvas(image.height, image.width)))
    return {
        "segmentation": {**encoded, "counts": encoded["counts"].decode()},
        "area": int(coco_mask.area(encoded)),
        "bbox": coco_mask.toBbox(encoded).tolist(),
    }


def _polygons(one: MaskObject, image: ImageObjects, options: WriteOptions) -> dict[str, Any]:
    rings = rings_of(one, options.tolerance)
    corners = np.concatenate(rings)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return {
        "segmentation": [ring.ravel().tolist() for ring in rings],
        "area": fill(rings, image.height, image.width).area,
        "bbox": [*low.tolist(), *(high - low).tolist()],
    }


def read(path: Path, classes: Sequence[str]) -> Iterator[AnnotatedImage]:
    """Objects of each image, in the order of the file; crowds count as objects of their class.

    Args:
        path: the file, or a folder that holds it.
        classes: unused; the file names its own.

    Raises:
        InputError: the file cannot be read as instances of COCO.
    """
    path = find_file(path, FILE, "annotations/instances_*.json", "*.json")
    content = read_json(path)
    try:
        names = {one["id"]: str(one["name"]) for one in content["categories"]}
        images = {one["id"]: one for one in content["images"]}
        objects: dict[Any, list[dict[str, Any]]] = {number: [] for number in images}
        for one in content["annotations"]:
            objects[one["image_id"]].append(one)
    except (KeyError, TypeError) as error:
        raise invalid(
            path,
            error,
            "images (id, file_name, height, width), categories (id, name) and annotations (id, "
            "image_id, category_id, segmentation)",
        ) from error
    for number, image in images.items():
        try:
            source = f"{path}, {image['file_name']}"
            size = int(image["height"]), int(image["width"])
        except (KeyError, TypeError, ValueError) as error:
            raise invalid(path, error, "file_name, height and width of each image") from error
        regions = [_region(one, names, size, source) for one in objects[number]]
        yield AnnotatedImage(source, [str(image["file_name"])], regions, size)


def _region(
    one: Mapping[str, Any], names: Mapping[Any, str], size: tuple[int, int], source: str
) -> Region:
    try:
        name, outline = names[one["category_id"]], one["segmentation"]
        if isinstance(outline, Mapping):
            return Region(name, pixels=Patch.around(_decode(outline, size)))
        if not outline:
            raise ValueError("its segmentation is empty")
        if any(len(polygon) < 6 or len(polygon) % 2 for polygon in outline):
            raise ValueError("a polygon needs three points or more, as x, y, x, y, ...")
        return Region(name, [np.array(polygon, float).reshape(-1, 2) for polygon in outline])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{source}: the object {one.get('id')} has no valid category or segmentation "
            f"({type(error).__name__}: {error}); correct or remove it."
        ) from error


def _decode(rle: Mapping[str, Any], size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    height, width = (int(side) for side in rle["size"])
    if (height, width) != size:
        raise ValueError(
            f"its run lengths are of {width}x{height} pixels, but its image is of "
            f"{size[1]}x{size[0]}"
        )
    counts = rle["counts"]
    if isinstance(counts, list):
        if sum(counts) != height * width or min(counts, default=0) < 0:
            raise ValueError(f"its run lengths add up to {sum(counts)}, not {height * width}")
        return coco_mask.decode(coco_mask.frPyObjects(dict(rle), height, width)) > 0
    if not isinstance(counts, str):
        raise TypeError(f"its counts are {type(counts).__name__}, not text or a list")
    encoded = {"size": [height, width], "counts": counts.encode()}
    _check_length(counts, height * width)
    return coco_mask.decode(encoded) > 0


def _check_length(counts: str, pixels: int) -> None:
    """Check that compressed run lengths fill the image; pycocotools reads beyond memory otherwise.

    Source: `rleFrString` of pycocotools: 5 bits a character, low ones first, bit 32 continues; from
    the third run on, the difference to the run before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode():
        code = character - 48
        if not 0 <= code < 64:
            raise ValueError(f"its counts have the character {chr(character)!r}")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift or sum(runs) != pixels or min(runs, default=0) < 0:
        raise ValueError(f"its run lengths add up to {sum(runs)}, not {pixels}")
