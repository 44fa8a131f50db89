"""Reads corrected masks of a labelling tool, and writes them as index masks in our label order.

Letters: H W an image.
"""

import hashlib
import re
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from jaxtyping import UInt8

from wsss_lightning.data.images import read_header
from wsss_lightning.data.scores import save_mask
from wsss_lightning.data.sources.masks import BACKGROUND
from wsss_lightning.data.sources.names import ClassNames, ImageIndex
from wsss_lightning.data.stage_files import image_file
from wsss_lightning.errors import InputError, closest, did_you_mean
from wsss_lightning.export.masks.exporting import Track, untracked
from wsss_lightning.export.masks.files import new_folder, unpacked
from wsss_lightning.export.masks.formats import codec
from wsss_lightning.export.masks.objects import IGNORED, AnnotatedImage, Overlap, paint
from wsss_lightning.export.masks.sources import CLASSES_FILE, check_size
from wsss_lightning.ops.masks import IGNORE, voc_palette
from wsss_lightning.utils.files import write_json
from wsss_lightning.utils.text import shorten

RECORD: Final = "import.json"
IGNORED_NAMES: Final = (IGNORED, "ignore")
UPLOAD: Final = re.compile(r"^[0-9a-f]{8}-")  # Label Studio's prefix of uploaded files
MOST_MESSAGES: Final = 5


@dataclass(frozen=True)
class ImportOptions:
    """How an export of a tool is read.

    Args:
        classes: names of labels 1 to c.
        index: finds the image files.
        mapping: new name of each class of the export that is renamed; new names are classes,
            `background` or `ignored`.
        overlap: where objects overlap, the `later` one of the file wins, or the `smallest`.
        predictions: read predictions that nobody corrected, where the format has any.
        original: the export that was corrected; images whose masks did not change are left out.
    """

    classes: Sequence[str]
    index: ImageIndex
    mapping: Mapping[str, str] = field(default_factory=dict)
    overlap: Overlap = "later"
    predictions: bool = False
    original: Path | None = None


@dataclass
class ImportReport:
    """What was read.

    Args:
        names: images whose masks were written.
        unchanged: images whose masks are those of the original export.
        pixels: pixels of each label 0 to c and 255.
        contested: number of images in which objects of different classes overlap.
        contested_pixels: pixels that these objects share.
        renamed: classes of the export that are written in another way, and their new name.
    """

    names: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    pixels: Counter[int] = field(default_factory=Counter)
    contested: int = 0
    contested_pixels: int = 0
    renamed: dict[str, str] = field(default_factory=dict)


def import_masks(
    path: Path,
    name: str,
    target: Path,
    options: ImportOptions,
    overwrite: bool = False,
    track: Track = untracked,
) -> ImportReport:
    """Write the masks of an export of a tool as `<name>.png`, with `classes.json`.

    Args:
        path: file, folder or .zip that the tool exported.
        name: format, a key of `FORMATS`.
        target: folder that appears when all is written.
        options: how the export is read.
        overwrite: replace an existing folder.
        track: progress bar, given items, their number and a text.

    Raises:
        InputError: the export cannot be read, mentions unknown classes or images, or was made of
            images of other sizes; nothing is written then.
    """
    report = ImportReport()
    original = {} if options.original is None else _digests(name, options)
    with new_folder(target, overwrite) as folder:
        for one, mask in _masks(path, name, options, report, track):
            if original.get(one) == _digest(mask):
                report.unchanged.append(one)
                continue
            report.names.append(one)
            for label, count in enumerate(np.bincount(mask.ravel(), minlength=1).tolist()):
                report.pixels[label] += count
            save_mask(image_file(folder, one, ".png"), mask)
        if not report.names:
            reason = (
                f"all {len(report.unchanged)} masks are those of {options.original}"
                if report.unchanged
                else "it has no annotated images"
            )
            raise InputError(f"{path}: {reason}, so there is nothing to write.")
        write_json(folder / CLASSES_FILE, _classes(options.classes))
        write_json(folder / RECORD, _record(path, name, options, report))
    return report


def _digests(name: str, options: ImportOptions) -> dict[str, str]:
    """Digest of each mask of the original export, predictions included."""
    assert options.original is not None
    first = ImportOptions(
        options.classes, options.index, options.mapping, options.overlap, predictions=True
    )
    masks = _masks(options.original, name, first, ImportReport(), untracked)
    return {one: _digest(mask) for one, mask in masks}


def _masks(
    path: Path, name: str, options: ImportOptions, report: ImportReport, track: Track
) -> Iterator[tuple[str, UInt8[np.ndarray, "H W"]]]:
    """Name and mask of each annotated image.

    Raises:
        InputError: as `import_masks`, after all images were read, for all of them together.
    """
    functions = codec(name)
    read = functions.read_written if options.predictions else functions.read
    sources: dict[str, str] = {}
    problems: list[str] = []
    labels = _Labels(path, options)
    with unpacked(path) as opened:
        for image in track(read(opened, options.classes), None, "masks"):
            known = labels.add(image)
            try:
                one, file = _find(image, options.index)
                other = sources.setdefault(one, image.source)
                if other != image.source:
                    raise InputError(
                        f"{image.source} and {other} both annotate {one}; keep one of them."
                    )
                if known:
                    mask = _paint(image, file, labels.labels, options.overlap, report)
                    yield one, mask
            except InputError as error:
                problems.append(str(error))
    labels.check()
    report.renamed = labels.renamed
    if problems:
        raise InputError(_together(problems, len(sources) + len(problems)))


def _together(problems: list[str], count: int) -> str:
    """One message for the problems of several images."""
    if len(problems) == 1:
        return problems[0]
    more = len(problems) - MOST_MESSAGES
    rest = f"\n  and {more} more" if more > 0 else ""
    shown = "\n  ".join(problems[:MOST_MESSAGES])
    return f"{len(problems)} of {count} images cannot be used:\n  {shown}{rest}"


def _paint(
    image: AnnotatedImage,
    file: Path,
    labels: Mapping[str, int],
    overlap: Overlap,
    report: ImportReport,
) -> UInt8[np.ndarray, "H W"]:
    if image.size is not None:
        check_size(image.source, image.size, file)
    height, width = read_header(file).upright
    try:
        mask, contested = paint(image, labels, height, width, overlap)
    except ValueError as error:
        raise InputError(f"{image.source}: {error}; correct or remove it.") from error
    report.contested += contested > 0
    report.contested_pixels += contested
    return mask


class _Labels:
    """Labels of the classes that an export mentions.

    Args:
        path: the export, for messages.
        options: classes and their new names.
    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self._path, self._options = path, options
        self._classes = ClassNames(options.classes)
        self._unknown: set[str] = set()
        self.labels: dict[str, int] = {}
        self.renamed: dict[str, str] = {}

    def add(self, image: AnnotatedImage) -> bool:
        """Add the classes of an image; whether all of them are known."""
        for name in {region.name for region in image.regions} - self.labels.keys():
            self._add(name)
        return not any(region.name in self._unknown for region in image.regions)

    def _add(self, name: str) -> None:
        new = self._options.mapping.get(name, name)
        index = self._classes.index(new)
        word = new.strip().lower()
        if index is not None:
            self.labels[name], written = index + 1, self._options.classes[index]
        elif word in IGNORED_NAMES:
            self.labels[name], written = IGNORE, IGNORED
        elif word == BACKGROUND:
            self.labels[name], written = 0, BACKGROUND
        else:
            self._unknown.add(name)
            return
        if written != name:
            self.renamed[name] = written

    def check(self) -> None:
        """Check that all classes are known, and that the export has those that are renamed.

        Raises:
            InputError: it is not so.
        """
        options, names = self._options, self.labels.keys() | self._unknown
        unused = sorted(set(options.mapping) - names)
        if unused:
            raise InputError(
                f"--map renames {shorten(unused)}, but {self._path} has only "
                f"{shorten(sorted(names), 10)}; {did_you_mean(unused[0], names)}"
            )
        if self._unknown:
            known, unknown = [*options.classes, BACKGROUND, IGNORED], sorted(self._unknown)
            near = closest(unknown[0], known) or known[0]
            raise InputError(
                f"{self._path} has the classes {shorten(unknown, 10)}, which are not among "
                f"{shorten(known, 30)}; rename each, as in --map '{unknown[0]}={near}', or --map "
                f"'{unknown[0]}={IGNORED}' to ignore its pixels."
            )


def _find(image: AnnotatedImage, index: ImageIndex) -> tuple[str, Path]:
    """Name and file of the image that an entry belongs to.

    Raises:
        InputError: there is none, or several.
    """
    for text in image.files:
        for form in _forms(text):
            found = dict(index.find(form))
            if len(found) == 1:
                return next(iter(found.items()))
            if found:
                raise InputError(
                    f"{image.source} may belong to {shorten(sorted(found))} in {index.folder}; "
                    "write the folder before the name."
                )
    name = image.files[0] if image.files else ""
    hint = index.why_absent(name)
    raise InputError(
        f"{image.source} is of the image {name}, which {index.folder} lacks; give its folder with "
        f"--images DIR, or remove the entry.{' ' if hint else ''}{hint}"
    )


def _forms(text: str) -> Iterator[str]:
    """Ways to read the path or URL of an image: whole, then without its first folders."""
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(text).query) if "?" in text else {}
    texts = [text]
    if "://" in text or text.startswith("/data/"):
        texts = [*query.get("d", ()), urllib.parse.unquote(text.partition("?")[0])]
    for one in texts:
        path = PurePosixPath(one.replace("\\", "/"))
        parts = [part for part in path.parts if part not in ("/", "..", ".")]
        yield one
        for start in range(len(parts)):
            yield "/".join(parts[start:])
        if parts and UPLOAD.match(parts[-1]):
            yield UPLOAD.sub("", parts[-1])


def _classes(classes: Sequence[str]) -> list[dict[str, object]]:
    """Content of `classes.json`, as `predict` writes it."""
    palette = voc_palette()
    return [
        {"label": i, "name": name, "colour": list(palette[3 * i : 3 * i + 3])}
        for i, name in enumerate([BACKGROUND, *classes])
    ]


def _digest(mask: UInt8[np.ndarray, "H W"]) -> str:
    return hashlib.blake2b(mask.tobytes(), digest_size=16).hexdigest()


def _record(
    path: Path, name: str, options: ImportOptions, report: ImportReport
) -> dict[str, object]:
    names = {IGNORE: IGNORED, **dict(enumerate([BACKGROUND, *options.classes]))}
    return {
        "format": name,
        "source": path.name,
        "masks": len(report.names),
        "unchanged": len(report.unchanged),
        "renamed": report.renamed,
        "overlap": options.overlap,
        "pixels": {names[label]: n for label, n in sorted(report.pixels.items()) if n},
    }
