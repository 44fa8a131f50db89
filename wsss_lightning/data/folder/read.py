"""Reads a folder of photos and their labels, splits it, and indexes it for `VOCDataset`."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge, Le, Lt

from wsss_lightning.data.folder.folders import (
    class_folders,
    companion_folders,
    splits_of_folders,
)
from wsss_lightning.data.folder.index import Index, write_index
from wsss_lightning.data.folder.labels import Labels
from wsss_lightning.data.folder.masks import MaskKey, find_masks, masked_splits, read_key
from wsss_lightning.data.folder.photos import Photo, Photos, check_root
from wsss_lightning.data.folder.remarks import missing_entries, rare_and_equal
from wsss_lightning.data.folder.sources import read_labels
from wsss_lightning.data.folder.split import group_photos, split_photos
from wsss_lightning.data.folder.split_files import read_split
from wsss_lightning.data.folder.thumbnails import Track, duplicate_pairs, make_thumbnails
from wsss_lightning.data.folder.words import Classes, find_classes
from wsss_lightning.data.sources.boxes import RawBox
from wsss_lightning.data.sources.names import folded
from wsss_lightning.errors import InputError, closest
from wsss_lightning.utils.text import shorten


class Row(NamedTuple):
    """What became of one image file.

    Attributes:
        image: path below the folder of photos.
        split: train or val; empty if the photo is left out.
        tags: classes of the photo.
        reason: why it is left out; empty if it is used.
    """

    image: str
    split: str
    tags: Sequence[str]
    reason: str


@dataclass
class PhotoSet:
    """A folder of photos as it was understood.

    Args:
        root: folder of the photos.
        index: folder that `VOCDataset` reads.
        classes: names of labels 1, 2, ...
        rows: every image file, sorted by path.
        has_boxes: whether the labels hold boxes.
        box_problems: boxes that cannot be used, and why.
        mask_ids: class of each id in the masks; None: ids are labels, or there are no masks.
        mask_colours: class of each colour in the masks; None: masks hold ids.
        sources: where tags, boxes and splits were read from.
        notes: remarks for the user.
    """

    root: Path
    index: Path
    classes: list[str]
    rows: list[Row]
    has_boxes: bool
    box_problems: list[str]
    mask_ids: dict[int, str] | None
    mask_colours: dict[str, list[int]] | None
    sources: list[str]
    notes: list[str] = field(default_factory=list)

    def split(self, name: str) -> list[Row]:
        """Rows of a split."""
        return [row for row in self.rows if row.split == name]

    def reasons(self) -> list[tuple[str, int]]:
        """Reasons for which photos are left out, with their number, the most frequent first."""
        return Counter(row.reason for row in self.rows if row.reason).most_common()


def read_folder(
    root: str | Path,
    cache: str | Path,
    tags: str | Path | None,
    tag_columns: str | Sequence[str] | None,
    classes: str | Sequence[str | int] | None,
    boxes: str | Path | None,
    masks: str | Path | None,
    split: str | Path | None,
    val_fraction: Annotated[float, Ge(0), Lt(1), "0 trains on all photos"],
    split_seed: Annotated[int, Ge(0), Le(2**32 - 1)],
    on_missing_labels: Literal["error", "background"],
    output_dir: str | Path,
    track: Track | None = None,
) -> PhotoSet:
    """Read photos and labels, choose a validation split, and write an index.

    Args:
        root: folder of the photos, with any sub-folders.
        cache: folder of generated data.
        tags: file or folder of labels, relative to the working directory or to `root`; None:
            `boxes`, or else the names of the folders that photos are in.
        tag_columns: headings of the columns of a table that hold tags; None: they are found.
        classes: the classes to use, in this order; None: all that the labels name.
        boxes: file or folder of boxes; None: those of `tags`, if it has any.
        masks: folder of true masks, for scoring; None: there are none.
        split: table with the split of each photo; None: folders called train and val, or else
            `val_fraction` of the photos of each class are for validation.
        val_fraction: share of the validation split.
        split_seed: of the validation split.
        on_missing_labels: `background` keeps photos that the labels list without a class.
        output_dir: folder of runs, whose images are no photos.
        track: progress bar, as in `make_thumbnails`.

    Raises:
        InputError: photos or labels cannot be used.
    """
    root, cache = Path(root).expanduser().resolve(), Path(cache).expanduser().absolute()
    check_root(root)  # before files that may be named relative to it
    given = {"tags": tags, "boxes": boxes, "masks": masks, "split": split}
    places = {name: locate(name, value, root) for name, value in given.items() if value is not None}
    apart = [Path(output_dir).expanduser(), root / "runs", cache, *companion_folders(root)]
    photos = Photos(root, without=[*apart, *([places["masks"]] if "masks" in places else [])])
    labels, box_labels = _read_labels(photos, places.get("tags"), places.get("boxes"), tag_columns)
    thumbnails, faulty = make_thumbnails(
        photos.photos, cache / "folders" / "thumbnails", track or (lambda items, _: items)
    )
    photos.remove(faulty)
    found = find_classes((labels.words.get(p.name, ()) for p in photos.photos), classes)
    left_out = _left_out(photos.photos, labels, found, on_missing_labels == "background")
    used = [photo for photo in photos.photos if photo.name not in left_out]
    if not used:
        raise InputError(f"no photo in {root} can be used: {next(iter(left_out.values()))}.")
    tags_of = {photo.name: _classes_of(labels.words[photo.name], found) for photo in used}
    pairs = duplicate_pairs(used, thumbnails)
    all_masks = find_masks(places["masks"], used) if "masks" in places else {}
    splits, how = _choose_split(
        places.get("split"),
        photos,
        lambda: split_photos(
            group_photos(used, pairs), tags_of, all_masks, val_fraction, split_seed
        ),
        used,
    )
    left_out |= _not_in_split(used, splits, how)
    used = [photo for photo in used if photo.name not in left_out]
    drawn, box_notes = _boxes(box_labels, used, found)
    sizes = {} if box_labels is None else box_labels.sizes
    scored, mask_notes = masked_splits(all_masks, splits, [photo.name for photo in used])
    key = read_key(places["masks"], found.names) if all_masks else MaskKey(None, None, "")
    index = Index(used, splits, tags_of, found.names, drawn, sizes, scored)
    notes = [*found.notes, *labels.notes, *missing_entries(labels), *box_notes, *mask_notes]
    sources = [labels.source]
    if box_labels is not None and box_labels is not labels:
        sources.append(box_labels.source)
    return PhotoSet(
        root=root,
        index=write_index(index, re.sub(r"[^\w.-]+", "-", root.name), root, cache),
        classes=found.names,
        rows=_rows(photos, splits, tags_of, left_out),
        has_boxes=drawn is not None,
        box_problems=[] if box_labels is None else box_labels.problems,
        mask_ids=key.ids,
        mask_colours=key.colours,
        sources=list(filter(None, [*sources, how, key.note])),
        notes=[*notes, *rare_and_equal(used, found.names, splits, tags_of, pairs)],
    )


def _choose_split(
    file: Path | None, photos: Photos, draw: Callable[[], Collection[str]], used: Sequence[Photo]
) -> tuple[dict[str, str], str]:
    """Split of photos by name, and where it comes from.

    Args:
        file: table of splits; None: names of folders decide, or else `draw`.
        photos: all photos.
        draw: chooses the names of the photos of the validation split.
        used: photos that are used.
    """
    if file is not None:
        return read_split(file, photos), f"split from {file.name}"
    if splits := splits_of_folders(used):
        return splits, "split from names of folders"
    val = draw()
    splits = {photo.name: "val" if photo.name in val else "train" for photo in used}
    return splits, "split at random, with the same share of each class"


def _rows(
    photos: Photos,
    splits: Mapping[str, str],
    tags: Mapping[str, Sequence[str]],
    left_out: Mapping[str, str],
) -> list[Row]:
    """Split, tags or reason of every image file, sorted by path."""
    rows = [Row(one.relative, "", (), one.reason) for one in photos.skipped]
    for photo in photos.photos:
        reason = left_out.get(photo.name, "")
        name = photo.name
        rows.append(
            Row(photo.relative, "", (), reason)
            if reason
            else Row(photo.relative, splits[name], tags[name], "")
        )
    return sorted(rows)


def locate(name: str, value: str | Path, root: Path) -> Path:
    """A file or folder that is given relative to the working directory or to the photos.

    Args:
        name: parameter that gives it, for the message.
        value: as given.
        root: folder of the photos.

    Raises:
        InputError: there is no such file or folder.
    """
    given = Path(value).expanduser()
    for path in (given.absolute(), root / given):
        if path.exists():
            return path
    places = {
        path.name
        for folder in (given.absolute().parent, root)
        if folder.is_dir()
        for path in folder.iterdir()
    }
    near = closest(given.name, places)
    hint = f" Did you mean {near}?" if near else ""
    where = "" if given.is_absolute() else f", neither in {Path.cwd()} nor in {root}"
    raise InputError(f"`{name}` is {value}, but there is no such file or folder{where}.{hint}")


def _read_labels(
    photos: Photos, tags: Path | None, boxes: Path | None, columns: str | Sequence[str] | None
) -> tuple[Labels, Labels | None]:
    """Labels that give the tags, and those that give the boxes, if any do."""
    box_labels = None if boxes is None else read_labels(boxes, photos, None)
    if box_labels is not None and box_labels.boxes is None:
        raise InputError(
            f"`boxes` is {boxes}, but it holds no boxes ({box_labels.source}); give boxes as COCO "
            "JSON, labelme JSON, VOC XML, CVAT XML, YOLO, or CSV with the columns image, class, "
            "x0, y0, x1, y1."
        )
    if tags is not None:
        labels = read_labels(tags, photos, [columns] if isinstance(columns, str) else columns)
    else:
        labels = box_labels or class_folders(photos)
    if box_labels is None and labels.boxes is not None:
        box_labels = labels
    return labels, box_labels


def _left_out(
    photos: Iterable[Photo], labels: Labels, classes: Classes, keeps_empty: bool
) -> dict[str, str]:
    """Reason for each photo that is left out because of its labels, by name."""
    reasons = {}
    for photo in photos:
        words = labels.words.get(photo.name)
        if words is None:
            reasons[photo.name] = "the labels do not mention it"
        elif not words and not keeps_empty:
            reasons[photo.name] = "no tag"
        elif words and not _classes_of(words, classes) and not keeps_empty:
            reasons[photo.name] = "only tags that are left out"
    return reasons


def _classes_of(words: Iterable[str], classes: Classes) -> list[str]:
    """Classes that words name, in the order of the labels."""
    named = {classes.of[word] for word in words if word in classes.of}
    return [name for name in classes.names if name in named]


def _not_in_split(photos: Iterable[Photo], splits: Mapping[str, str], how: str) -> dict[str, str]:
    """Reason for each photo that is in neither train nor val, by name."""
    return {
        photo.name: f"in the {splits[photo.name]} split" if photo.name in splits else f"no {how}"
        for photo in photos
        if splits.get(photo.name) not in ("train", "val")
    }


def _boxes(
    labels: Labels | None, photos: Sequence[Photo], classes: Classes
) -> tuple[dict[str, list[RawBox]] | None, list[str]]:
    """Boxes of the classes, by the photo's name, and remarks."""
    if labels is None or labels.boxes is None:
        return None, []
    class_of = {folded(word): name for word, name in classes.of.items()}
    drawn, others = {}, Counter[str]()
    for photo in photos:
        boxes = labels.boxes.get(photo.name, [])
        others.update(box.name for box in boxes if folded(box.name) not in class_of)
        drawn[photo.name] = [
            box._replace(name=class_of[folded(box.name)])
            for box in boxes
            if folded(box.name) in class_of
        ]
    if not any(drawn.values()):
        raise InputError(
            f"no photo has a box of {shorten(classes.names)} ({labels.source}); give boxes and "
            "tags of the same photos and classes."
        )
    count = sum(map(len, drawn.values()))
    note = f"{sum(others.values())} boxes of classes that are not used ({shorten(sorted(others))})"
    return drawn, [f"{count} boxes", *([note] if others else [])]
