"""Conversion of COCO annotations to the layout of Pascal VOC, which `VOCDataset` reads.

Letters: H W an image.
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8

from wsss_lightning.data.images import read_header
from wsss_lightning.data.scores import save_mask
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.utils.files import write_table, write_text
from wsss_lightning.utils.text import shorten

LISTS: Final = "ImageSets/Segmentation"
MASKS: Final = "SegmentationClass"
IMAGES: Final = "JPEGImages"
TAGS: Final = "tags.csv"

Crowds = Literal["background", "ignore"]
Track = Callable[[Iterable[dict[str, Any]], int, str], Iterator[dict[str, Any]]]


class Split(NamedTuple):
    """Files of a split.

    Attributes:
        annotations: `instances_*.json`.
        images: folder of the images.
    """

    annotations: Path
    images: Path


class Counts(NamedTuple):
    """Counts of a converted split.

    Attributes:
        images: all images.
        tagged: images with at least one object.
        objects: all objects, crowds included.
        crowds: regions of uncounted objects.
    """

    images: int
    tagged: int
    objects: int
    crowds: int


def write_voc_layout(
    splits: Mapping[str, Split],
    root: Path,
    crowds: Crowds = "background",
    track: Track | None = None,
    split_folders: bool = False,
) -> dict[str, Counts]:
    """Write lists, tags, masks, and links to images and boxes below `root`.

    Labels are 1, 2, ... in the order of COCO's category ids, which have gaps. Later objects cover
    earlier ones. `<split>.txt` lists the images with an object, on which most papers train and
    evaluate (82081 and 40137 of COCO 2014); `<split>_all.txt` lists all. Existing masks of the
    same annotations are kept.

    Args:
        splits: files of each split, by its new name.
        root: folder to write to.
        crowds: label of regions of uncounted objects: `background`, as is usual, or `ignore`. They
            are tags either way.
        track: progress bar: returns its first argument, an iterable, given its length and the name
            of the split.
        split_folders: put the images of each split into a folder of its own; needed if splits
            share file names.

    Returns:
        Counts of each split.

    Raises:
        InputError: a file is missing or not in COCO's format, images are missing, two images would
            have the same name, or the splits have different classes. Nothing is written then. Also
            if an object has no valid outline, or an image has another size than annotated.
    """
    opened = {name: _read(split) for name, split in splits.items()}
    classes = {name: _classes(coco) for name, coco in opened.items()}
    first = next(iter(classes))
    for name, own in classes.items():
        if own != classes[first]:
            raise InputError(
                f"{splits[name].annotations} has other categories than {splits[first].annotations};"
                " give annotations of one data set."
            )
    folders = {name: f"{name}/" if split_folders else "" for name in splits}
    for name, split in splits.items():
        _check_images(split, opened[name])
    _check_names(splits, opened, folders)
    rows: list[list[object]] = []
    counts = {}
    for name, split in splits.items():
        args = (name, split, opened[name], root, folders[name], crowds, track, rows)
        counts[name] = _write_split(*args)
    names = [str(one["name"]) for one in _categories(opened[first])]
    write_table(root / TAGS, [["image", *names], *rows])
    return counts


def _write_split(
    name: str,
    split: Split,
    coco: Any,
    root: Path,
    folder: str,
    crowds: Crowds,
    track: Track | None,
    rows: list[list[object]],
) -> Counts:
    """Write the files of one split, and append its rows of tags to `rows`."""
    for part in (LISTS, MASKS, IMAGES):
        (root / part).mkdir(parents=True, exist_ok=True)
    made_from = root / MASKS / f".{name}.json"
    source = json.dumps({"annotations": _digest(split.annotations), "crowds": crowds})
    label_of = {one["id"]: i for i, one in enumerate(_categories(coco), start=1)}
    images = sorted(coco.imgs.values(), key=lambda image: image["id"])
    if not made_from.is_file() or made_from.read_text() != source:
        for image in images:
            (root / MASKS / f"{folder}{_name(image)}.png").unlink(missing_ok=True)
        write_text(made_from, source)
    tagged, objects, regions = [], 0, 0
    for image in track(images, len(images), name) if track else images:
        stem = f"{folder}{_name(image)}"
        objects_of_image = coco.imgToAnns[image["id"]]
        _check_size(split.images / _file(image), image, split.annotations)
        labels = {label_of[one["category_id"]] for one in objects_of_image}
        rows.append([stem, *(int(label in labels) for label in label_of.values())])
        tagged += [stem] if labels else []
        regions += sum(bool(one.get("iscrowd")) for one in objects_of_image)
        objects += len(objects_of_image)
        path = root / MASKS / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            mask = _mask(coco, image, objects_of_image, label_of, crowds, split.annotations)
            save_mask(path, mask)
        _link(root / IMAGES / f"{folder}{_file(image)}", split.images / _file(image))
    write_text(root / LISTS / f"{name}.txt", "".join(f"{stem}\n" for stem in tagged))
    every = [f"{folder}{_name(image)}" for image in images]
    write_text(root / LISTS / f"{name}_all.txt", "".join(f"{stem}\n" for stem in every))
    _link(root / f"instances_{name}.json", split.annotations)
    return Counts(len(images), len(tagged), objects, regions)


def _mask(
    coco: Any,
    image: dict[str, Any],
    objects: list[dict[str, Any]],
    label_of: Mapping[int, int],
    crowds: Crowds,
    path: Path,
) -> UInt8[np.ndarray, "H W"]:
    """Labels of an image; later objects cover earlier ones."""
    mask = np.zeros((image["height"], image["width"]), np.uint8)
    # crowds first, so that they do not cover objects
    for one in sorted(objects, key=lambda one: not one.get("iscrowd")):
        if one.get("iscrowd") and crowds == "background":
            continue
        try:
            _check_outline(one, image)
            inside = coco.annToMask(one).astype(bool)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(
                f"{path}: the object {one.get('id')} of {image['file_name']} has no valid "
                f"outline ({type(error).__name__}: {error}); correct or remove it."
            ) from error
        mask[inside] = IGNORE if one.get("iscrowd") else label_of[one["category_id"]]
    return mask


def _read(split: Split) -> Any:
    from pycocotools.coco import COCO

    if not split.annotations.is_file():
        raise InputError(f"{split.annotations} is missing; give COCO's instances_*.json.")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            coco = COCO(str(split.annotations))
        for image in coco.imgs.values():
            if not all(isinstance(image[key], int) for key in ("id", "height", "width")):
                raise TypeError(f"id, height or width of {image['file_name']} is no integer")
        if not coco.imgs or not coco.cats:
            raise ValueError("it has no images, or no categories")
        _classes(coco)
        unknown = {one["category_id"] for one in coco.anns.values()} - set(coco.cats)
        unknown |= {one["image_id"] for one in coco.anns.values()} - set(coco.imgs)
        if unknown:
            raise ValueError(f"objects refer to unknown categories or images {sorted(unknown)[:3]}")
    except (AssertionError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{split.annotations} cannot be read as instances of COCO ({type(error).__name__}: "
            f"{error}); expected images (id, file_name, height, width), categories (id, name) and "
            "annotations (id, image_id, category_id, segmentation)."
        ) from error
    return coco


def _categories(coco: Any) -> list[dict[str, Any]]:
    return sorted(coco.cats.values(), key=lambda one: one["id"])


def _classes(coco: Any) -> list[tuple[int, str]]:
    classes = [(one["id"], str(one["name"])) for one in _categories(coco)]
    if len({name for _, name in classes}) < len(classes):
        raise ValueError("two categories have the same name")
    if len(classes) >= IGNORE:
        raise ValueError(f"it has {len(classes)} categories, but masks hold {IGNORE - 1}")
    return classes


def _file(image: Mapping[str, Any]) -> str:
    """Path of an image relative to the folder of its split, with `/` between folders."""
    return PurePosixPath(str(image["file_name"]).replace("\\", "/")).as_posix()


def _name(image: Mapping[str, Any]) -> str:
    return _file(image).rpartition(".")[0] or _file(image)


def _check_outline(one: Mapping[str, Any], image: Mapping[str, Any]) -> None:
    """Reject outlines that pycocotools misreads: other sizes, and two points (read as a box)."""
    outline = one["segmentation"]
    if isinstance(outline, Mapping):
        height, width = outline["size"]
        if (height, width) != (image["height"], image["width"]):
            raise ValueError(
                f"its mask is of {width}x{height} pixels, but its image is of "
                f"{image['width']}x{image['height']}"
            )
    elif not outline or any(len(polygon) < 6 or len(polygon) % 2 for polygon in outline):
        raise ValueError("a polygon needs three points or more, as x, y, x, y, ...")


def _check_size(path: Path, image: Mapping[str, Any], annotations: Path) -> None:
    header, size = read_header(path), (image["height"], image["width"])
    if size not in (header.stored, header.upright):
        height, width = header.upright
        raise InputError(
            f"{annotations} says that {_file(image)} is of {size[1]}x{size[0]} pixels, but {path} "
            f"is of {width}x{height}; give the images that were annotated."
        )


def _check_names(
    splits: Mapping[str, Split], opened: Mapping[str, Any], folders: Mapping[str, str]
) -> None:
    """Check that no two images have the same name without suffix."""
    known: dict[str, tuple[str, str]] = {}
    for split in splits:
        for image in opened[split].imgs.values():
            name, source = f"{folders[split]}{_name(image)}", (split, _file(image))
            other = known.setdefault(name, source)
            if other != source:
                raise InputError(
                    f"{other[1]} of {other[0]} and {source[1]} of {split} would have the same name "
                    f"{name}; "
                    + (
                        "rename one of them."
                        if other[0] == split
                        else "give each split a folder of its own by --split-folders."
                    )
                )


def _check_images(split: Split, coco: Any) -> None:
    names = [_file(image) for image in coco.imgs.values()]
    outside = [name for name in names if name.startswith("/") or ".." in name.split("/")]
    if outside:
        raise InputError(
            f"{split.annotations} names {outside[0]}, but images below {split.images} are expected."
        )
    absent = [name for name in names if not (split.images / name).is_file()]
    if absent:
        raise InputError(
            f"{len(absent)} of {len(names)} images of {split.annotations.name} are not in "
            f"{split.images} ({shorten(sorted(absent))}); add them, or give their folder."
        )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _link(path: Path, target: Path) -> None:
    """Create a symbolic link, or replace an older one."""
    target = target.resolve()
    if path.is_symlink() and path.resolve() == target:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
