"""Lists of the images of a split."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from wsss_lightning.data.images import SUFFIXES
from wsss_lightning.data.sources.names import ImageIndex
from wsss_lightning.data.sources.text import read_lines
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.utils.text import shorten

# ImageSets/Main/CLASS_SPLIT.txt of VOC: 1 shows the class, 0 as difficult objects only, -1 not
_FLAGGED: Final = re.compile(r"(.*\S)\s+([+-]?1|0)")
_QUOTED: Final = re.compile(r"\"(.+)\"")
_TWICE: Final = re.compile(r"(.+)\s+\1")
_SUFFIX: Final = re.compile(rf"(?:{'|'.join(map(re.escape, SUFFIXES))})(?=\s)", re.IGNORECASE)


class ImageList(NamedTuple):
    """Images of a split.

    Attributes:
        images: name and file of each, in the order of the list.
        missing: entries without an image.
        notes: remarks for the user.
    """

    images: list[tuple[str, Path]]
    missing: list[str]
    notes: list[str]


def list_path(root: Path, split: str, lists: Mapping[str, str | None]) -> Path:
    """The file that lists a split.

    Args:
        root: folder of the dataset.
        split: a key of `lists`.
        lists: path of each list, relative to `root`.

    Raises:
        InputError: the split has no list, or the file is missing.
    """
    if lists.get(split) is None:
        known = [name for name, path in lists.items() if path is not None]
        raise InputError(f"the split {split} has no list in `lists`; {did_you_mean(split, known)}")
    if "/" in split:
        raise InputError(
            f"the split {split} has a / in its name, which separates the parts of a metric's name; "
            "rename the split in `lists`."
        )
    path = root / Path(str(lists[split])).expanduser()
    if not path.is_file():
        siblings = sorted(p.name for p in path.parent.glob("*.txt"))
        raise InputError(
            f"{path} is missing, the list of {split}; its folder holds "
            f"{shorten(siblings) or 'no lists'}; {did_you_mean(path.name, siblings)} Set "
            f"`lists.{split}` to a file below `root`, or to null if there is no such split."
        )
    return path


def read_list(path: Path, index: ImageIndex) -> ImageList:
    """Read a list with one image a line.

    A line holds the name or path of an image. A mask's path may follow (lists of PSA and SEAM), or
    1, 0 or -1 as in VOC's lists of a class: images with 1 are used; those without the class (-1)
    or with difficult objects of it only (0) are not.

    Raises:
        InputError: no image is listed, one is listed twice, or a name is ambiguous.
    """
    images: list[tuple[str, Path]] = []
    missing: list[str] = []
    flags: Counter[int] = Counter()
    for line, (text,) in read_lines(path):
        matches, flag = _match(text, index)
        if flag is not None:
            flags[flag] += 1
            if flag < 1:
                continue
        if len(matches) > 1:
            files = [str(file.relative_to(index.folder)) for _, file in matches]
            raise InputError(
                f"{path}, line {line}: {text} may be {shorten(files)} in {index.folder}; write "
                "folder and suffix of the one to use."
            )
        if matches:
            images.append(matches[0])
        else:
            missing.append(text)
    if not images and not missing:
        only = " with 1, only with 0 and -1" if flags else ""
        raise InputError(f"{path} names no image{only}; write one name a line.")
    twice = [name for name, count in Counter(name for name, _ in images).items() if count > 1]
    if twice:
        raise InputError(f"{path} names {shorten(twice)} more than once; keep one line of each.")
    notes = []
    if flags:
        notes.append(
            f"{path.name} is a list of one class: {flags[1]} images with 1 are used; {flags[-1]} "
            f"with -1 and {flags[0]} with 0 (difficult objects only) are left out"
        )
    return ImageList(images, missing, notes)


def _match(text: str, index: ImageIndex) -> tuple[list[tuple[str, Path]], int | None]:
    """Images that a line may refer to, and its flag."""
    quoted = _QUOTED.fullmatch(text)
    matches = index.find(text) or (index.find(quoted[1]) if quoted else [])
    if matches:
        return matches, None
    flagged = _FLAGGED.fullmatch(text)
    if flagged and (matches := index.find(flagged[1])):
        return matches, int(flagged[2])
    twice = _TWICE.fullmatch(text)  # the name of the image, then that of its mask
    if twice and (matches := index.find(twice[1])):
        return matches, None
    for end in _SUFFIX.finditer(text):  # the path of a mask follows
        matches = index.find(text[: end.end()])
        if matches:
            return matches, None
    return [], None
