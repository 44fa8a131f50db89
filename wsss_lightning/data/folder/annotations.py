"""Files of annotations: COCO, VOC, YOLO, labelme and CVAT, read as tags and boxes of photos."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element

import yaml

from wsss_lightning.data.folder.labels import Labels, match_file
from wsss_lightning.data.folder.photos import Photo, Photos
from wsss_lightning.data.sources.boxes import (
    MAX_XML_SIZE,
    RawBox,
    numbers_of,
    parse_xml,
    read_coco,
    read_xml,
    size_of,
)
from wsss_lightning.data.sources.text import read_lines
from wsss_lightning.errors import InputError
from wsss_lightning.utils.text import shorten

MAX_CVAT_SIZE: Final = 1 << 28  # bytes of a file with the annotations of all images
CLASS_FILES: Final = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt")
AREAS: Final = ("polygon", "rectangle", "circle", "mask")  # shapes of labelme that cover an area


def add_coco(labels: Labels, photos: Photos, path: Path) -> None:
    """Add the boxes of a COCO file."""
    table = read_coco(path)
    look_up = photos.shortened(table.boxes.keys())
    for text, boxes in table.boxes.items():
        photo = photos.match(look_up(text), path)
        if photo is None:
            _add_missing(labels, photos, text)
        else:
            labels.add(photo, path, (), boxes, table.sizes.get(text))


def add_voc(labels: Labels, photos: Photos, path: Path, folder: Path) -> None:
    """Add the objects of an annotation in VOC's XML."""
    annotation = read_xml(path)
    also = (parse_xml(path, MAX_XML_SIZE).findtext("filename") or "").strip()
    photo = match_file(photos, path, folder, also)
    if photo is None:
        _add_missing(labels, photos, also or path.name)
        return
    boxes = [box for box in annotation.boxes if box.name]
    labels.add(photo, path, (), boxes, annotation.size)


def add_cvat(labels: Labels, photos: Photos, path: Path) -> None:
    """Add tags, boxes and outlines of a file of CVAT for images.

    Raises:
        InputError: the file is a CVAT export of a video.
    """
    root = parse_xml(path, MAX_CVAT_SIZE)
    if root.find("track") is not None:
        raise InputError(
            f"{path} is CVAT's format for videos; export the task as CVAT for images 1.1."
        )
    images = root.findall("image")
    look_up = photos.shortened([image.get("name", "") for image in images])
    for image in images:
        text = image.get("name", "")
        photo = photos.match(look_up(text), path)
        if photo is None:
            _add_missing(labels, photos, text)
            continue
        words = [node.get("label", "") for node in image if node.get("label")]
        boxes = [box for node in image if (box := _cvat_box(node)) is not None]
        labels.add(photo, path, words, boxes, size_of(image.get("height"), image.get("width")))


def _cvat_box(node: Element) -> RawBox | None:
    """Bounding box of a shape; None for tags, points and lines."""
    label, numbers = node.get("label", ""), None
    if node.tag == "box":
        texts = [node.get(side, "") for side in ("xtl", "ytl", "xbr", "ybr")]
        numbers = numbers_of(texts)
        if numbers is not None and float(node.get("rotation", 0)):
            numbers = _rotated(numbers, float(node.get("rotation", 0)))
    elif node.tag == "mask":
        texts = [node.get(side, "") for side in ("left", "top", "width", "height")]
        if (found := numbers_of(texts)) is not None:
            numbers = found[0], found[1], found[0] + found[2], found[1] + found[3]
    elif node.tag == "ellipse":
        texts = [node.get(side, "") for side in ("cx", "cy", "rx", "ry")]
        if (found := numbers_of(texts)) is not None:
            x, y, a, b = found
            numbers = x - a, y - b, x + a, y + b
    elif node.tag == "polygon":
        texts = [node.get("points", "")]
        numbers = _bounds([point.split(",") for point in texts[0].split(";")])
    else:
        return None
    return RawBox(label, numbers, False, ", ".join(texts)[:80], node.tag)


def add_labelme(
    labels: Labels, photos: Photos, path: Path, folder: Path, content: Mapping[str, Any]
) -> None:
    """Add the shapes and flags of a file of labelme.

    Raises:
        InputError: the file is damaged.
    """
    also = str(content.get("imagePath") or "").replace("\\", "/").rpartition("/")[2]
    photo = match_file(photos, path, folder, also)
    if photo is None:
        _add_missing(labels, photos, also or path.name)
        return
    try:
        flags = content.get("flags") or {}
        words = [str(name) for name, is_set in flags.items() if is_set]
        words += [str(shape["label"]) for shape in content["shapes"]]
        areas = [s for s in content["shapes"] if s.get("shape_type", "polygon") in AREAS]
        boxes = [
            RawBox(str(s["label"]), _labelme_bounds(s), False, str(s["points"])[:80], "shape")
            for s in areas
        ]
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise InputError(
            f"{path} cannot be read as a file of labelme ({type(error).__name__}: {error}); save "
            "it again there."
        ) from error
    labels.add(
        photo, path, words, boxes, size_of(content.get("imageHeight"), content.get("imageWidth"))
    )


def _labelme_bounds(shape: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    points = shape["points"]
    if shape.get("shape_type") == "circle":
        (x, y), (edge_x, edge_y) = points
        radius = math.hypot(edge_x - x, edge_y - y)
        points = [(x - radius, y - radius), (x + radius, y + radius)]
    return _bounds(points)


def add_yolo(
    labels: Labels, photos: Photos, files: Sequence[Path], folder: Path, names: Mapping[int, str]
) -> None:
    """Add YOLO's files: a class and a box or outline in each line, in shares of the upright photo.

    Args:
        labels: extended.
        photos: the photos.
        files: files of labels, one for each photo.
        folder: folder of the files.
        names: name of each class by its number.

    Raises:
        InputError: a line cannot be used.
    """
    for path in files:
        photo = match_file(photos, path, folder)
        if photo is None:
            _add_missing(labels, photos, path.name)
            continue
        boxes = [_yolo_box(path, line, text, photo, names) for line, (text,) in read_lines(path)]
        labels.add(photo, path, (), boxes)


def is_yolo(path: Path) -> bool:
    """Whether all lines of a file are a whole number and at least four further numbers."""
    number = r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?"
    line = re.compile(rf"\d+(\s+{number}){{4,}}", re.IGNORECASE)
    try:
        return all(line.fullmatch(text) for _, (text,) in read_lines(path))
    except InputError:
        return False


def _yolo_box(path: Path, line: int, text: str, photo: Photo, names: Mapping[int, str]) -> RawBox:
    number, *values = (float(value) for value in text.split())
    where = f"line {line}"
    if int(number) not in names:
        raise InputError(
            f"{path}, {where}, has the class {int(number)}, but only {len(names)} classes are "
            f"named ({shorten(list(names.values()))}); add its name."
        )
    if len(values) == 4:
        x, y, width, height = values
        points = [(x - width / 2, y - height / 2), (x + width / 2, y + height / 2)]
    elif len(values) >= 6 and len(values) % 2 == 0:
        points = list(zip(values[::2], values[1::2], strict=True))
    else:
        raise InputError(
            f"{path}, {where}, has {len(values)} numbers after the class, but YOLO's boxes have 4 "
            "(x, y, width, height) and its outlines x and y of three or more points; correct it."
        )
    if not all(-0.01 <= value <= 1.01 for value in values):
        raise InputError(
            f"{path}, {where}, is {text[:80]!r}, but YOLO's coordinates are shares of width and "
            "height in [0, 1]; divide pixels by the size of the photo."
        )
    height, width = photo.fact.header.upright
    bounds = _bounds([(x * width, y * height) for x, y in points])
    return RawBox(names[int(number)], bounds, False, text[:80], where)


def yolo_names(place: Path, root: Path) -> dict[int, str]:
    """Names of YOLO's classes by number.

    Args:
        place: a .yaml or .names file, or a folder: files in it, above it and in `root` are tried.
        root: folder of the photos.

    Raises:
        InputError: no file names the classes, or it is damaged.
    """
    if place.is_file():
        return _names_of(place)
    for folder in dict.fromkeys((place, place.parent, place.parent.parent, root, root.parent)):
        yamls = [path for path in sorted(folder.glob("*.y*ml")) if "names" in _yaml(path)]
        files = [folder / name for name in CLASS_FILES if (folder / name).is_file()]
        if yamls or files:
            return _names_of((yamls + files)[0])
    raise InputError(
        f"{place} holds labels of YOLO, whose classes are numbers; put classes.txt (a name a line) "
        "or data.yaml (with names) beside them."
    )


def _names_of(path: Path) -> dict[int, str]:
    if path.suffix.lower() not in (".yaml", ".yml"):
        return {i: text for i, (_, (text,)) in enumerate(read_lines(path))}
    names = _yaml(path).get("names")
    pairs = names.items() if isinstance(names, dict) else enumerate(names or ())
    try:
        return {int(number): str(name) for number, name in pairs}
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path} has no names of classes ({error}); add names: [cat, dog]."
        ) from error


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _bounds(points: Iterable[Sequence[Any]]) -> tuple[float, float, float, float] | None:
    """Bounding box of points (x, y); None if they are no numbers."""
    try:
        xs, ys = zip(*((float(x), float(y)) for x, y in points), strict=True)
    except (TypeError, ValueError):
        return None
    return numbers_of([min(xs), min(ys), max(xs), max(ys)])


def _rotated(
    box: tuple[float, float, float, float], degrees: float
) -> tuple[float, float, float, float] | None:
    """Bounding box of a box that is rotated clockwise around its centre."""
    x0, y0, x1, y1 = box
    x, y, angle = (x0 + x1) / 2, (y0 + y1) / 2, math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    corners = [(a - x, b - y) for a in (x0, x1) for b in (y0, y1)]
    return _bounds([(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in corners])


def _add_missing(labels: Labels, photos: Photos, text: str) -> None:
    if not photos.is_skipped(text):
        labels.missing.append(text)


def read_json(path: Path) -> Any:
    """Content of a JSON file; None if it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
