"""YOLO segmentation of ultralytics: a text file of polygons per image, and `data.yaml`.

Source: https://docs.ultralytics.com/datasets/segment/
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import yaml

from wsss_lightning.errors import InputError
from wsss_lightning.export.masks.files import invalid, link, read_text
from wsss_lightning.export.masks.formats import WriteOptions
from wsss_lightning.export.masks.objects import AnnotatedImage, ImageObjects, Region
from wsss_lightning.export.masks.polygons import rings_of
from wsss_lightning.utils.files import write_text

LABELS: Final = "labels"
IMAGES: Final = "images"
DIGITS: Final = 8  # of shares of width and height; an error below 0.001 pixel


def write(folder: Path, images: Iterator[ImageObjects], options: WriteOptions) -> None:
    """Write `labels/<name>.txt`, links in `images/`, and `data.yaml`.

    A line is the index of a class from 0 and one ring in shares of width and height. Holes are
    bridged by slits. Images without objects have an empty file.
    """
    index = {label: i for i, label in enumerate(options.names)}
    for image in images:
        size = np.array([image.width, image.height])
        lines = [
            f"{index[one.label]} {_shares(ring / size)}\n"
            for one in image.objects
            for ring in rings_of(one, options.tolerance)
        ]
        write_text(folder / LABELS / f"{image.name}.txt", "".join(lines))
        link(folder / IMAGES / image.relative, image.file)
    content = {
        "path": str(options.target),
        "train": IMAGES,
        "val": IMAGES,  # ultralytics requires one
        "names": dict(enumerate(options.names.values())),
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_text(folder / "data.yaml", text)


def _shares(ring: np.ndarray) -> str:
    return " ".join(f"{value:.{DIGITS}f}".rstrip("0").rstrip(".") for value in ring.ravel())


def read(path: Path, classes: Sequence[str]) -> Iterator[AnnotatedImage]:
    """Polygons, and boxes where a line has four numbers, in the order of the lines.

    Args:
        path: folder with `labels` and `data.yaml`; without that, classes have the order of
            `classes`.
        classes: names of the indices 0, 1, ... where there is no `data.yaml`.

    Raises:
        InputError: a file cannot be read, or a line is no polygon of a class.
    """
    labels = path / LABELS if (path / LABELS).is_dir() else path
    names = _names(path, classes)
    files = sorted(labels.rglob("*.txt"))
    if labels is path:
        files = [file for file in files if file.name not in ("train.txt", "val.txt")]
    if not files:
        raise InputError(f"{labels} holds no label files; give the folder that holds {LABELS}/.")
    for file in files:
        regions = [
            _region(line, f"{file}, line {number}", names)
            for number, line in enumerate(read_text(file).splitlines(), start=1)
            if line.strip()
        ]
        name = file.relative_to(labels).with_suffix("").as_posix()
        yield AnnotatedImage(str(file), [name], regions, normalised=True)


def _names(path: Path, classes: Sequence[str]) -> dict[int, str]:
    file = path / "data.yaml"
    if not file.is_file():
        return dict(enumerate(classes))
    try:
        names = yaml.safe_load(read_text(file))["names"]
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(i): str(name) for i, name in pairs}
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise invalid(file, error, "names: a list, or a mapping from index to class") from error


def _region(line: str, source: str, names: dict[int, str]) -> Region:
    try:
        first, *rest = line.split()
        values = np.array([float(word) for word in rest])
        index = int(first)
    except ValueError as error:
        raise invalid(
            source, error, "CLASS x y x y x y ... in shares of width and height"
        ) from error
    if index not in names:
        raise InputError(
            f"{source} has the class {index}, but there are {len(names)}: "
            f"{', '.join(f'{i} {name}' for i, name in names.items())}."
        )
    if len(values) == 4:
        (x, y), half = values[:2], values[2:] / 2
        corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
        return Region(names[index], [np.array([x, y]) + half * np.array(corners)])
    if len(values) < 6 or len(values) % 2:
        raise InputError(
            f"{source} has {len(values)} coordinates, but a polygon has three points or more, as "
            "x y x y x y ..., and a box has four numbers; correct the line."
        )
    if not ((values >= -1) & (values <= 2)).all():
        raise InputError(
            f"{source} has the coordinate {values[np.abs(values).argmax()]:g}, but coordinates are "
            "shares of width and height, from 0 to 1; divide pixels by the size of the image."
        )
    return Region(names[index], [values.reshape(-1, 2)])
