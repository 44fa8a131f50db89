"""Mask files: ids of an index image, or colours, converted to labels.

Letters: c classes, H W an image.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, final

import numpy as np
from jaxtyping import Int16, Integer, UInt8
from PIL import Image

from wsss_lightning.data.images import opened, upright
from wsss_lightning.data.sources.colours import Colour, pack, pack_all, parse_colours, unpack
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.utils.text import shorten

BACKGROUND: Final = "background"
IGNORED: Final = "ignored"
SUFFIXES: Final = (
    *(".png", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".pbm"),
    *(".jpg", ".jpeg"),  # refused with a reason, rather than reported as missing
)
INDEX_MODES: Final = ("P", "L", "1", "I;16", "I;16B", "I")
COLOUR_MODES: Final = ("RGB", "RGBA", "P", "L", "1")
MAX_ID: Final = 65535

Unmapped = Literal["ignored", "background"]


@final
class MaskReader:
    """Reads masks as labels: 0 background, 1 to c classes, 255 ignored.

    Args:
        classes: names of labels 1 to c.
        mask_ids: class, `background` or `ignored` of each id; None: ids are labels.
        mask_colours: colour, or list of colours, of each class, of `background` and of `ignored`;
            or the class of each colour, as in `"128 0 0": cat`. None: masks hold ids.
        unmapped: meaning of ids and colours that have no name. None: ignored, but masks in which
            they cover many pixels are refused (`MaskSurvey`).

    Raises:
        InputError: a class, an id or a colour is invalid, or both ids and colours are given.
    """

    def __init__(
        self,
        classes: Sequence[str],
        mask_ids: Mapping[int, str] | None,
        mask_colours: Mapping[Any, Any] | None,
        unmapped: Unmapped | None,
    ) -> None:
        if mask_ids is not None and mask_colours is not None:
            raise InputError(
                "`mask_ids` and `mask_colours` are both set; keep the one that the masks use."
            )
        self.classes = list(classes)
        self.labels = {name: i for i, name in enumerate([BACKGROUND, *classes])} | {IGNORED: IGNORE}
        self.mapped = mask_ids is not None or mask_colours is not None
        self.unmapped = unmapped
        self._default = 0 if unmapped == BACKGROUND else IGNORE
        # label of each id; the last entry is for all larger ids; -1: invalid
        size = MAX_ID + 2 if self.mapped else 257
        self.table: Int16[np.ndarray, _] = np.full(size, -1, np.int16)
        self.named: set[int] = {IGNORE}
        if self.mapped:
            self.table[:] = self._default
        else:
            self.table[: len(classes) + 1] = np.arange(len(classes) + 1)
        self.table[IGNORE] = IGNORE
        for number, name in (mask_ids or {}).items():
            self._map(number, name)
        self.colours = None if mask_colours is None else parse_colours(mask_colours, self.labels)

    def _map(self, number: Any, name: str) -> None:
        if name not in self.labels:
            raise InputError(
                f"`mask_ids` maps id {number} to {name}, which is no class; "
                f"{did_you_mean(name, self.labels)}"
            )
        if not isinstance(number, int) or not 0 <= number <= MAX_ID:
            raise InputError(
                f"`mask_ids` has the id {number!r}, but ids are whole numbers from 0 to {MAX_ID}, "
                "as in {0: background, 8: cat}."
            )
        self.table[number] = self.labels[name]
        self.named.add(number)

    def read(self, path: Path) -> Integer[np.ndarray, "H W"]:
        """Read labels; -1 marks invalid ids.

        Raises:
            InputError: the file is missing, damaged, or of a mode without ids or colours.
        """
        if self.colours is None:
            ids = read_ids(path).astype(np.int64)
            beyond = len(self.table) - 1
            return self.table[np.where((ids < 0) | (ids > beyond), beyond, ids)]
        packed = pack_all(read_colours(path))
        present, places = np.unique(packed, return_inverse=True)
        known = {pack(colour): label for colour, label in self.colours.items()}
        labels = np.array([known.get(int(value), self._default) for value in present], np.int16)
        return labels[places].reshape(packed.shape)

    def digest_source(self) -> bytes:
        """Everything besides the files that labels depend on, for a digest."""
        return self.table.tobytes() + repr((self.colours, self._default)).encode()

    def inspect(self, path: Path) -> "MaskContent":
        """Count the ids or colours of a mask, and their labels.

        Raises:
            InputError: as in `read`.
        """
        with _opened(path) as image:
            mode, palette = image.mode, None
            if mode == "P" and self.colours is None:
                palette = _palette(image)
        if self.colours is not None:
            packed = pack_all(read_colours(path))
            values, counts = np.unique(packed, return_counts=True)
            known = {pack(colour): label for colour, label in self.colours.items()}
            label_of = {value: known.get(value) for value in values.tolist()}
        else:
            values, counts = _count(read_ids(path))
            label_of = {value: self.label_of(value) for value in values.tolist()}
        pixels = dict(zip(values.tolist(), counts.tolist(), strict=True))
        labels = Counter[int]()
        for value, count in pixels.items():
            label = label_of[value]
            labels[self._default if label is None else label] += count
        unnamed = {value: n for value, n in pixels.items() if label_of[value] is None}
        used = {i: palette[i] for i in pixels if palette is not None and i < len(palette)}
        return MaskContent(path, mode, pixels, labels, unnamed, used, self.colours is not None)

    def label_of(self, number: int) -> int | None:
        """Label of an id; None if it has no name; -1 if it is invalid."""
        if self.mapped and number not in self.named:
            return None
        return int(self.table[min(number, len(self.table) - 1)]) if number >= 0 else -1


@dataclass
class MaskContent:
    """Contents of one mask.

    Attributes:
        path: path of the file.
        mode: mode of the image, as Pillow calls it.
        pixels: number of pixels of each id, or of each packed colour.
        labels: pixels of each label 0 to c and 255; -1: invalid ids.
        unnamed: pixels of each id or colour without a name.
        palette: colour of each id that occurs.
        of_colours: whether `pixels` counts colours.
    """

    path: Path
    mode: str
    pixels: dict[int, int]
    labels: Counter[int]
    unnamed: dict[int, int]
    palette: dict[int, Colour]
    of_colours: bool

    def is_grey(self) -> bool:
        """Whether all colours of the palette are grey and thus independent of classes."""
        return all(len(set(colour)) == 1 for colour in self.palette.values())

    def describe(self, values: Iterable[int]) -> str:
        """Several ids or colours, for messages."""
        kind = "colours" if self.of_colours else "ids"
        return f"{kind} {shorten([self.describe_one(value) for value in values])}"

    def describe_one(self, value: int) -> str:
        """An id, or a colour as [red, green, blue]."""
        return str(list(unpack(value))) if self.of_colours else str(value)


def read_ids(path: Path) -> Integer[np.ndarray, "H W"]:
    """Read the ids of an index image, upright.

    Raises:
        InputError: the file is missing, damaged or no index image.
    """
    with _opened(path) as image:
        if image.mode not in INDEX_MODES:
            raise InputError(
                f"{path} is an image of mode {image.mode}, but masks are index images whose "
                "pixels are ids; save it with a palette (mode P) or as grey levels (mode L), or "
                "give the colour of each class by `mask_colours`, as in {cat: [64, 0, 0]}."
            )
        ids = np.array(upright(image))
    return ids.astype(np.uint8) if ids.dtype == bool else ids


def read_colours(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """Read the colours of a mask, upright.

    Raises:
        InputError: the file is missing, damaged, or has more than 8 bits a channel.
    """
    with _opened(path) as image:
        if image.mode not in COLOUR_MODES:
            raise InputError(
                f"{path} is an image of mode {image.mode}, but `mask_colours` needs colours of 8 "
                f"bits ({', '.join(COLOUR_MODES)}); save it as RGB."
            )
        return np.asarray(upright(image).convert("RGB"))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with opened(path) as image:
        if image.format in ("JPEG", "MPO"):
            raise InputError(
                f"{path} is a JPEG, which changes ids and colours along every edge; save masks as "
                "PNG, from the original annotation."
            )
        yield image


def _palette(image: Image.Image) -> list[Colour]:
    values = image.getpalette("RGB") or []
    return [tuple(values[i : i + 3]) for i in range(0, len(values), 3)]  # type: ignore[misc]


def _count(ids: Integer[np.ndarray, "H W"]) -> tuple[np.ndarray, np.ndarray]:
    """Distinct ids and the number of their pixels."""
    if ids.dtype == np.uint8:  # avoids sorting pixels
        counts = np.bincount(ids.ravel(), minlength=256)
        values = np.flatnonzero(counts)
        return values, counts[values]
    return np.unique(ids, return_counts=True)
