"""Names of images and classes, matched in the many ways that files write them.

An image is named by its path below the folder of images, without suffix and with `/` between
folders: `train/0001`. Its mask and annotation have the same name below their own folders.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, final

from wsss_lightning.data.images import SUFFIXES
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.utils.text import shorten

# thumbnails, settings and copies of metadata that operating systems and archives leave in folders
SYSTEM_FILES: Final = frozenset(
    {"Thumbs.db", "ehthumbs.db", "desktop.ini", "__MACOSX", "@eaDir", "$RECYCLE.BIN"}
)


@final
class FolderIndex:
    """Files in a folder and its sub-folders, found by name without suffix.

    Args:
        folder: to search; it may be missing.
        suffixes: suffixes of the files to index, lower case.
    """

    def __init__(self, folder: Path, suffixes: Sequence[str]) -> None:
        self.folder = folder
        self._files: dict[str, list[str]] = {}  # paths below the folder, by name
        self.other_suffixes: dict[str, str] = {}  # of files that are not indexed, by name
        self._folded: defaultdict[str, list[str]] = defaultdict(list)
        self._stems: defaultdict[str, list[str]] = defaultdict(list)
        for relative in files_below(folder):
            name = _without_suffix(relative, suffixes)
            if name is None:
                stem, _, suffix = relative.rpartition(".")
                self.other_suffixes[_composed(stem)] = suffix
                continue
            name = _composed(name)
            if name not in self._files:
                self._folded[name.casefold()].append(name)
                self._stems[name.rpartition("/")[2].casefold()].append(name)
            self._files.setdefault(name, []).append(relative)

    @property
    def names(self) -> Collection[str]:
        """Names of all indexed files."""
        return self._files.keys()

    def paths(self, name: str) -> list[Path]:
        """Files with this name and any suffix."""
        return [self.folder / relative for relative in self._files[name]]

    def names_like(self, name: str) -> list[str]:
        """The name itself if it is indexed, else names that differ in case only."""
        return [name] if name in self._files else self._folded.get(name.casefold(), [])

    def names_ending(self, stem: str) -> list[str]:
        """Names in any sub-folder whose last part is `stem`, ignoring case."""
        return self._stems.get(stem.casefold(), [])


@final
class ImageIndex:
    """Images of a dataset, found by the names that lists and tables use.

    A name may include its suffix, leading folders, Windows separators, composed or decomposed
    Unicode, and different case where that is unique.

    Args:
        folder: folder of the images, with any sub-folders.
        mask_folder: folder of the true masks. If it is the folder of images, a PNG next to a photo
            of the same name is its mask.
    """

    def __init__(self, folder: Path, mask_folder: Path) -> None:
        self.folder = folder
        self._index = FolderIndex(folder, SUFFIXES)
        self._with_masks = folder.absolute() == mask_folder.absolute()

    @property
    def names(self) -> Collection[str]:
        """Names of all images."""
        return self._index.names

    def find(self, text: str) -> list[tuple[str, Path]]:
        """Name and file of each image that `text` may refer to; ideally one."""
        # on Linux a backslash may be part of a name
        for form in dict.fromkeys((text, text.replace("\\", "/"))):
            for parts in self._parts(form):
                matches = self._match(parts)
                if matches:
                    return matches
        return []

    def name(self, text: str, preferred: Collection[str] = ()) -> str | None:
        """Name of the image that `text` refers to; None if there is none.

        Args:
            text: from a file.
            preferred: names of a split, which take precedence if several images match.

        Raises:
            InputError: several images match.
        """
        names = {name for name, _ in self.find(text)}
        if len(names) > 1 and preferred:
            names.intersection_update(preferred)
        if len(names) > 1:
            raise InputError(
                f"{text} may be {shorten(sorted(names))} in {self.folder}; write the folder before "
                "the name."
            )
        return next(iter(names), None)

    def names_ending(self, stem: str) -> list[str]:
        """Names in any sub-folder whose last part is `stem`, ignoring case."""
        return self._index.names_ending(stem)

    def why_absent(self, text: str) -> str:
        """Hint why no image has this name; empty if there is no hint."""
        name = _composed(PurePosixPath(text.replace("\\", "/")).name)
        suffix = self._index.other_suffixes.get(name)
        if suffix is not None or "." in name:
            stem = name.rpartition(".")[0] if suffix is None else name
            suffix = suffix or self._index.other_suffixes.get(stem)
            if suffix is not None:
                return f"{stem}.{suffix} exists, but images end in {', '.join(SUFFIXES)}"
        hint = did_you_mean(name, self._index.names)
        return hint if hint.startswith("did you mean") else ""

    def _paths(self, name: str) -> list[Path]:
        paths = self._index.paths(name)
        if self._with_masks and len(paths) > 1:
            return [path for path in paths if path.suffix.lower() != ".png"] or paths
        return paths

    def _parts(self, form: str) -> Iterator[tuple[str, ...]]:
        """The path as given, then the part that follows the last mention of the image folder."""
        folder = str(self.folder.absolute())
        path = PurePosixPath(_composed(form.strip()))
        if path.is_relative_to(folder):
            path = path.relative_to(folder)
        parts = tuple(part for part in path.parts if part not in ("/", "."))
        if not parts or ".." in parts:
            return
        yield parts
        mentions = [i for i, part in enumerate(parts[:-1]) if part == self.folder.name]
        if mentions:
            yield parts[mentions[-1] + 1 :]

    def _match(self, parts: tuple[str, ...]) -> list[tuple[str, Path]]:
        text = "/".join(parts)
        bare = _without_suffix(text, SUFFIXES)
        # a dot may be part of a name: `b.v2`, and even `b.jpg` of a file `b.jpg.jpg`
        for name in (text, bare):
            if name is None:
                continue
            names = self._index.names_like(name)
            if not names and len(parts) == 1:
                names = self._index.names_ending(name)
            matches = [(n, path) for n in names for path in self._paths(n)]
            if matches:
                exact = [(n, p) for n, p in matches if _composed(p.name) == parts[-1]]
                alike = [(n, p) for n, p in matches if p.name.casefold() == parts[-1].casefold()]
                return exact or alike or matches
        return []


@final
class Companions:
    """Masks or annotations of images, found by the name of the image in another folder.

    A file directly in its folder also belongs to an image in a sub-folder if only one image has
    that name.

    Args:
        folder: folder of the files.
        suffixes: allowed ones; the first is the usual one.
        images: the images that the files belong to.
    """

    def __init__(self, folder: Path, suffixes: Sequence[str], images: ImageIndex) -> None:
        self.folder, self.suffixes = folder, suffixes
        self._index, self._images = FolderIndex(folder, suffixes), images
        self._is_image_folder = folder.absolute() == images.folder.absolute()

    def expected(self, name: str) -> Path:
        """Usual path of the file of an image."""
        return self.folder / f"{name}{self.suffixes[0]}"

    def find(self, name: str, image: Path) -> Path | None:
        """The file of an image; None if it is missing.

        Raises:
            InputError: several files match.
        """
        names = self._index.names_like(name)
        stem = name.rpartition("/")[2]
        if not names and len(self._images.names_ending(stem)) == 1:
            names = self._index.names_like(stem)
        paths = [path for n in names for path in self._index.paths(n)]
        if self._is_image_folder:
            paths = [path for path in paths if path != image]
        if len(paths) > 1:
            raise InputError(
                f"{shorten([path.name for path in paths])} in {self.folder} all belong to the "
                f"image {name}; keep one of them."
            )
        return paths[0] if paths else None

    def path(self, name: str, image: Path) -> Path:
        """The file of an image, or its usual path if it is missing."""
        return self.find(name, image) or self.expected(name)

    def unused(self, names: Iterable[str]) -> list[str]:
        """Names of files that belong to none of these images."""
        stems = {name.rpartition("/")[2].casefold() for name in names}
        return [n for n in self._index.names if n.rpartition("/")[2].casefold() not in stems]


@final
class ClassNames:
    """Classes of a dataset, matched without case and separators where that is unique.

    Args:
        names: in the order of labels 1, 2, ...
        subset: skip other classes that files mention, rather than refuse them.
    """

    def __init__(self, names: Sequence[str], subset: bool = False) -> None:
        self.names = list(names)
        self.subset = subset
        self.skipped: set[str] = set()
        self._folded: defaultdict[str, list[int]] = defaultdict(list)
        for i, name in enumerate(self.names):
            self._folded[folded(name)].append(i)

    def index(self, word: str) -> int | None:
        """Index of a class from 0; None if the word is no class."""
        if word in self.names:
            return self.names.index(word)
        matches = self._folded.get(folded(word), [])
        return matches[0] if len(matches) == 1 else None

    def require(self, word: str, source: str | Path) -> int | None:
        """Index of a class from 0; None for another class, if only a subset is used.

        Args:
            word: from a file.
            source: the file, and possibly the line, for the message.

        Raises:
            InputError: the word is no class, and `subset` is False.
        """
        index = self.index(word)
        if index is None and not self.subset:
            raise InputError(
                f"{source} names the class {word!r}, which `classes` lacks; "
                f"{did_you_mean(word, self.names)} To leave a class out, set `mask_ids`."
            )
        if index is None:
            self.skipped.add(word)
        return index


def folded(word: str) -> str:
    """A word in lower case with single blanks in place of blanks, `_` and `-`."""
    return re.sub(r"[\s_-]+", " ", _composed(word).strip()).casefold()


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _without_suffix(relative: str, suffixes: Sequence[str]) -> str | None:
    """A path without its suffix; None if it has none of these suffixes."""
    stem, dot, suffix = relative.rpartition(".")
    known = f"{dot}{suffix}".lower() in suffixes
    return stem if known and stem and not stem.endswith("/") else None


def files_below(folder: Path) -> Iterator[str]:
    """Sorted paths of files relative to the folder, without hidden ones and those of systems."""
    entered: set[str] = set()

    def walk(place: str, relative: str) -> Iterator[str]:
        real = os.path.realpath(place)  # a link may lead back to a parent folder
        if real in entered:
            return
        entered.add(real)
        with os.scandir(place) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(".") or entry.name in SYSTEM_FILES:
                    continue
                if entry.is_dir():
                    yield from walk(entry.path, f"{relative}{entry.name}/")
                else:
                    yield f"{relative}{entry.name}"

    if folder.is_dir():
        yield from walk(str(folder), "")
