"""Boxes as files hold them, in one convention.

Ours: x0, y0, x1, y1 in pixels from 0, ends exclusive, so x1 - x0 is the width. Files differ: VOC's
XML counts from 1 and includes the ends; COCO gives a corner, width and height from 0; masks have
pixels.

Letters: n boxes, H W an image.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import parse
from jaxtyping import Integer, UInt8

from wsss_lightning.data.sources.text import read_table
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE

SIDES: Final = ("xmin", "ymin", "xmax", "ymax")
MOST_XML: Final = 1 << 24  # bytes
COLUMNS: Final = ("image", "class", "x0", "y0", "x1", "y1")


class RawBox(NamedTuple):
    """A box as somebody drew it.

    Attributes:
        name: of its class.
        corners: x0, y0, x1, y1, of our convention but for rounding; None where they are no numbers.
        difficult: marked as such in VOC's XML.
        numbers: as the file has them.
        where: which box of the file it is, where one file holds those of many images.
    """

    name: str
    corners: tuple[float, float, float, float] | None
    difficult: bool
    numbers: str
    where: str = ""


class Annotation(NamedTuple):
    """Of one image, in VOC's XML.

    Attributes:
        boxes: of its objects.
        size: (H, W) of the image that was annotated; None where the file does not say.
    """

    boxes: list[RawBox]
    size: tuple[int, int] | None


class BoxTable(NamedTuple):
    """Boxes of many images in one file.

    Attributes:
        boxes: by image, as the file writes its name.
        sizes: (H, W) of images that the file knows, likewise.
        left_out: objects without height or width, which COCO's own files hold.
    """

    boxes: dict[str, list[RawBox]]
    sizes: dict[str, tuple[int, int]]
    left_out: int = 0


def read_xml(path: Path) -> Annotation:
    """Boxes of an annotation in VOC's XML, which counts from 1 and includes the ends.

    A namespace is ignored, and entities are not expanded.

    Raises:
        InputError: the file is absent, does not parse, or declares entities.

    Source: VOC development kit; a few of VOC's own files hold decimals.
    """
    root = _parse_xml(path)
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    boxes = []
    # an <object> has <part>s with names and boxes of their own; only direct children are meant
    for node in root.findall("object"):
        written = [(node.findtext(f"bndbox/{side}") or "").strip() for side in SIDES]
        numbers = _numbers(written)
        corners = None
        if numbers is not None:
            x0, y0, x1, y1 = numbers
            corners = (x0 - 1, y0 - 1, x1, y1)
        boxes.append(
            RawBox(
                (node.findtext("name") or "").strip(),
                corners,
                (node.findtext("difficult") or "").strip() == "1",
                ", ".join(written),
            )
        )
    return Annotation(boxes, _size(root.findtext("size/height"), root.findtext("size/width")))


def _parse_xml(path: Path) -> Element:
    _check_length(path)
    try:
        return parse(path).getroot()
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing; add it, or take tags from elsewhere (data.dataset.tags), and boxes "
            "(data.dataset.boxes)."
        ) from error
    except DefusedXmlException as error:
        raise InputError(
            f"{path} declares entities, which are not expanded; save it without a DOCTYPE."
        ) from error
    # an encoding that Python lacks, or text that is not of the one declared
    except (ParseError, LookupError, ValueError) as error:
        raise InputError(f"{path} does not parse as XML ({error}); mend the file.") from error


def _check_length(path: Path) -> None:
    """An annotation is of one image; a tree of it in memory is ten times as large."""
    if path.is_file() and path.stat().st_size > MOST_XML:
        raise InputError(
            f"{path} has {path.stat().st_size} bytes, but the annotation of one image has at most "
            f"{MOST_XML}; give each image a file of its own."
        )


def _size(height: Any, width: Any) -> tuple[int, int] | None:
    """(H, W); None where the file has none, or the 0 that some tools write in its place."""
    try:
        size = int(float(height)), int(float(width))
    except (TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None


def read_coco(path: Path) -> BoxTable:
    """Boxes of a COCO file: corner, width and height from 0; crowds are left out.

    Objects whose height or width is 0 have no pixel. COCO 2014 has one, so they are left out and
    counted.

    Raises:
        InputError: the file is not of COCO.
    """
    try:
        content = json.loads(path.read_bytes())
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        if len(set(names.values())) < len(content["images"]):
            raise ValueError("two images have the same id or file_name")
        categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        boxes: dict[str, list[RawBox]] = {name: [] for name in names.values()}
        left_out = 0
        for entry in content["annotations"]:
            if entry.get("iscrowd", 0):
                continue
            numbers = _numbers(list(entry["bbox"]))
            corners = None
            if numbers is not None:
                x, y, width, height = numbers
                if min(width, height) == 0 <= max(width, height):
                    left_out += 1
                    continue
                corners = (x, y, x + width, y + height)
            written = ", ".join(map(str, entry["bbox"]))
            where = f"object {entry.get('id', '?')} of {names[entry['image_id']]}"
            drawn = RawBox(categories[entry["category_id"]], corners, False, written, where)
            boxes[names[entry["image_id"]]].append(drawn)
        sizes = {
            names[image["id"]]: size
            for image in content["images"]
            if (size := _size(image.get("height"), image.get("width"))) is not None
        }
    # RecursionError: lists in lists in lists
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read as boxes of COCO ({type(error).__name__}: {error}); expected "
            "images (id, file_name), categories (id, name) and annotations (image_id, category_id, "
            "bbox)."
        ) from error
    return BoxTable(boxes, sizes, left_out)


def read_csv(path: Path) -> BoxTable:
    """Boxes of a CSV file, in our own convention.

    Raises:
        InputError: the file is no text, or a line is not of the columns of the first.
    """
    rows = read_table(path)
    header = [word.lower() for word in rows[0].cells]
    if header != list(COLUMNS):
        raise InputError(
            f"{path} begins with {','.join(header)[:80]}, but the first line of boxes "
            f"is {','.join(COLUMNS)} (pixels from 0, ends exclusive); mend it."
        )
    boxes: dict[str, list[RawBox]] = {}
    for line, cells in rows[1:]:
        if len(cells) != len(COLUMNS):
            raise InputError(
                f"{path}, line {line}, is {','.join(cells)[:80]}, but {','.join(COLUMNS)} are "
                "expected; mend the line."
            )
        name, label, *written = cells
        drawn = RawBox(label, _numbers(written), False, ", ".join(written), f"line {line}")
        boxes.setdefault(name, []).append(drawn)
    return BoxTable(boxes, {})


def boxes_of_instances(
    instances: Integer[np.ndarray, "H W"], mask: UInt8[np.ndarray, "H W"]
) -> Integer[np.ndarray, "n 5"]:
    """Class, x0, y0, x1, y1 around each instance; its class is that of most of its pixels.

    Args:
        instances: number of each object; 0 background, 255 ignored.
        mask: labels 0..c; ignored pixels do not vote, and an instance of only such has no box.

    Raises:
        ValueError: most pixels of an instance are background.

    Source: Dai et al. 2015 (BoxSup). Tighter than drawn boxes by the ignored rim.
    """
    found = []
    for number in np.unique(instances):
        if number in (0, IGNORE):
            continue
        here = instances == number
        votes = np.bincount(mask[here & (mask != IGNORE)].ravel(), minlength=1)
        if not votes.any():
            continue
        label = int(votes.argmax())
        if label == 0:
            raise ValueError(f"instance {number} lies on background")
        rows, columns = np.flatnonzero(here.any(1)), np.flatnonzero(here.any(0))
        found.append((label, columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return np.array(found, np.int64).reshape(-1, 5)


def clip_and_round(drawn: RawBox, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Corners in whole pixels, cut to the image; None where no pixel is left.

    Halves are rounded up, so a box keeps its size wherever it lies; one that rounding would leave
    without a pixel keeps the one where it begins.
    """
    if drawn.corners is None:
        return None
    x0, y0, x1, y1 = drawn.corners
    left, right = _whole(x0, x1)
    top, bottom = _whole(y0, y1)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    return (left, top, right, bottom) if left < right and top < bottom else None


def exceeds_image(drawn: RawBox, height: int, width: int) -> bool:
    """Whether a part of a box lies outside its image."""
    if drawn.corners is None:
        return False
    x0, y0, x1, y1 = drawn.corners
    left, right = _whole(x0, x1)
    top, bottom = _whole(y0, y1)
    return left < 0 or top < 0 or right > width or bottom > height


def _whole(start: float, stop: float) -> tuple[int, int]:
    first, last = math.floor(start + 0.5), math.floor(stop + 0.5)
    if first == last and start < stop:
        first = math.floor(start)
        last = first + 1
    return first, last


def _numbers(written: Sequence[Any]) -> tuple[float, float, float, float] | None:
    try:
        a, b, c, d = (float(word) for word in written)
    except (TypeError, ValueError):
        return None
    return (a, b, c, d) if all(map(math.isfinite, (a, b, c, d))) else None
