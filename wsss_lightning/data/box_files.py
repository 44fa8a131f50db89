"""Boxes as files hold them, in one convention.

Ours: x0, y0, x1, y1 in pixels from 0, ends exclusive, so x1 - x0 is the width. Files differ: VOC's
XML counts from 1 and includes the ends; COCO gives a corner, width and height from 0; masks have
pixels.

Letters: n boxes, H W an image.
"""

import csv
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

from wsss_lightning.errors import InputError
from wsss_lightning.functional.masks import IGNORE

SIDES: Final = ("xmin", "ymin", "xmax", "ymax")
MOST_XML: Final = 1 << 24  # bytes
COLUMNS: Final = ("image", "class", "x0", "y0", "x1", "y1")


class Drawn(NamedTuple):
    """A box as somebody drew it.

    name: of its class.
    corners: x0, y0, x1, y1, of our convention but for rounding; None where they are no numbers.
    difficult: marked as such in VOC's XML.
    told: the numbers as the file has them.
    """

    name: str
    corners: tuple[float, float, float, float] | None
    difficult: bool
    told: str


def objects_of(path: Path) -> list[Element]:
    """The objects of an annotation in VOC's XML, without expanding entities.

    Raises:
        InputError: the file is absent, does not parse, or declares entities.
    """
    _check_length(path)
    try:
        # an <object> has <part>s with names and boxes of their own; only direct children are meant
        return list(parse(path).getroot().findall("object"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing; add it, or take tags from elsewhere (data.reader.tags), and boxes "
            "(data.reader.boxes)."
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


def read_xml(path: Path) -> list[Drawn]:
    """Boxes of an annotation in VOC's XML, which counts from 1 and includes the ends.

    Source: VOC development kit; a few of VOC's own files hold decimals.
    """
    found = []
    for node in objects_of(path):
        told = [(node.findtext(f"bndbox/{side}") or "").strip() for side in SIDES]
        numbers = _numbers(told)
        corners = None
        if numbers is not None:
            x0, y0, x1, y1 = numbers
            corners = (x0 - 1, y0 - 1, x1, y1)
        found.append(
            Drawn(
                (node.findtext("name") or "").strip(),
                corners,
                (node.findtext("difficult") or "").strip() == "1",
                ", ".join(told),
            )
        )
    return found


def read_coco(path: Path) -> dict[str, list[Drawn]]:
    """Boxes by image name of a COCO file: corner, width and height from 0; crowds are left out.

    Raises:
        InputError: the file is no such JSON.
    """
    try:
        with path.open(encoding="utf-8") as file:
            content = json.load(file)
        names = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
        categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        found: dict[str, list[Drawn]] = {name: [] for name in names.values()}
        for entry in content["annotations"]:
            if entry.get("iscrowd", 0):
                continue
            numbers = _numbers(list(entry["bbox"]))
            corners = None
            if numbers is not None:
                x, y, width, height = numbers
                corners = (x, y, x + width, y + height)
            told = ", ".join(map(str, entry["bbox"]))
            drawn = Drawn(categories[entry["category_id"]], corners, False, told)
            found[names[entry["image_id"]]].append(drawn)
    # RecursionError: lists in lists in lists
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read as boxes of COCO ({type(error).__name__}: {error}); expected "
            "images (id, file_name), categories (id, name) and annotations (image_id, category_id, "
            "bbox)."
        ) from error
    return found


def read_csv(path: Path) -> dict[str, list[Drawn]]:
    """Boxes by image name of a CSV file, in our own convention.

    Raises:
        InputError: the file is no text, or a line is not of the columns of the first.
    """
    try:
        # a spreadsheet may put a byte order mark first
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} does not read as CSV ({error}); save it as UTF-8.") from error
    header = [name.strip() for name in rows[0]] if rows else []
    if header != list(COLUMNS):
        raise InputError(
            f"{path} begins with {','.join(header)[:80] or 'nothing'}, but the first line of boxes "
            f"is {','.join(COLUMNS)} (pixels from 0, ends exclusive); mend it."
        )
    found: dict[str, list[Drawn]] = {}
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(COLUMNS):
            raise InputError(
                f"{path}, line {line}, is {','.join(row)[:80]}, but {','.join(COLUMNS)} are "
                "expected; mend the line."
            )
        name, label, *told = (word.strip() for word in row)
        drawn = Drawn(label, _numbers(told), False, ", ".join(told))
        found.setdefault(name, []).append(drawn)
    return found


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


def fitted(drawn: Drawn, height: int, width: int) -> tuple[int, int, int, int] | None:
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


def reaches_out(drawn: Drawn, height: int, width: int) -> bool:
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


def _numbers(told: Sequence[Any]) -> tuple[float, float, float, float] | None:
    try:
        a, b, c, d = (float(word) for word in told)
    except (TypeError, ValueError):
        return None
    return (a, b, c, d) if all(map(math.isfinite, (a, b, c, d))) else None
