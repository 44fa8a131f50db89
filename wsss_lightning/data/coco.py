"""COCO's files written out in Pascal VOC's layout, which is what is read here."""

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

LISTS: Final = "ImageSets/Segmentation"
MASKS: Final = "SegmentationClass"
IMAGES: Final = "JPEGImages"
TAGS: Final = "tags.csv"

Crowds = Literal["background", "ignore"]
Watch = Callable[[Iterable[dict[str, Any]], int, str], Iterator[dict[str, Any]]]


class Split(NamedTuple):
    """Files of a split as COCO has them."""

    annotations: Path
    images: Path


class Counts(NamedTuple):
    """Of a split that was written."""

    images: int
    tagged: int
    objects: int
    crowds: int


def write_voc_layout(
    splits: Mapping[str, Split],
    root: Path,
    crowds: Crowds = "background",
    watch: Watch | None = None,
    split_folders: bool = False,
) -> dict[str, Counts]:
    """Write lists, tags, masks and links to images and boxes below `root`.

    Labels are 1, 2, ... in the order of COCO's category ids, which have holes. Masks are painted in
    the order of the annotations, later objects over earlier ones. `<split>.txt` lists the images
    with an object, as most papers train and score on them (82081 and 40137 of COCO 2014), and
    `<split>_all.txt` all. Masks that stand already, from the same annotations, are kept.

    Args:
        splits: files of each split, by the name that it gets.
        root: folder to write into.
        split_folders: give the images of each split a folder of its own, where splits number their
            images alike.
        crowds: regions of uncounted objects are painted as background, as the field does, or
            ignored. They are tags either way.
        watch: passes images on, of so many, of that split: a progress bar.

    Raises:
        InputError: a file is absent or is not of COCO, images are absent, two images would have
            one name, or the splits have different classes; before anything is written. Also an
            object whose outline cannot be painted, or an image of another size than annotated.
    """
    opened = {name: _read(split) for name, split in splits.items()}
    classes = {name: _classes(coco) for name, coco in opened.items()}
    first = next(iter(classes))
    for name, found in classes.items():
        if found != classes[first]:
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
        args = (name, split, opened[name], root, folders[name], crowds, watch, rows)
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
    watch: Watch | None,
    rows: list[list[object]],
) -> Counts:
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
    for image in watch(images, len(images), name) if watch else images:
        stem = f"{folder}{_name(image)}"
        drawn = coco.imgToAnns[image["id"]]
        _check_size(split.images / _file(image), image, split.annotations)
        labels = {label_of[one["category_id"]] for one in drawn}
        rows.append([stem, *(int(label in labels) for label in label_of.values())])
        tagged += [stem] if labels else []
        regions += sum(bool(one.get("iscrowd")) for one in drawn)
        objects += len(drawn)
        path = root / MASKS / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            save_mask(path, _mask(coco, image, drawn, label_of, crowds, split.annotations))
        _link(root / IMAGES / f"{folder}{_file(image)}", split.images / _file(image))
    write_text(root / LISTS / f"{name}.txt", "".join(f"{stem}\n" for stem in tagged))
    every = [f"{folder}{_name(image)}" for image in images]
    write_text(root / LISTS / f"{name}_all.txt", "".join(f"{stem}\n" for stem in every))
    _link(root / f"instances_{name}.json", split.annotations)
    return Counts(len(images), len(tagged), objects, regions)


def _mask(
    coco: Any,
    image: dict[str, Any],
    drawn: list[dict[str, Any]],
    label_of: Mapping[int, int],
    crowds: Crowds,
    path: Path,
) -> UInt8[np.ndarray, "H W"]:
    mask = np.zeros((image["height"], image["width"]), np.uint8)
    # crowds first: an object that stands in one is still that object
    for one in sorted(drawn, key=lambda one: not one.get("iscrowd")):
        if one.get("iscrowd") and crowds == "background":
            continue
        try:
            _check_outline(one, image)
            inside = coco.annToMask(one).astype(bool)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(
                f"{path}: the object {one.get('id')} of {image['file_name']} has no outline that "
                f"can be painted ({type(error).__name__}: {error}); mend it, or take it out."
            ) from error
        mask[inside] = IGNORE if one.get("iscrowd") else label_of[one["category_id"]]
    return mask


def _read(split: Split) -> Any:
    from pycocotools.coco import COCO

    if not split.annotations.is_file():
        raise InputError(f"{split.annotations} is missing; give COCO's instances_*.json.")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of its progress
            coco = COCO(str(split.annotations))
        for image in coco.imgs.values():
            if not all(isinstance(image[key], int) for key in ("id", "height", "width")):
                raise TypeError(f"the sizes of {image['file_name']} are no numbers")
        if not coco.imgs or not coco.cats:
            raise ValueError("it has no images, or no categories")
        _classes(coco)
        unknown = {one["category_id"] for one in coco.anns.values()} - set(coco.cats)
        unknown |= {one["image_id"] for one in coco.anns.values()} - set(coco.imgs)
        if unknown:
            raise ValueError(f"objects are of categories or images {sorted(unknown)[:3]}, not told")
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
    found = [(one["id"], str(one["name"])) for one in _categories(coco)]
    if len({name for _, name in found}) < len(found):
        raise ValueError("two categories have one name")
    if len(found) >= IGNORE:
        raise ValueError(f"it has {len(found)} categories, but masks hold {IGNORE - 1}")
    return found


def _file(image: Mapping[str, Any]) -> str:
    """The path of an image below the folder of its split, with `/` between folders."""
    return PurePosixPath(str(image["file_name"]).replace("\\", "/")).as_posix()


def _name(image: Mapping[str, Any]) -> str:
    return _file(image).rpartition(".")[0] or _file(image)


def _check_outline(one: Mapping[str, Any], image: Mapping[str, Any]) -> None:
    """pycocotools paints a mask of any size, and takes two points for a box."""
    outline = one["segmentation"]
    if isinstance(outline, Mapping):
        height, width = outline["size"]
        if (height, width) != (image["height"], image["width"]):
            raise ValueError(
                f"its mask is of {width}x{height} pixels, but the image of "
                f"{image['width']}x{image['height']}"
            )
    elif not outline or any(len(polygon) < 6 or len(polygon) % 2 for polygon in outline):
        raise ValueError("a polygon has three points or more, as x, y, x, y, ...")


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
    """Masks and lists know images by their names without suffix, so each needs its own."""
    known: dict[str, tuple[str, str]] = {}
    for split in splits:
        for image in opened[split].imgs.values():
            name, place = f"{folders[split]}{_name(image)}", (split, _file(image))
            other = known.setdefault(name, place)
            if other != place:
                raise InputError(
                    f"{other[1]} of {other[0]} and {place[1]} of {split} would have the same name "
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
            f"{split.images} ({', '.join(sorted(absent)[:3])}); add them, or say where they are."
        )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _link(path: Path, target: Path) -> None:
    """A symbolic link that replaces what an earlier call left."""
    target = target.resolve()
    if path.is_symlink() and path.resolve() == target:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
