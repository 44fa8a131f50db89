"""COCO's files written out in Pascal VOC's layout, which is what is read here."""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8

from wsss_lightning.data.scores import save_mask, write_table, write_text
from wsss_lightning.errors import InputError
from wsss_lightning.functional.masks import IGNORE

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
) -> dict[str, Counts]:
    """Write lists, tags, masks and links to images and boxes below `root`.

    Labels are 1, 2, ... in the order of COCO's category ids, which have holes. Masks are painted in
    the order of the annotations, later objects over earlier ones. `<split>.txt` lists the images
    with an object, as most papers train and score on them (82081 and 40137 of COCO 2014), and
    `<split>_all.txt` all. Masks that stand already, from the same annotations, are kept.

    Args:
        splits: files of each split, by the name that it gets.
        root: folder to write into.
        crowds: regions of uncounted objects are painted as background, as the field does, or
            ignored. They are tags either way.
        watch: passes images on, of so many, of that split: a progress bar.

    Raises:
        InputError: a file is absent or is not of COCO, images are absent, or the splits have
            different classes; before anything is written.
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
    for name, split in splits.items():
        _check_images(split, opened[name])
    rows: list[list[object]] = []
    counts = {}
    for name, split in splits.items():
        counts[name] = _write_split(name, split, opened[name], root, crowds, watch, rows)
    names = [str(one["name"]) for one in _categories(opened[first])]
    write_table(root / TAGS, [["image", *names], *rows])
    return counts


def _write_split(
    name: str,
    split: Split,
    coco: Any,
    root: Path,
    crowds: Crowds,
    watch: Watch | None,
    rows: list[list[object]],
) -> Counts:
    for folder in (LISTS, MASKS, IMAGES):
        (root / folder).mkdir(parents=True, exist_ok=True)
    made_from = root / MASKS / f".{name}.json"
    source = json.dumps({"annotations": _digest(split.annotations), "crowds": crowds})
    label_of = {one["id"]: i for i, one in enumerate(_categories(coco), start=1)}
    images = sorted(coco.imgs.values(), key=lambda image: image["id"])
    if not made_from.is_file() or made_from.read_text() != source:
        for image in images:
            (root / MASKS / f"{Path(image['file_name']).stem}.png").unlink(missing_ok=True)
        write_text(made_from, source)
    tagged, objects, regions = [], 0, 0
    for image in watch(images, len(images), name) if watch else images:
        stem = Path(image["file_name"]).stem
        drawn = coco.imgToAnns[image["id"]]
        labels = {label_of[one["category_id"]] for one in drawn}
        rows.append([stem, *(int(label in labels) for label in label_of.values())])
        tagged += [stem] if labels else []
        regions += sum(bool(one.get("iscrowd")) for one in drawn)
        objects += len(drawn)
        path = root / MASKS / f"{stem}.png"
        if not path.is_file():
            save_mask(path, _mask(coco, image, drawn, label_of, crowds, split.annotations))
        _link(root / IMAGES / Path(image["file_name"]).name, split.images / image["file_name"])
    write_text(root / LISTS / f"{name}.txt", "".join(f"{stem}\n" for stem in tagged))
    every = [Path(image["file_name"]).stem for image in images]
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
    if len(found) >= IGNORE:
        raise ValueError(f"it has {len(found)} categories, but masks hold {IGNORE - 1}")
    return found


def _check_images(split: Split, coco: Any) -> None:
    names = [str(image["file_name"]) for image in coco.imgs.values()]
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise InputError(
            f"{split.annotations} names {outside[0]}, but file names without folders are expected."
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
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
