"""True masks of photos, and the meaning of their ids or colours."""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from wsss_lightning.data.folder.photos import Photo
from wsss_lightning.data.sources.masks import BACKGROUND, IGNORED, SUFFIXES
from wsss_lightning.data.sources.names import FolderIndex, folded
from wsss_lightning.data.sources.text import read_lines
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.utils.text import shorten

KEYS: Final = ("classes.json", "labels.json", "labelmap.txt", "classes.txt", "labels.txt")
IGNORED_NAMES: Final = ("ignored", "ignore", "void", "unlabeled", "unlabelled", "255")


class MaskKey(NamedTuple):
    """What ids or colours in masks mean.

    Attributes:
        ids: class of each id; None: not known.
        colours: class of each colour; None: not known.
        note: remark for the user.
    """

    ids: dict[int, str] | None
    colours: dict[str, list[int]] | None
    note: str


def find_masks(folder: Path, photos: Sequence[Photo]) -> dict[str, Path]:
    """The mask of each photo that has one, by the photo's name.

    A mask has the path of its photo below its own folder, or the end of this path.

    Raises:
        InputError: the folder holds no mask of these photos, several masks of one photo, or one
            mask that fits several photos.
    """
    if not folder.is_dir():
        raise InputError(f"`masks` is {folder}, which is a file; give the folder of the masks.")
    index = FolderIndex(folder, SUFFIXES)
    masks: dict[str, Path] = {}
    for photo in photos:
        parts = PurePosixPath(photo.relative).with_suffix("").parts
        ends = ("/".join(parts[i:]) for i in range(len(parts)))
        names = next(filter(None, map(index.names_like, ends)), [])
        paths = [path for name in names for path in index.paths(name)]
        if len(paths) > 1:
            raise InputError(
                f"{shorten([p.name for p in paths])} in {folder} all belong to {photo.relative}; "
                "keep one of them."
            )
        if paths:
            masks[photo.name] = paths[0]
    twice = [path for path, count in Counter(masks.values()).items() if count > 1]
    if twice:
        raise InputError(
            f"{twice[0]} fits several photos of equal name; put masks into the same sub-folders as "
            "the photos."
        )
    if not masks:
        raise InputError(
            f"`masks` is {folder}, which holds {shorten(list(index.names)) or 'no masks'}, but no "
            f"mask of a photo ({shorten([p.relative for p in photos])}); a mask has the name of "
            "its photo."
        )
    return masks


def masked_splits(
    masks: Mapping[str, Path], splits: Mapping[str, str], names: Collection[str]
) -> tuple[dict[str, Path], list[str]]:
    """Masks of the splits of which all photos have one, and a remark on the others.

    Args:
        masks: all masks, by name of the photo.
        splits: split of each photo.
        names: photos of both splits.
    """
    kept: dict[str, Path] = {}
    notes = []
    for split in ("train", "val"):
        members = [name for name in names if splits[name] == split]
        found = [name for name in members if name in masks]
        if len(found) == len(members):
            kept |= {name: masks[name] for name in members}
        elif found:
            notes.append(
                f"{len(found)} of {len(members)} photos of {split} have a mask; {split} is not "
                "scored, since this needs all"
            )
    return kept, notes


def read_key(folder: Path, classes: Sequence[str]) -> MaskKey:
    """Read what ids or colours mean from a file of class names beside the masks.

    Known are classes.json (id by name, or name by id, or a list), classes.txt and labels.txt (a
    name a line, from id 0), and CVAT's labelmap.txt (`cat:128,0,0::`). Classes that are not used
    are ignored in scores.

    Args:
        folder: folder of the masks; the files may also be in the folder above.
        classes: names of labels 1, 2, ...
    """
    for path in (place / name for place in (folder, folder.parent) for name in KEYS):
        if not path.is_file():
            continue
        if path.name == "labelmap.txt":
            colours = _colours(path)
            if known := {c: rgb for word, rgb in colours.items() if (c := _class(word, classes))}:
                return MaskKey(None, known, f"colours of masks as in {path.name}")
            continue
        ids = _ids(path)
        known_ids = {i: c for i, word in ids.items() if (c := _class(word, classes))}
        if set(classes) <= set(known_ids.values()):
            return MaskKey(known_ids, None, f"ids of masks as in {path.name}")
    order = ", ".join(f"{i} {name}" for i, name in enumerate(classes[:5], start=1))
    more = ", ..." if len(classes) > 5 else ""
    return MaskKey(None, None, f"ids of masks: 0 background, {order}{more}, {IGNORE} ignored")


def _ids(path: Path) -> dict[int, str]:
    if path.suffix == ".txt":
        return {i: text for i, (_, (text,)) in enumerate(read_lines(path))}
    try:
        return _ids_in(json.loads(path.read_bytes()))
    except (ValueError, RecursionError):
        return {}


def _ids_in(content: Any) -> dict[int, str]:
    """Name by id, from a list of names, a mapping in either direction, or one level below."""
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return dict(enumerate(content))
    if not isinstance(content, dict):
        return {}
    if all(isinstance(v, int) for v in content.values()):
        return {v: str(k) for k, v in content.items()}
    if all(str(k).isdecimal() and isinstance(v, str) for k, v in content.items()):
        return {int(k): v for k, v in content.items()}
    found = (_ids_in(value) for value in content.values() if isinstance(value, (dict, list)))
    return max(found, key=len, default={})


def _colours(path: Path) -> dict[str, list[int]]:
    colours = {}
    for _, (text,) in read_lines(path):
        if match := re.match(r"([^#:][^:]*):(\d+),(\d+),(\d+):", text):
            colours[match[1].strip()] = [int(value) for value in match.groups()[1:]]
    return colours


def _class(word: str, classes: Sequence[str]) -> str:
    """The class, `background` or `ignored` that a word means; empty for an unused class."""
    key = folded(word)
    if key == BACKGROUND:
        return BACKGROUND
    if key in IGNORED_NAMES:
        return IGNORED
    return next((name for name in classes if folded(name) == key), "")
