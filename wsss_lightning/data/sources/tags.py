"""Files of image-level labels: CSV tables, and dictionaries saved by numpy.

Letters: c classes.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float32

from wsss_lightning.data.sources.names import ClassNames, ImageIndex
from wsss_lightning.data.sources.npy import read_npy_dict
from wsss_lightning.data.sources.text import Row, read_table
from wsss_lightning.errors import InputError, did_you_mean

VALUES: Final = {
    **dict.fromkeys(("0", "0.0", "0,0", "false", "no", "n", "nein", "falsch", "non", "faux"), 0),
    **dict.fromkeys(("1", "1.0", "1,0", "true", "yes", "y", "ja", "wahr", "oui", "vrai"), 1),
    **dict.fromkeys(("x", "✓", "✔"), 1),
}
NAME_COLUMNS: Final = (
    *("image", "filename", "file_name", "file", "name", "img", "path", "image_id"),
    *("photo", "picture", "filepath", "datei", "dateiname", "bild", "foto", "fichier", "nom"),
)


class TagTable(NamedTuple):
    """Tags of many images.

    Attributes:
        tags: (c) multi-hot, by image name.
        missing: entries without an image.
    """

    tags: dict[str, Float32[np.ndarray, "c"]]
    missing: list[str]


def read_csv(path: Path, images: ImageIndex, classes: ClassNames) -> TagTable:
    """Read a CSV table with a row for each image.

    Either the header names a column for each class, which holds 0 or 1; or each row holds the names
    of the classes: one in each cell, or several in one cell, separated by commas, semicolons or
    bars. A table of names needs no header, and may have several rows for an image.

    Args:
        path: path of the table.
        images: named by the first column, or by one called image, filename and so on.
        classes: classes of the dataset.

    Raises:
        InputError: the file is no such table; the message names the line.
    """
    rows = read_table(path)
    header = rows[0].cells
    class_columns = [c for c in map(classes.index, header[1:]) if c is not None]
    without_header = bool(images.find(header[0]))
    if class_columns and not (without_header and _hold_class_names(rows, classes)):
        return _read_columns(path, rows, images, classes)
    rows_of_images = rows if without_header else rows[1:]
    if _hold_class_names(rows_of_images, classes):
        return _read_class_names(path, rows_of_images, images, classes)
    first = classes.names[0]
    raise InputError(
        f"{path} begins with {','.join(header)[:80]!r}, which has no column for the class {first}; "
        f"{did_you_mean(first, header[1:])} Its first line must be image,CLASS,CLASS,... over "
        "columns of 0 and 1, or its rows must hold an image and the names of its classes."
    )


def _read_columns(path: Path, rows: list[Row], images: ImageIndex, classes: ClassNames) -> TagTable:
    """A table with a column of 0 and 1 for each class."""
    header = rows[0].cells
    name_column = _name_column(header)
    columns = _class_columns(path, header, name_column, classes)
    table: dict[str, np.ndarray] = {}
    missing: list[str] = []
    for line, cells in rows[1:]:
        values = [cells[i].lower() for i in columns] if len(cells) == len(header) else []
        if len(values) != len(columns) or not set(values) <= set(VALUES):
            raise InputError(
                f"{path}, line {line}, is {','.join(cells)[:80]}, but a name and {len(columns)} "
                f"tags of 0 or 1 are expected (the columns are {','.join(header)[:80]}); correct "
                "the line."
            )
        name = images.name(cells[name_column])
        if name is None:
            missing.append(cells[name_column])
            continue
        if name in table:
            raise InputError(f"{path} has {name} twice, again in line {line}; keep one line.")
        table[name] = np.zeros(len(classes.names), np.float32)
        for c, value in zip(columns.values(), values, strict=True):
            table[name][c] = VALUES[value]
    for i, word in enumerate(header):
        # columns of 0 and 1 are classes; others may hold anything
        is_tag = all(row.cells[i].lower() in VALUES for row in rows[1:])
        if word and i not in {name_column, *columns} and is_tag:
            classes.require(word, path)
    return TagTable(table, missing)


def _class_columns(
    path: Path, header: Sequence[str], name_column: int, classes: ClassNames
) -> dict[int, int]:
    """Class by column.

    Raises:
        InputError: a class has no column, or several.
    """
    columns: dict[int, int] = {}
    for i, word in enumerate(header):
        c = None if i == name_column else classes.index(word)
        if c is not None:
            columns[i] = c
    for c, label in enumerate(classes.names):
        count = list(columns.values()).count(c)
        if count != 1:
            others = [w for i, w in enumerate(header) if i != name_column and i not in columns]
            raise InputError(
                f"{path} has {count or 'no'} columns for the class {label}, but one is expected; "
                f"{did_you_mean(label, others)} Its first line must be image,CLASS,CLASS,..."
            )
    return columns


def _read_class_names(
    path: Path, rows: list[Row], images: ImageIndex, classes: ClassNames
) -> TagTable:
    """A table whose rows hold an image and the names of its classes."""
    table: dict[str, np.ndarray] = {}
    missing: list[str] = []
    for line, cells in rows:
        name = images.name(cells[0])
        if name is None:
            missing.append(cells[0])
            continue
        tags = table.setdefault(name, np.zeros(len(classes.names), np.float32))
        for word in _split(cells[1:], classes):
            c = classes.require(word, f"{path}, line {line},")
            if c is not None:
                tags[c] = 1
    return TagTable(table, missing)


def _split(cells: Sequence[str], classes: ClassNames) -> list[str]:
    """Class names in cells, each of which holds one or several."""
    words = []
    for cell in filter(None, cells):
        # blanks separate classes only if no class has one in its name
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


def _hold_class_names(rows: Sequence[Row], classes: ClassNames) -> bool:
    """Whether some cells hold a known class, and none holds a number."""
    words = [word for row in rows for word in _split(row.cells[1:], classes)]
    numbers = any(word.lower() in VALUES and classes.index(word) is None for word in words)
    return not numbers and any(classes.index(word) is not None for word in words)


def _name_column(header: Sequence[str]) -> int:
    """The first column, or a later one called image, filename and so on."""
    known = [i for i, word in enumerate(header) if word.lower() in NAME_COLUMNS]
    return known[0] if known else 0


def read_npy(path: Path, images: ImageIndex, classes: ClassNames) -> TagTable:
    """Read a dictionary from image name to multi-hot vector, saved by `numpy.save`.

    Args:
        path: path of the file.
        images: images of the dataset.
        classes: classes of the dataset.

    Raises:
        InputError: the file is damaged, or a vector does not fit these classes.
    """
    table: dict[str, np.ndarray] = {}
    missing = []
    for key, value in read_npy_dict(path).items():
        try:
            # IRN's file has 2007000032 where all others have 2007_000032
            text = key if isinstance(key, str) else "{}_{:06d}".format(*divmod(int(key), 10**6))
            # nested lists that repeat one another could expand a few bytes to gigabytes
            if not isinstance(value, np.ndarray) and not all(map(np.isscalar, value)):
                raise TypeError("it is no vector of numbers")
            vector = np.asarray(value, np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{path} has no tags for {key!r} ({error}); expected a dictionary from image "
                "name to multi-hot vector."
            ) from error
        if vector.shape != (len(classes.names),):
            raise InputError(
                f"{path} has {vector.size} tags for {text}, but there are {len(classes.names)} "
                "classes; give the file that belongs to these classes."
            )
        if not np.isin(vector, (0, 1)).all():
            raise InputError(
                f"{path} has tags other than 0 and 1 for {text}; save multi-hot vectors."
            )
        name = images.name(text)
        if name is None:
            missing.append(text)
        elif name in table:
            raise InputError(f"{path} has tags for {name} twice; save one vector for each image.")
        else:
            table[name] = vector
    return TagTable(table, missing)
