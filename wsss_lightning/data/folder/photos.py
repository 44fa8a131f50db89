"""The photos in a folder: which files can be read, and what each is called.

The name of a photo is its path below the folder without suffix, as in `VOCDataset`. Where this is
not unique (`a.jpg` and `a.png`), the suffix stays part of the name.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple, final

from wsss_lightning.data.file_facts import Fact, FileFacts
from wsss_lightning.data.images import SUFFIXES
from wsss_lightning.data.sources.names import ImageIndex, files_below
from wsss_lightning.errors import InputError
from wsss_lightning.utils.text import shorten

# photos, drawings and videos that are not read, so that nobody misses them unnoticed
UNREAD: Final = (
    *(".heic", ".heif", ".jxl", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"),
    *(".raf", ".psd", ".xcf", ".svg", ".eps", ".ai", ".ico", ".tga", ".exr", ".hdr", ".dcm"),
    *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"),
)
UNSTORABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")  # control characters


class Photo(NamedTuple):
    """A photo that can be read.

    Attributes:
        name: unique name.
        relative: path below the folder, with suffix and `/` between folders.
        path: the file.
        fact: header and digest of the file.
    """

    name: str
    relative: str
    path: Path
    fact: Fact


class Skipped(NamedTuple):
    """A file that is left out.

    Attributes:
        relative: path below the folder.
        reason: why it is left out.
    """

    relative: str
    reason: str


def check_root(root: Path) -> None:
    """Raise an `InputError` if the folder of photos is missing."""
    if not root.is_dir():
        kind = "a file" if root.is_file() else "missing"
        raise InputError(f"`root` is {root}, which is {kind}; set it to the folder of photos.")


@final
class Photos:
    """The photos of a folder and its sub-folders, hidden and system files left out.

    Args:
        root: the folder.
        without: folders and files below `root` that hold no photos, such as masks.

    Attributes:
        photos: sorted by path.
        skipped: images that cannot be read.

    Raises:
        InputError: the folder is missing or holds no photo that can be read.
    """

    def __init__(self, root: Path, without: Iterable[Path] = ()) -> None:
        self.root = root
        check_root(root)
        excluded = tuple(f"{one}/" for path in without if (one := _below(path, root)))
        found: list[str] = []
        self.skipped: list[Skipped] = []
        for relative in files_below(root):
            suffix = PurePosixPath(relative).suffix.lower()
            if f"{relative}/".startswith(excluded):
                continue
            if suffix in SUFFIXES:
                found.append(relative)
            elif suffix in UNREAD:
                reason = f"{suffix} is not read; convert it to JPEG or PNG"
                self.skipped.append(Skipped(relative, reason))
        facts = FileFacts(root).of(root / relative for relative in found)
        usable = {}
        for relative in found:
            fact = facts[root / relative]
            if isinstance(fact, Fact):
                usable[relative] = fact
            else:
                self.skip(relative, fact)
        self.photos = [
            Photo(name, relative, root / relative, usable[relative])
            for relative, name in unique_names(list(usable)).items()
        ]
        self._index = ImageIndex(root, root / "no masks among the photos")
        lasts = [_composed(_last_part(photo.relative)) for photo in self.photos]
        self._ends = {end for last in lasts for end in (last, last.rpartition(".")[0])}
        self._by_path = {photo.path: photo for photo in self.photos}
        if not self.photos:
            raise InputError(_why_none(root, self.skipped))

    def skip(self, relative: str, error: InputError) -> None:
        """Leave a file out because of an error in reading it."""
        reason = str(error).replace(f"{self.root / relative} ", "")
        self.skipped.append(Skipped(relative, re.sub(r"[;,] (replace it|take).*", "", reason)))

    def remove(self, unreadable: Iterable[tuple[Photo, InputError]]) -> None:
        """Leave out photos whose pixels cannot be read.

        Raises:
            InputError: no photo is left.
        """
        for photo, error in unreadable:
            del self._by_path[photo.path]
            self.skip(photo.relative, error)
        self.photos = list(self._by_path.values())
        if not self.photos:
            raise InputError(_why_none(self.root, self.skipped))

    def find(self, text: str) -> list[Photo]:
        """Photos that a name in a file of labels may refer to, ideally one.

        The name may lack suffix and folders, or differ in case (`ImageIndex`).
        """
        last = _composed(_last_part(text.strip()))
        if not {last, last.rpartition(".")[0]} & self._ends:
            return []  # most cells of a table name no photo
        matches = (self._by_path.get(path) for _, path in self._index.find(text))
        return [photo for photo in matches if photo is not None]

    def match(self, text: str, source: str | Path) -> Photo | None:
        """The photo that a name refers to; None if there is none.

        Args:
            text: from a file of labels.
            source: the file, and possibly the line, for the message.

        Raises:
            InputError: several photos match.
        """
        photos = self.find(text)
        if len(photos) > 1:
            raise InputError(
                f"{source} names {text}, which may be {shorten([p.relative for p in photos])} in "
                f"{self.root}; write folder and suffix, or remove all of these files but one."
            )
        return photos[0] if photos else None

    def shortened(self, texts: Collection[str]) -> Callable[[str], str]:
        """How to look up names that may have folders of another machine in front.

        Args:
            texts: all names of a file of labels.

        Returns:
            Keeps each name if any of them matches a photo; otherwise removes the folders, if the
            names differ without them too.
        """
        if not any(self.find(text) for text in texts):
            last = [_last_part(text) for text in set(texts)]
            if len(set(last)) == len(last):
                return _last_part
        return str

    def is_skipped(self, text: str) -> bool:
        """Whether a name refers to a file that cannot be read."""
        name = _last_part(text).casefold()
        paths = [PurePosixPath(one.relative.casefold()) for one in self.skipped]
        return any(name in (path.name, path.stem) for path in paths)


def unique_names(relatives: Sequence[str]) -> dict[str, str]:
    """A name for each path: its suffix and characters that lists cannot hold are left out.

    Names differ by more than case. Where they would not, the suffix stays, and then a number is
    added.

    Args:
        relatives: paths below the folder of photos.

    Returns:
        Name by path, in the order of the paths.
    """
    plain = {
        relative: storable(str(PurePosixPath(relative).with_suffix(""))) for relative in relatives
    }
    groups = defaultdict(list)
    for relative, name in plain.items():
        groups[name.casefold()].append(relative)
    names, used = {}, {name for name, group in groups.items() if len(group) == 1}
    for relative in relatives:
        name = plain[relative]
        if len(groups[name.casefold()]) > 1:
            longer = name = storable(relative)
            number = 1
            while name.casefold() in used:
                number += 1
                name = f"{longer} {number}"
            used.add(name.casefold())
        names[relative] = name
    return names


def storable(name: str) -> str:
    """A name without characters that a line of a list, or a name in a list, cannot hold."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = unicodedata.normalize(
        "NFC", re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]", "_", text)
    )
    return "/".join(part.strip() or "_" for part in text.split("/"))


def _last_part(text: str) -> str:
    return text.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _below(path: Path, root: Path) -> str:
    """A path relative to a folder that holds it; empty for the folder itself or another place."""
    path, root = path.resolve(), root.resolve()
    return str(path.relative_to(root)) if root in path.parents else ""


def _why_none(root: Path, skipped: Sequence[Skipped]) -> str:
    if skipped:
        first = skipped[0]
        return (
            f"none of the {len(skipped)} images in {root} can be read ({first.relative}: "
            f"{first.reason}); convert them to JPEG or PNG."
        )
    files = [relative for relative, _ in zip(files_below(root), range(4), strict=False)]
    holds = f"holds {shorten(files)}" if files else "is empty"
    return (
        f"`root` is {root}, which {holds}, but no photo; set it to a folder of images "
        f"({', '.join(SUFFIXES)})."
    )
