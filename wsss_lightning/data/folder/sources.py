"""Finds out what a file or folder of labels is, and reads it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from wsss_lightning.data.folder.annotations import (
    CLASS_FILES,
    add_coco,
    add_cvat,
    add_labelme,
    add_voc,
    add_yolo,
    is_yolo,
    read_json,
    yolo_names,
)
from wsss_lightning.data.folder.labels import Labels
from wsss_lightning.data.folder.photos import Photos
from wsss_lightning.data.folder.tables import read_tags
from wsss_lightning.data.images import SUFFIXES
from wsss_lightning.data.sources.boxes import parse_xml
from wsss_lightning.data.sources.names import files_below
from wsss_lightning.errors import InputError
from wsss_lightning.utils.text import shorten

TABLES: Final = (".csv", ".tsv", ".tab", ".txt", "")
WORKBOOKS: Final = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
FORMATS: Final = (
    "a table (CSV) with a column of file names and columns of tags, COCO JSON, labelme JSON, VOC "
    "XML, CVAT XML (for images 1.1), or YOLO text files with classes.txt or data.yaml"
)


def read_labels(path: Path, photos: Photos, columns: Sequence[str] | None) -> Labels:
    """Read labels of photos in any of the known formats.

    Args:
        path: file or folder.
        photos: the photos that it may name.
        columns: headings of the columns of a table that hold tags; None: they are found.

    Raises:
        InputError: the format is not known, several formats fit, or the labels cannot be used.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        files = [path / relative for relative in files_below(path)]
        labels = _read_files(files, path, photos, columns)
    elif suffix in WORKBOOKS:
        raise InputError(
            f"{path} is a spreadsheet; save it as CSV there (File, Save as, CSV UTF-8), and give "
            f"that file: {path.with_suffix('.csv').name}."
        )
    elif suffix in (".yaml", ".yml", ".names"):
        below = (path.parent / relative for relative in files_below(path.parent))
        labels = _read_yolo([file for file in below if file.suffix == ".txt"], path, photos)
    elif suffix in (".json", ".xml"):
        labels = _read_files([path], path.parent, photos, columns)
    elif suffix in TABLES:
        return read_tags(path, photos, columns)
    else:
        kind = "an image" if suffix in SUFFIXES else f"a file {suffix}"
        raise InputError(f"{path} is {kind}, but tags and boxes are {FORMATS}.")
    if not labels.words:
        files_of = shorten([photo.relative for photo in photos.photos])
        raise InputError(
            f"{path} ({labels.source}) names none of the photos in {photos.root} ({files_of}), but "
            f"{shorten(labels.missing) or 'no image at all'}; give the labels of these photos."
        )
    return labels


def _read_files(
    files: Sequence[Path], folder: Path, photos: Photos, columns: Sequence[str] | None
) -> Labels:
    """Read files of one format, which their contents tell."""
    kinds = {kind: found for kind, found in _sort(files, photos).items() if found}
    if len(kinds) != 1:
        given = files[0] if len(files) == 1 else folder
        held = [f"{kind} ({len(found)} files)" for kind, found in kinds.items()]
        holds = f"holds labels of several formats: {', '.join(held)}" if held else "holds no labels"
        raise InputError(f"{given} {holds}; give the file or folder of one of these: {FORMATS}.")
    (kind, found), labels = next(iter(kinds.items())), Labels()
    if kind == "a table":
        if len(found) > 1:
            raise InputError(
                f"{folder} holds {len(found)} tables ({shorten([f.name for f in found])}); give "
                "one of them."
            )
        return read_tags(found[0], photos, columns)
    if kind == "YOLO":
        return _read_yolo(found, folder, photos)
    for path in found:
        if kind == "COCO JSON":
            add_coco(labels, photos, path)
        elif kind == "labelme JSON":
            add_labelme(labels, photos, path, folder, read_json(path))
        elif kind == "CVAT XML":
            add_cvat(labels, photos, path)
        else:
            add_voc(labels, photos, path, folder)
    labels.source = _source(kind, found, folder)
    return labels


def _read_yolo(files: Sequence[Path], place: Path, photos: Photos) -> Labels:
    folder = place.parent if place.is_file() else place
    files = [path for path in files if path.name not in CLASS_FILES and is_yolo(path)]
    labels = Labels()
    add_yolo(labels, photos, files, folder, yolo_names(place, photos.root))
    labels.source = _source("YOLO", files, folder)
    return labels


def _sort(files: Sequence[Path], photos: Photos) -> dict[str, list[Path]]:
    """Files of each format, told by their contents."""
    kinds: dict[str, list[Path]] = {}
    for path in files:
        suffix = path.suffix.lower()
        kind = None
        if suffix == ".json":
            kind = _kind_of_json(read_json(path))
        elif suffix == ".xml":
            kind = _kind_of_xml(path)
        elif suffix in (".csv", ".tsv", ".tab"):
            kind = "a table"
        elif suffix == ".txt" and path.name not in CLASS_FILES and photos.find(path.stem):
            kind = "YOLO" if is_yolo(path) else None
        if kind is not None:
            kinds.setdefault(kind, []).append(path)
    return kinds


def _kind_of_json(content: Any) -> str | None:
    if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
        return "COCO JSON"
    if isinstance(content, dict) and "shapes" in content:
        return "labelme JSON"
    return None


def _kind_of_xml(path: Path) -> str | None:
    try:
        root = parse_xml(path, path.stat().st_size + 1)
    except InputError:
        return "VOC XML"  # reading it reports the error
    return {"annotation": "VOC XML", "annotations": "CVAT XML"}.get(root.tag)


def _source(kind: str, files: Sequence[Path], folder: Path) -> str:
    if len(files) == 1:
        return f"{files[0].name}: {kind}"
    return f"{len(files)} files of {kind} in {folder.name}"
