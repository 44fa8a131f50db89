"""What a file of labels says about the photos, in whatever format it is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from wsss_lightning.data.folder.photos import Photo, Photos
from wsss_lightning.data.folder.words import NO_CLASS, tidy
from wsss_lightning.data.sources.boxes import RawBox, clip_and_round


@dataclass
class Labels:
    """Labels of photos.

    Args:
        words: names of classes of each photo that the labels mention, by the photo's name; an empty
            list says that the photo shows none.
        boxes: boxes of photos in pixels, by the photo's name; None: these labels have no boxes.
        sizes: (H, W) of the photo that the boxes were drawn on, where the labels say so.
        missing: entries without a photo.
        problems: boxes that cannot be used, and why.
        source: format and columns, as a remark for the user.
        notes: further remarks for the user.
    """

    words: dict[str, list[str]] = field(default_factory=dict)
    boxes: dict[str, list[RawBox]] | None = None
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    source: str = ""
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        photo: Photo,
        path: Path,
        words: Iterable[str],
        boxes: Sequence[RawBox] = (),
        size: tuple[int, int] | None = None,
    ) -> None:
        """Add what a file says about a photo.

        Args:
            photo: the photo.
            path: the file, for messages.
            words: names of classes besides those of the boxes.
            boxes: boxes in pixels.
            size: (H, W) of the annotated image; None: unknown.
        """
        known = self.words.setdefault(photo.name, [])
        names = [tidy(word) for word in (*words, *(box.name for box in boxes))]
        known += [name for name in dict.fromkeys(names) if is_class(name) and name not in known]
        if boxes:
            self.boxes = {} if self.boxes is None else self.boxes
            usable = self.boxes.setdefault(photo.name, [])
            for box in boxes:
                problem = _problem(box, photo, path)
                if problem:
                    self.problems.append(problem)
                elif is_class(box.name):
                    usable.append(box._replace(name=tidy(box.name)))
        if size is not None:
            self.sizes[photo.name] = size


def is_class(word: str) -> bool:
    """Whether a word names a class; `background` and the like do not."""
    return word.casefold() not in NO_CLASS


def match_file(photos: Photos, path: Path, folder: Path, also: str = "") -> Photo | None:
    """The photo that an annotation file of its own belongs to; None if there is none.

    The file has the path of the photo below its own folder, `labels` or `annotations` may stand in
    place of `images`, or only the names are equal.

    Args:
        photos: the photos.
        path: the annotation file.
        folder: the folder that was given.
        also: another name of the photo, that the file itself holds.

    Raises:
        InputError: several photos match.
    """
    relative = PurePosixPath(path.relative_to(folder).with_suffix("").as_posix())
    parts = [part for part in relative.parts if part.lower() not in ("labels", "annotations")]
    moved = ["images" if part == "labels" else part for part in relative.parts]
    candidates = [str(relative), "/".join(moved), "/".join(["images", *parts]), "/".join(parts)]
    if path.is_relative_to(photos.root):
        candidates.insert(0, path.relative_to(photos.root).with_suffix("").as_posix())
    for text in dict.fromkeys((*candidates, also)):
        found = photos.find(text) if text else []
        if len(found) == 1:
            return found[0]
    return photos.match(relative.name, path)


def _problem(box: RawBox, photo: Photo, path: Path) -> str:
    """Why a box cannot be used; empty if it holds a pixel of its photo, upright or as stored."""
    header = photo.fact.header
    if any(clip_and_round(box, *size) for size in (header.upright, header.stored)):
        return ""
    height, width = header.upright
    where = f" ({box.where})" if box.where else ""
    return (
        f"{path} has a {box.name}{where} whose box ({box.numbers}) holds no pixel of "
        f"{photo.relative} of {width}x{height}; correct the box, or remove it."
    )
