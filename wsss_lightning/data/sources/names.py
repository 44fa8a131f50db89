"""Names of images and classes, found however a file writes them.

An image is known by its path below the folder of images, without the suffix and with `/` between
folders: `train/0001`. Its mask and annotation have the same name below their own folders.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, final

from wsss_lightning.data.images import SUFFIXES
from wsss_lightning.errors import InputError, did_you_mean

SHOWN: Final = 5  # names in a message


def some(items: Sequence[Any]) -> str:
    """The first few of what may be thousands."""
    return ", ".join(map(str, items[:SHOWN])) + (", ..." if len(items) > SHOWN else "")


@final
class FolderIndex:
    """Files below a folder, its sub-folders included, found by name without regard to their suffix.

    Args:
        folder: to look in; a folder that does not exist holds no files.
        suffixes: of the files that count, lower case.
    """

    def __init__(self, folder: Path, suffixes: Sequence[str]) -> None:
        self.folder = folder
        self._files: dict[str, list[str]] = {}  # paths below the folder, by name
        self.other_suffixes: dict[str, str] = {}  # of files that do not count, by name
        self._folded: defaultdict[str, list[str]] = defaultdict(list)
        self._stems: defaultdict[str, list[str]] = defaultdict(list)
        for relative in _files_below(folder):
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
        return self._files.keys()

    def paths(self, name: str) -> list[Path]:
        """Files of this name."""
        return [self.folder / relative for relative in self._files[name]]

    def names_like(self, name: str) -> list[str]:
        """The name itself, else names that differ from it by capitals only."""
        return [name] if name in self._files else self._folded.get(name.casefold(), [])

    def names_ending(self, stem: str) -> list[str]:
        """Names in any sub-folder whose last part is this, without regard to capitals."""
        return self._stems.get(stem.casefold(), [])


@final
class ImageIndex:
    """Images of a data set, found by what lists and tables call them.

    A name may be written with or without its suffix, with folders before it, with the separators
    of Windows, in composed or decomposed Unicode, and with other capitals where that is unique.

    Args:
        folder: of the images, with any sub-folders.
        mask_folder: of the true masks; where it is the folder of images, a PNG beside a photo of
            the same name is its mask.
    """

    def __init__(self, folder: Path, mask_folder: Path) -> None:
        self.folder = folder
        self._index = FolderIndex(folder, SUFFIXES)
        self._with_masks = folder.absolute() == mask_folder.absolute()

    def find(self, written: str) -> list[tuple[str, Path]]:
        """Name and file of each image that a file may mean by `written`; best none or one."""
        # on Linux a backslash may be part of a name
        for form in dict.fromkeys((written, written.replace("\\", "/"))):
            for parts in self._parts(form):
                found = self._match(parts)
                if found:
                    return found
        return []

    def name(self, written: str, preferred: Collection[str] = ()) -> str | None:
        """The name of the one image that is meant; None where there is none.

        Args:
            written: what a file calls it.
            preferred: names of a split, to which a file of that split refers where several images
                may be meant.

        Raises:
            InputError: several are meant.
        """
        names = {name for name, _ in self.find(written)}
        if len(names) > 1 and preferred:
            names.intersection_update(preferred)
        if len(names) > 1:
            raise InputError(
                f"{written} may be {some(sorted(names))} in {self.folder}; write the folder before "
                "the name."
            )
        return next(iter(names), None)

    def names_ending(self, stem: str) -> list[str]:
        return self._index.names_ending(stem)

    def why_absent(self, written: str) -> str:
        """A hint for a name that no image has; empty where there is none."""
        name = _composed(PurePosixPath(written.replace("\\", "/")).name)
        suffix = self._index.other_suffixes.get(name)
        if suffix is not None or "." in name:
            stem = name.rpartition(".")[0] if suffix is None else name
            suffix = suffix or self._index.other_suffixes.get(stem)
            if suffix is not None:
                return f"{stem}.{suffix} is there, but images end in {', '.join(SUFFIXES)}"
        likely = did_you_mean(name, self._index.names)
        return likely if likely.startswith("did you mean") else ""

    def _paths(self, name: str) -> list[Path]:
        paths = self._index.paths(name)
        if self._with_masks and len(paths) > 1:
            return [path for path in paths if path.suffix.lower() != ".png"] or paths
        return paths

    def _parts(self, form: str) -> Iterator[tuple[str, ...]]:
        """The path below the folder of images, as the whole of it or from its last mention on."""
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
        written = "/".join(parts)
        bare = _without_suffix(written, SUFFIXES)
        # a dot may be part of a name: `b.v2`, and even `b.jpg` of a file `b.jpg.jpg`
        for name in (written, bare):
            if name is None:
                continue
            names = self._index.names_like(name)
            if not names and len(parts) == 1:
                names = self._index.names_ending(name)
            found = [(n, path) for n in names for path in self._paths(n)]
            if found:
                exact = [(n, p) for n, p in found if p.name.casefold() == parts[-1].casefold()]
                return exact or found
        return []


@final
class Companions:
    """Files that belong to images: a mask or an annotation of the same name in another folder.

    A file that lies directly in its folder also belongs to an image in a sub-folder, where only
    one image has that name.

    Args:
        folder: of the files.
        suffixes: that they may have; the first is the one that is expected.
        images: whose files they are.
    """

    def __init__(self, folder: Path, suffixes: Sequence[str], images: ImageIndex) -> None:
        self.folder, self.suffixes = folder, suffixes
        self._index, self._images = FolderIndex(folder, suffixes), images
        self.shared = folder.absolute() == images.folder.absolute()

    def expected(self, name: str) -> Path:
        """Where the file of an image would be."""
        return self.folder / f"{name}{self.suffixes[0]}"

    def find(self, name: str, image: Path) -> Path | None:
        """The file of an image, if there is one.

        Raises:
            InputError: there are several.
        """
        names = self._index.names_like(name)
        stem = name.rpartition("/")[2]
        if not names and len(self._images.names_ending(stem)) == 1:
            names = self._index.names_like(stem)
        paths = [path for n in names for path in self._index.paths(n)]
        if self.shared:
            paths = [path for path in paths if path != image]
        if len(paths) > 1:
            raise InputError(
                f"{some([path.name for path in paths])} in {self.folder} all belong to the image "
                f"{name}; leave one of them."
            )
        return paths[0] if paths else None

    def unused(self, names: Iterable[str]) -> list[str]:
        """Names of files that belong to none of these images."""
        stems = {name.rpartition("/")[2].casefold() for name in names}
        return [n for n in self._index.names if n.rpartition("/")[2].casefold() not in stems]


@final
class ClassNames:
    """Classes of a data set, found without regard to capitals and separators where that is unique.

    Args:
        names: in the order of labels 1, 2, ...
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._folded: defaultdict[str, list[int]] = defaultdict(list)
        for i, name in enumerate(self.names):
            self._folded[_folded(name)].append(i)

    def index(self, word: str) -> int | None:
        """Index of a class from 0; None where the word is none."""
        if word in self.names:
            return self.names.index(word)
        found = self._folded.get(_folded(word), [])
        return found[0] if len(found) == 1 else None


def _folded(word: str) -> str:
    return re.sub(r"[\s_-]+", " ", _composed(word).strip()).casefold()


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _without_suffix(relative: str, suffixes: Sequence[str]) -> str | None:
    """A path without its suffix, if it has one of these."""
    stem, dot, suffix = relative.rpartition(".")
    known = f"{dot}{suffix}".lower() in suffixes
    return stem if known and stem and not stem.endswith("/") else None


def _files_below(folder: Path) -> Iterator[str]:
    """Paths of files relative to the folder, in order; hidden ones are left out."""
    entered: set[str] = set()

    def walk(place: str, relative: str) -> Iterator[str]:
        real = os.path.realpath(place)  # a link may lead back to a folder above it
        if real in entered:
            return
        entered.add(real)
        with os.scandir(place) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    yield from walk(entry.path, f"{relative}{entry.name}/")
                else:
                    yield f"{relative}{entry.name}"

    if folder.is_dir():
        yield from walk(str(folder), "")
