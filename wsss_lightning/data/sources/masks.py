"""True masks as tools write them: ids of an index image, or colours, to labels.

Letters: c classes, H W an image.
"""

import re
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
from wsss_lightning.data.sources.names import some
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.ops.masks import IGNORE

BACKGROUND: Final = "background"
IGNORED: Final = "ignored"
SUFFIXES: Final = (
    *(".png", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".pbm"),
    *(".jpg", ".jpeg"),  # to be refused, rather than taken for absent
)
INDEX_MODES: Final = ("P", "L", "1", "I;16", "I;16B", "I")
COLOUR_MODES: Final = ("RGB", "RGBA", "P", "L", "1")

Unmapped = Literal["ignored", "background"]
Colour = tuple[int, int, int]


@final
class MaskReader:
    """Reads masks as labels: 0 background, 1..c, 255 ignored.

    Args:
        classes: names of the labels from 1 on.
        mask_ids: class, `background` or `ignored`, of each id; None: ids are labels already.
        mask_colours: colour of each class, of `background` and of `ignored`, or several colours of
            one; or the class of each colour, as in `"128 0 0": cat`. None: masks hold ids.
        unmapped: what ids and colours without a name count as; None: ignored, but masks in which
            they cover many pixels are refused before work starts.

    Raises:
        InputError: a class, an id or a colour is not known, or ids and colours are both given.
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
                "data.dataset.mask_ids and data.dataset.mask_colours are both set; give the one that "
                "masks are stored by."
            )
        self.classes = list(classes)
        self.labels = {name: i for i, name in enumerate([BACKGROUND, *classes])} | {IGNORED: IGNORE}
        self.mapped = mask_ids is not None or mask_colours is not None
        self.unmapped = unmapped
        rest = 0 if unmapped == BACKGROUND else IGNORE
        # label of each id, and of all larger ids last; -1: must not occur
        self.table: Int16[np.ndarray, _] = np.full(65537 if self.mapped else 257, -1, np.int16)
        self.named: set[int] = {IGNORE}
        if not self.mapped:
            self.table[: len(classes) + 1] = np.arange(len(classes) + 1)
            self.table[IGNORE] = IGNORE
        else:
            self.table[:] = rest
            self.table[IGNORE] = IGNORE
        for number, name in (mask_ids or {}).items():
            self._map(number, name)
        self.colours = None if mask_colours is None else self._read_colours(mask_colours)
        self._rest = rest

    def _map(self, number: Any, name: str) -> None:
        if name not in self.labels:
            raise InputError(
                f"data.dataset.mask_ids gives id {number} to {name}, which is no class; "
                f"{did_you_mean(name, self.labels)}"
            )
        if not isinstance(number, int) or not 0 <= number < 65536:
            raise InputError(
                f"data.dataset.mask_ids has the id {number!r}, but ids are whole numbers from 0 to "
                "65535, as in {0: background, 8: cat}."
            )
        self.table[number] = self.labels[name]
        self.named.add(number)

    def _read_colours(self, given: Mapping[Any, Any]) -> dict[Colour, int]:
        colours: dict[Colour, int] = {}
        for key, value in given.items():
            name, written = (str(key), value) if str(key) in self.labels else (str(value), key)
            if name not in self.labels:
                raise InputError(
                    f"data.dataset.mask_colours has {key}: {value}, which names no class; "
                    f"{did_you_mean(str(key), self.labels)} Write it as in cat: [128, 0, 0]."
                )
            several = isinstance(written, Sequence) and not isinstance(written, str)
            nested = several and bool(written) and not isinstance(written[0], int)
            for one in written if nested else [written]:
                colour = _colour(one)
                if colours.get(colour, self.labels[name]) != self.labels[name]:
                    raise InputError(
                        f"data.dataset.mask_colours gives the colour {list(colour)} to two classes; "
                        "leave one."
                    )
                colours[colour] = self.labels[name]
        return colours

    def read(self, path: Path) -> Integer[np.ndarray, "H W"]:
        """Labels of a mask; -1 where an id has no label.

        Raises:
            InputError: the file is absent, damaged, or of a mode that holds no ids or colours.
        """
        if self.colours is None:
            ids = read_ids(path).astype(np.int64)
            beyond = len(self.table) - 1
            return self.table[np.where((ids < 0) | (ids > beyond), beyond, ids)]
        return self.label_colours(read_colours(path))

    def label_colours(self, colours: UInt8[np.ndarray, "H W 3"]) -> Int16[np.ndarray, "H W"]:
        """Labels of colours; exact matches only."""
        packed = _packed(colours)
        present, places = np.unique(packed, return_inverse=True)
        known = {_pack(colour): label for colour, label in (self.colours or {}).items()}
        labels = np.array([known.get(int(value), self._rest) for value in present], np.int16)
        return labels[places].reshape(packed.shape)

    def digest_source(self) -> bytes:
        """What labels depend on besides the files."""
        return self.table.tobytes() + repr((self.colours, self._rest)).encode()

    def look(self, path: Path) -> "MaskContent":
        """Ids or colours of a mask, and what they mean.

        Raises:
            InputError: as `read`.
        """
        with _opened(path) as image:
            mode, palette = image.mode, None
            if mode == "P" and self.colours is None:
                palette = _palette(image)
        if self.colours is not None:
            packed = _packed(read_colours(path))
            values, counts = np.unique(packed, return_counts=True)
            known = {_pack(colour): label for colour, label in self.colours.items()}
            named = {value: known.get(value) for value in values.tolist()}
        else:
            values, counts = _count(read_ids(path))
            named = {value: self.label_of(value) for value in values.tolist()}
        pixels = dict(zip(values.tolist(), counts.tolist(), strict=True))
        labels = Counter[int]()
        for value, count in pixels.items():
            label = named[value]
            labels[self._rest if label is None else label] += count
        unnamed = {value: n for value, n in pixels.items() if named[value] is None}
        used = {i: palette[i] for i in pixels if palette is not None and i < len(palette)}
        return MaskContent(path, mode, pixels, labels, unnamed, used, self.colours is not None)

    def label_of(self, number: int) -> int | None:
        """Label of an id; None where no mapping names it; -1 where it must not occur."""
        if self.mapped and number not in self.named:
            return None
        return int(self.table[min(number, len(self.table) - 1)]) if number >= 0 else -1


@dataclass
class MaskContent:
    """What one mask holds.

    Attributes:
        path: of the file.
        mode: of the image, as Pillow calls it.
        pixels: of each id, or of each colour packed into a number.
        labels: pixels of each label 0..c and 255; -1: ids that must not occur.
        unnamed: pixels of each id or colour that no mapping names.
        palette: colour of each id that occurs.
        of_colours: whether `pixels` are of colours.
    """

    path: Path
    mode: str
    pixels: dict[int, int]
    labels: Counter[int]
    unnamed: dict[int, int]
    palette: dict[int, Colour]
    of_colours: bool

    def is_grey(self) -> bool:
        """Whether its palette is of grey levels, which say nothing of classes."""
        return all(len(set(colour)) == 1 for colour in self.palette.values())

    def describe(self, values: Iterable[int]) -> str:
        """Ids or colours in words."""
        kind = "colours" if self.of_colours else "ids"
        return f"{kind} {some([self.describe_one(value) for value in values])}"

    def describe_one(self, value: int) -> str:
        """An id, or a colour as [red, green, blue]."""
        return str(list(_unpack(value))) if self.of_colours else str(value)


def read_ids(path: Path) -> Integer[np.ndarray, "H W"]:
    """Ids of an index image, as they stand in the file, upright.

    Raises:
        InputError: the file is absent, damaged or no index image.
    """
    with _opened(path) as image:
        if image.mode not in INDEX_MODES:
            raise InputError(
                f"{path} is an image of mode {image.mode}, but masks are index images whose "
                "pixels are label ids; save it with a palette (mode P) or as grey levels (mode L), "
                "or give the colour of each class by data.dataset.mask_colours, as in "
                "{cat: [64, 0, 0]}."
            )
        ids = np.array(upright(image))
    return ids.astype(np.uint8) if ids.dtype == bool else ids


def read_colours(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """Colours of a mask, upright.

    Raises:
        InputError: the file is absent, damaged, or holds more than 8 bits a channel.
    """
    with _opened(path) as image:
        if image.mode not in COLOUR_MODES:
            raise InputError(
                f"{path} is an image of mode {image.mode}, but data.dataset.mask_colours needs "
                f"colours of 8 bits ({', '.join(COLOUR_MODES)}); save it as RGB."
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


def _colour(written: Any) -> Colour:
    """[128, 0, 0], "128 0 0" or "#800000"."""
    values: list[int] = []
    if isinstance(written, str):
        if re.fullmatch(r"#[0-9a-fA-F]{6}", written.strip()):
            values = list(bytes.fromhex(written.strip()[1:]))
        elif re.fullmatch(r"[\[(]?\s*\d+(?:[\s,/-]+\d+){2}\s*[\])]?", written.strip()):
            values = [int(number) for number in re.findall(r"\d+", written)]
    elif isinstance(written, Sequence):
        values = [value for value in written if isinstance(value, int)]
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise InputError(
            f"data.dataset.mask_colours has the colour {written}, but colours are three numbers "
            "from 0 to 255, as in cat: [128, 0, 0]."
        )
    return values[0], values[1], values[2]


def _count(ids: Integer[np.ndarray, "H W"]) -> tuple[np.ndarray, np.ndarray]:
    """Distinct ids and how often each occurs."""
    if ids.dtype == np.uint8:  # without sorting pixels
        counts = np.bincount(ids.ravel(), minlength=256)
        values = np.flatnonzero(counts)
        return values, counts[values]
    return np.unique(ids, return_counts=True)


def _packed(colours: UInt8[np.ndarray, "H W 3"]) -> Integer[np.ndarray, "H W"]:
    wide = colours.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _pack(colour: Colour) -> int:
    return (colour[0] << 16) | (colour[1] << 8) | colour[2]


def _unpack(value: int) -> Colour:
    return value >> 16, (value >> 8) & 255, value & 255
