"""Lists of the images of a split."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from wsss_lightning.data.images import SUFFIXES
from wsss_lightning.data.sources.names import ImageIndex, some
from wsss_lightning.data.sources.text import read_lines
from wsss_lightning.errors import InputError, did_you_mean

# VOC's ImageSets/Main/CLASS_SPLIT.txt: 1 the class is shown, 0 by difficult objects only, -1 not
_FLAGGED: Final = re.compile(r"(.*\S)\s+([+-]?1|0)")
_QUOTED: Final = re.compile(r"\"(.+)\"")
_TWICE: Final = re.compile(r"(.+)\s+\1")
_SUFFIX: Final = re.compile(rf"(?:{'|'.join(map(re.escape, SUFFIXES))})(?=\s)", re.IGNORECASE)


class Listed(NamedTuple):
    """Images of a split.

    Attributes:
        images: name and file of each, in the order of the list.
        absent: what the list calls images that are not there.
        notes: what a user should know of how the list was read.
    """

    images: list[tuple[str, Path]]
    absent: list[str]
    notes: list[str]


def list_path(root: Path, split: str, lists: Mapping[str, str | None]) -> Path:
    """The file that lists a split.

    Raises:
        InputError: the split has no list, or its file is absent.
    """
    if lists.get(split) is None:
        known = [name for name, path in lists.items() if path is not None]
        raise InputError(
            f"the split {split} has no list in data.dataset.lists; {did_you_mean(split, known)}"
        )
    if "/" in split:
        raise InputError(
            f"the split {split} has a / in its name, which separates parts of a score's name; give "
            "the split another name in data.dataset.lists."
        )
    path = root / Path(str(lists[split])).expanduser()
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob("*.txt"))
        raise InputError(
            f"{path} is missing, the list of {split}; beside it are {some(there) or 'no lists'}; "
            f"{did_you_mean(path.name, there)} Set data.dataset.lists.{split} to a file below "
            "data.root, or data.val=null if there is no validation split."
        )
    return path


def read_list(path: Path, index: ImageIndex) -> Listed:
    """Images of a list with one name a line.

    A line is the name of an image, or its path, possibly followed by that of its mask (lists of
    PSA and SEAM), or by 1, 0 or -1 as in VOC's lists of a class: 1 is taken, while images that
    lack the class (-1) or show it only by difficult objects (0) are left out.

    Raises:
        InputError: no image is listed, one is listed twice, or a name may mean several images.
    """
    images: list[tuple[str, Path]] = []
    absent: list[str] = []
    flags: Counter[int] = Counter()
    for line, (written,) in read_lines(path):
        found, flag = _find(written, index)
        if flag is not None:
            flags[flag] += 1
            if flag < 1:
                continue
        if len(found) > 1:
            raise InputError(
                f"{path}, line {line}: {written} may be "
                f"{some([str(file.relative_to(index.folder)) for _, file in found])} in "
                f"{index.folder}; write the one that is meant, with its folder and suffix."
            )
        if found:
            images.append(found[0])
        else:
            absent.append(written)
    if not images and not absent:
        only = " with 1, only with 0 and -1" if flags else ""
        raise InputError(f"{path} names no image{only}; write one name a line.")
    twice = [name for name, count in Counter(name for name, _ in images).items() if count > 1]
    if twice:
        raise InputError(f"{path} names {some(twice)} more than once; leave one line of each.")
    notes = []
    if flags:
        notes.append(
            f"{path.name} is a list of one class: {flags[1]} images with 1 are taken; {flags[-1]} "
            f"with -1 and {flags[0]} with 0 (difficult objects only) are left out"
        )
    return Listed(images, absent, notes)


def _find(written: str, index: ImageIndex) -> tuple[list[tuple[str, Path]], int | None]:
    """Images that a line may mean, and its flag, if it has one."""
    quoted = _QUOTED.fullmatch(written)
    found = index.find(written) or (index.find(quoted[1]) if quoted else [])
    if found:
        return found, None
    flagged = _FLAGGED.fullmatch(written)
    if flagged and (found := index.find(flagged[1])):
        return found, int(flagged[2])
    twice = _TWICE.fullmatch(written)  # the name of the image, and of its mask
    if twice and (found := index.find(twice[1])):
        return found, None
    for end in _SUFFIX.finditer(written):  # the path of a mask follows
        found = index.find(written[: end.end()])
        if found:
            return found, None
    return [], None
