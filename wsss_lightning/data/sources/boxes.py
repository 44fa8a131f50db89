"""Files of boxes, in one convention.

Ours: x0, y0, x1, y1 in pixels from 0, ends exclusive, so that x1 - x0 is the width. VOC's XML
counts from 1 and includes the ends; COCO gives a corner, width and height from 0.

Letters: n boxes, H W an image.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.etree.ElementTree import Element, ParseError

import numpy as np
import torch
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import parse
from jaxtyping import Integer, UInt8
from torchvision import ops

from wsss_lightning.data.sources.text import read_table
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE

SIDES: Final = ("xmin", "ymin", "xmax", "ymax")
MAX_XML_SIZE: Final = 1 << 24  # bytes
COLUMNS: Final = ("image", "class", "x0", "y0", "x1", "y1")


class RawBox(NamedTuple):
    """A box as its file holds it, neither rounded nor clipped.

    Attributes:
        name: name of its class.
        corners: x0, y0, x1, y1 in our convention; None if they are not numbers.
        difficult: marked as such in VOC's XML.
        numbers: as written in the file, for messages.
        where: line or object in the file, for messages; empty if the file has boxes of one image.
    """

    name: str
    corners: tuple[float, float, float, float] | None
    difficult: bool
    numbers: str
    where: str = ""


class Annotation(NamedTuple):
    """An annotation of one image in VOC's XML.

    Attributes:
        boxes: boxes of its objects.
        size: (H, W) of the annotated image; None if the file does not give it.
    """

    boxes: list[RawBox]
    size: tuple[int, int] | None


class BoxTable(NamedTuple):
    """Boxes of many images in one file.

    Attributes:
        boxes: by image name, as written in the file.
        sizes: (H, W) by image name, where the file gives it.
        num_empty: objects without height or width, which are left out.
    """

    boxes: dict[str, list[RawBox]]
    sizes: dict[str, tuple[int, int]]
    num_empty: int = 0


def read_xml(path: Path) -> Annotation:
    """Read an annotation in VOC's XML, which counts from 1 and includes the ends.

    Namespaces are ignored, and entities are not expanded.

    Raises:
        InputError: the file is missing, too large or invalid, or declares entities.

    Source: VOC development kit; a few of VOC's own files hold decimals.
    """
    root = parse_xml(path, MAX_XML_SIZE)
    boxes = []
    # an <object> has <part>s with names and boxes of their own, so only direct children count
    for node in root.findall("object"):
        texts = [(node.findtext(f"bndbox/{side}") or "").strip() for side in SIDES]
        numbers = numbers_of(texts)
        corners = None
        if numbers is not None:
            x0, y0, x1, y1 = numbers
            corners = (x0 - 1, y0 - 1, x1, y1)
        boxes.append(
            RawBox(
                (node.findtext("name") or "").strip(),
                corners,
                (node.findtext("difficult") or "").strip() == "1",
                ", ".join(texts),
            )
        )
    return Annotation(boxes, size_of(root.findtext("size/height"), root.findtext("size/width")))


def parse_xml(path: Path, max_size: int) -> Element:
    """Root of an XML file, without namespaces.

    Args:
        path: path of the file.
        max_size: bytes; the tree of a file takes ten times as much memory.

    Raises:
        InputError: as in `read_xml`.
    """
    if path.is_file() and path.stat().st_size > max_size:
        raise InputError(
            f"{path} has {path.stat().st_size} bytes, but at most {max_size} are read; give each "
            "image a file of its own."
        )
    try:
        root: Element = parse(path).getroot()
        for element in root.iter():
            if isinstance(element.tag, str):
                element.tag = element.tag.rpartition("}")[2]
        return root
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing; add it, or set `tags` and `boxes` to other sources."
        ) from error
    except DefusedXmlException as error:
        raise InputError(
            f"{path} declares entities, which are not expanded; save it without a DOCTYPE."
        ) from error
    # an unknown encoding, or text in another encoding than declared
    except (ParseError, LookupError, ValueError) as error:
        raise InputError(f"{path} cannot be parsed as XML ({error}); correct the file.") from error


def size_of(height: Any, width: Any) -> tuple[int, int] | None:
    """(H, W); None if missing, or 0, which some tools write for an unknown size."""
    try:
        size = int(float(height)), int(float(width))
    except (TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None


def read_coco(path: Path) -> BoxTable:
    """Read boxes of a COCO file: corner, width and height from 0.

    Crowds are left out. So are objects with a height or width of 0, of which COCO 2014 has one.

    Raises:
        InputError: the file is not in COCO's format.
    """
    try:
        content = json.loads(path.read_bytes())
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        if len(set(names.values())) < len(content["images"]):
            raise ValueError("two images have the same id or file_name")
        categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        boxes: dict[str, list[RawBox]] = {name: [] for name in names.values()}
        num_empty = 0
        for entry in content["annotations"]:
            if entry.get("iscrowd", 0):
                continue
            corners = None
            if (numbers := numbers_of(list(entry["bbox"]))) is not None:
                x, y, width, height = numbers
                if min(width, height) == 0 <= max(width, height):
                    num_empty += 1
                    continue
                corners = (x, y, x + width, y + height)
            text = ", ".join(map(str, entry["bbox"]))
            where = f"object {entry.get('id', '?')} of {names[entry['image_id']]}"
            box = RawBox(categories[entry["category_id"]], corners, False, text, where)
            boxes[names[entry["image_id"]]].append(box)
        sizes = {
            names[image["id"]]: size
            for image in content["images"]
            if (size := size_of(image.get("height"), image.get("width"))) is not None
        }
    # RecursionError: deeply nested lists
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read as boxes of COCO ({type(error).__name__}: {error}); expected "
            "images (id, file_name), categories (id, name) and annotations (image_id, category_id, "
            "bbox)."
        ) from error
    return BoxTable(boxes, sizes, num_empty)


def read_csv(path: Path) -> BoxTable:
    """Read boxes of a CSV file, in our convention.

    Raises:
        InputError: the file is not text, its header differs from `COLUMNS`, or a line has another
            number of cells.
    """
    rows = read_table(path)
    header = [word.lower() for word in rows[0].cells]
    if header != list(COLUMNS):
        raise InputError(
            f"{path} begins with {','.join(header)[:80]}, but the first line of boxes "
            f"is {','.join(COLUMNS)} (pixels from 0, ends exclusive); correct the line."
        )
    boxes: dict[str, list[RawBox]] = {}
    for line, cells in rows[1:]:
        if len(cells) != len(COLUMNS):
            raise InputError(
                f"{path}, line {line}, is {','.join(cells)[:80]}, but {','.join(COLUMNS)} are "
                "expected; correct the line."
            )
        name, label, *texts = cells
        box = RawBox(label, numbers_of(texts), False, ", ".join(texts), f"line {line}")
        boxes.setdefault(name, []).append(box)
    return BoxTable(boxes, {})


def boxes_of_instances(
    instances: Integer[np.ndarray, "H W"], mask: UInt8[np.ndarray, "H W"]
) -> Integer[np.ndarray, "n 5"]:
    """Bounding box of each instance, with the class of most of its pixels.

    Args:
        instances: number of each object; 0 background, 255 ignored.
        mask: labels 0 to c; ignored pixels have no vote. An instance whose pixels are all ignored
            has no box.

    Returns:
        Label, x0, y0, x1, y1, ends exclusive. The boxes are tighter than drawn ones by the ignored
        rim.

    Raises:
        ValueError: most pixels of an instance are background.

    Source: Dai et al. 2015 (BoxSup).
    """
    labels: list[int] = []
    areas: list[np.ndarray] = []
    for number in np.unique(instances):
        if number in (0, IGNORE):
            continue
        area = instances == number
        votes = np.bincount(mask[area & (mask != IGNORE)].ravel(), minlength=1)
        if not votes.any():
            continue
        label = int(votes.argmax())
        if label == 0:
            raise ValueError(f"instance {number} lies on background")
        labels.append(label)
        areas.append(area)
    if not labels:
        return np.zeros((0, 5), np.int64)
    # torchvision includes the ends
    corners = ops.masks_to_boxes(torch.from_numpy(np.stack(areas))).long().numpy()
    corners[:, 2:] += 1
    return np.concatenate([np.array(labels)[:, None], corners], axis=1)


def clip_and_round(box: RawBox, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Corners in whole pixels inside the image; None if no pixel remains.

    Halves are rounded up, so that the size of a box does not depend on its position. A box that
    rounding would reduce to nothing keeps the pixel where it starts.

    Args:
        box: a box as in its file.
        height: height of the image.
        width: width of the image.
    """
    if box.corners is None:
        return None
    x0, y0, x1, y1 = box.corners
    left, right = _round_interval(x0, x1)
    top, bottom = _round_interval(y0, y1)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    return (left, top, right, bottom) if left < right and top < bottom else None


def exceeds_image(box: RawBox, height: int, width: int) -> bool:
    """Whether a part of a box lies outside its image.

    Args:
        box: a box as in its file.
        height: height of the image.
        width: width of the image.
    """
    if box.corners is None:
        return False
    x0, y0, x1, y1 = box.corners
    left, right = _round_interval(x0, x1)
    top, bottom = _round_interval(y0, y1)
    return left < 0 or top < 0 or right > width or bottom > height


def _round_interval(start: float, stop: float) -> tuple[int, int]:
    first, last = math.floor(start + 0.5), math.floor(stop + 0.5)
    if first == last and start < stop:
        first = math.floor(start)
        last = first + 1
    return first, last


def numbers_of(texts: Sequence[Any]) -> tuple[float, float, float, float] | None:
    """Four finite numbers; None if the texts are something else."""
    try:
        a, b, c, d = (float(text) for text in texts)
    except (TypeError, ValueError):
        return None
    return (a, b, c, d) if all(map(math.isfinite, (a, b, c, d))) else None
