"""Tables of image-level labels: CSV files, and dictionaries that numpy saved.

Letters: c classes.
"""

import os
import pickle
import pickletools
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from jaxtyping import Float32

from wsss_lightning.data.sources.names import ClassNames, ImageIndex
from wsss_lightning.data.sources.text import Row, read_table
from wsss_lightning.errors import InputError, did_you_mean

VALUES: Final = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "0,0": 0, "1,0": 1, "false": 0, "true": 1}
NAME_COLUMNS: Final = ("image", "filename", "file_name", "file", "name", "img", "path", "image_id")


class TagTable(NamedTuple):
    """Tags of images.

    Attributes:
        tags: (c) multi-hot, by the name of an image.
        absent: what the table calls images that are not there.
        left_out: classes of the table that the data set lacks.
    """

    tags: dict[str, Float32[np.ndarray, "c"]]
    absent: list[str]
    left_out: frozenset[str] = frozenset()


def read_csv(path: Path, images: ImageIndex, classes: ClassNames, subset: bool) -> TagTable:
    """Tags of a CSV file with a row for each image.

    Either the header names a column for each class, which holds 0 or 1, or each row holds the
    image's classes as words: in a cell of their own each, or in one cell between commas,
    semicolons or bars. A table of words needs no header, and may have several rows for an image.

    Args:
        path: of the file.
        images: whose names the first column holds, or one that is called image, filename, ...
        classes: of the data set.
        subset: leave out classes that `classes` lacks, rather than refuse them.

    Raises:
        InputError: the file does not read as such a table; the message names the line.
    """
    rows = read_table(path)
    header = rows[0].cells
    named = [c for c in map(classes.index, header[1:]) if c is not None]
    without_header = bool(images.find(header[0]))
    if named and not (without_header and _are_words(rows, classes)):
        return _read_columns(path, rows, images, classes, subset)
    rows_of_images = rows if without_header else rows[1:]
    if _are_words(rows_of_images, classes):
        return _read_words(path, rows_of_images, images, classes, subset)
    first = classes.names[0]
    raise InputError(
        f"{path} begins with {','.join(header)[:80]!r}, which has no column for the class {first}; "
        f"{did_you_mean(first, header[1:])} Its first line must be image,CLASS,CLASS,... over "
        "columns of 0 and 1, or its rows must hold an image and the names of its classes."
    )


def _read_columns(
    path: Path, rows: list[Row], images: ImageIndex, classes: ClassNames, subset: bool
) -> TagTable:
    header = rows[0].cells
    at = _name_column(header)
    columns: dict[int, int] = {}  # class by column
    for i, word in enumerate(header):
        c = None if i == at else classes.index(word)
        if c is not None:
            columns[i] = c
    for c, label in enumerate(classes.names):
        count = list(columns.values()).count(c)
        if count != 1:
            others = [word for i, word in enumerate(header) if i != at and i not in columns]
            raise InputError(
                f"{path} has {count or 'no'} columns for the class {label}, but one is expected; "
                f"{did_you_mean(label, others)} Its first line must be image,CLASS,CLASS,..."
            )
    table: dict[str, np.ndarray] = {}
    absent: list[str] = []
    for line, cells in rows[1:]:
        values = [cells[i].lower() for i in columns] if len(cells) == len(header) else []
        if len(values) != len(columns) or not set(values) <= set(VALUES):
            raise InputError(
                f"{path}, line {line}, is {','.join(cells)[:80]}, but a name and {len(columns)} "
                f"tags of 0 or 1 are expected (the columns are {','.join(header)[:80]}); mend the "
                "line."
            )
        name = images.name(cells[at])
        if name is None:
            absent.append(cells[at])
            continue
        if name in table:
            raise InputError(f"{path} has {name} twice, again in line {line}; leave one line.")
        table[name] = np.zeros(len(classes.names), np.float32)
        for c, value in zip(columns.values(), values, strict=True):
            table[name][c] = VALUES[value]
    # columns of 0 and 1 are classes; others may hold anything
    unknown = [
        word
        for i, word in enumerate(header)
        if word
        and i not in {at, *columns}
        and all(row.cells[i].lower() in VALUES for row in rows[1:])
    ]
    if unknown and not subset:
        raise InputError(
            f"{path} names the class {unknown[0]!r}, which data.dataset.classes lacks; "
            f"{did_you_mean(unknown[0], classes.names)} To leave a class out, give "
            "data.dataset.mask_ids."
        )
    return TagTable(table, absent, frozenset(unknown))


def _read_words(
    path: Path, rows: list[Row], images: ImageIndex, classes: ClassNames, subset: bool
) -> TagTable:
    table: dict[str, np.ndarray] = {}
    absent: list[str] = []
    left_out: set[str] = set()
    for line, cells in rows:
        name = images.name(cells[0])
        if name is None:
            absent.append(cells[0])
            continue
        tags = table.setdefault(name, np.zeros(len(classes.names), np.float32))
        for word in _words(cells[1:], classes):
            c = classes.index(word)
            if c is None and not subset:
                raise InputError(
                    f"{path}, line {line}, names the class {word!r}, which data.dataset.classes "
                    f"lacks; {did_you_mean(word, classes.names)} To leave a class out, give "
                    "data.dataset.mask_ids."
                )
            if c is None:
                left_out.add(word)
            else:
                tags[c] = 1
    return TagTable(table, absent, frozenset(left_out))


def _words(cells: Sequence[str], classes: ClassNames) -> list[str]:
    """Class names in cells, each of which holds one or several."""
    words = []
    for cell in filter(None, cells):
        # blanks divide classes only where no class has one in its name
        for pattern in (r"[,;|]", r"[,;|\s]+"):
            parts = [part.strip() for part in re.split(pattern, cell) if part.strip()]
            if classes.index(cell) is not None:
                parts = [cell]
            if all(classes.index(part) is not None for part in parts):
                break
        else:
            parts = [part.strip() for part in re.split(r"[,;|]", cell) if part.strip()]
        words += parts
    return words


def _are_words(rows: Sequence[Row], classes: ClassNames) -> bool:
    """Whether rows hold classes as words: some are known, and none is a number."""
    words = [word for row in rows for word in _words(row.cells[1:], classes)]
    numbers = any(word.lower() in VALUES and classes.index(word) is None for word in words)
    return not numbers and any(classes.index(word) is not None for word in words)


def _name_column(header: Sequence[str]) -> int:
    """The column of images: the first, or that with such a name behind a column of numbers."""
    known = [i for i, word in enumerate(header) if word.lower() in NAME_COLUMNS]
    return known[0] if known else 0


def read_npy(path: Path, images: ImageIndex, classes: ClassNames) -> TagTable:
    """Tags of a dictionary from image name to multi-hot vector, saved by `numpy.save`.

    Raises:
        InputError: the file is damaged, or a vector does not belong to these classes.
    """
    table: dict[str, np.ndarray] = {}
    absent = []
    for key, given in read_npy_dict(path).items():
        try:
            # IRN's file has 2007000032 where all others have 2007_000032
            written = key if isinstance(key, str) else "{}_{:06d}".format(*divmod(int(key), 10**6))
            # lists that hold one another many times over: few bytes, but gigabytes of numbers
            if not isinstance(given, np.ndarray) and not all(map(np.isscalar, given)):
                raise TypeError("it is no vector of numbers")
            vector = np.asarray(given, np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{path} has no tags for {key!r} ({error}); expected a dictionary from image "
                "name to multi-hot vector."
            ) from error
        if vector.shape != (len(classes.names),):
            raise InputError(
                f"{path} has {vector.size} tags for {written}, but there are {len(classes.names)} "
                "classes; give the file that belongs to these classes."
            )
        if not np.isin(vector, (0, 1)).all():
            raise InputError(
                f"{path} has tags other than 0 and 1 for {written}; save multi-hot vectors."
            )
        name = images.name(written)
        if name is None:
            absent.append(written)
        elif name in table:
            raise InputError(f"{path} has tags for {name} twice; save one vector for each image.")
        else:
            table[name] = vector
    return TagTable(table, absent)


class _ArraysOnly(pickle.Unpickler):
    """Builds dictionaries of arrays and refuses all else, so that a file cannot run code."""

    # the very functions by which arrays pickle themselves; numpy 1 and 2 keep them in modules of
    # different names, so only the last part counts and nothing is looked up or imported
    KNOWN: Final[dict[str, Any]] = {
        "_reconstruct": np.empty(0).__reduce__()[0],
        "_frombuffer": np.empty(0).__reduce_ex__(5)[0],
        "scalar": np.float32(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # of bytes, in protocols 0 to 2
            return _latin1
        if module.split(".")[0] == "numpy" and name in self.KNOWN:
            return self.KNOWN[name]
        raise pickle.UnpicklingError(f"it wants to run {module}.{name}, which is not allowed")


def read_npy_dict(path: Path) -> dict[Any, Any]:
    """A dictionary that was saved by `numpy.save`, read without running any code of the file.

    Raises:
        InputError: the file is damaged, or holds anything but a dictionary of arrays.
    """
    try:
        with path.open("rb") as file:
            _skip_npy_header(file)
            _check_pickle(path, file.tell(), os.fstat(file.fileno()).st_mtime_ns)
            # latin1: as numpy does for files of Python 2
            content = _ArraysOnly(file, encoding="latin1").load().item()
        if not isinstance(content, dict):
            raise ValueError("it holds no dictionary")
        return content
    except Exception as error:  # damaged pickles raise almost anything
        raise InputError(
            f"{path} cannot be read as tags ({error}); expected a dictionary from image name to "
            "multi-hot vector, saved by numpy.save."
        ) from error


def _latin1(text: str, encoding: str) -> bytes:
    """What a pickle of Python 3 in an old protocol holds in place of bytes."""
    if encoding != "latin1":  # others could unpack gigabytes
        raise pickle.UnpicklingError(f"it wants to encode by {encoding}, which is not allowed")
    return text.encode("latin1")


@cache  # of tens of thousands of vectors it takes a second, and each stage reads them
def _check_pickle(path: Path, start: int, changed: int) -> None:
    """Places in a pickle's memory are given by number, and all below a number are made.

    Python 3.11 makes room for 32 GB where a file of a few bytes says so.
    """
    most = path.stat().st_size
    with path.open("rb") as file:
        file.seek(start)
        for code, argument, _ in pickletools.genops(file):
            if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > most:
                raise ValueError(f"it asks for {argument} places in {most} bytes")


def _skip_npy_header(file: BinaryIO) -> None:
    major, _ = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    )
    _, _, dtype = read(file)
    if not dtype.hasobject:
        raise ValueError("it holds plain numbers without names")
