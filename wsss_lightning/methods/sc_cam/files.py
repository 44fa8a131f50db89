"""Files of features and clusters; each file is complete or absent.

Letters: n images, m rows, c classes, d values of a feature.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.methods.sc_cam.clusters import ABSENT
from wsss_lightning.utils.files import write_atomically

FEATURES = "features.npz"
CLUSTERS = "clusters.npz"
COLUMNS = ("name", "class", "subcategory")


class Features(NamedTuple):
    """Features of images.

    names: image of each row.
    classes: class of each row; ABSENT if the row describes the whole image.
    rows: (m d).
    """

    names: list[str]
    classes: Int64[np.ndarray, "m"]
    rows: Float32[np.ndarray, "m d"]

    def of_class(self, c: int, names: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Feature of each image for class c: its row of that class, else its only row."""
        row_of = {
            key: i for i, key in enumerate(zip(self.names, self.classes.tolist(), strict=True))
        }
        keys = [(name, c) if (name, c) in row_of else (name, ABSENT) for name in names]
        return self.rows[[row_of[key] for key in keys]]


def save_features(path: Path, features: Features) -> None:
    """Write features to an .npz file."""
    names, classes, rows = features
    write_atomically(
        path, lambda file: np.savez(file, names=np.array(names), classes=classes, rows=rows)
    )


def load_features(path: Path) -> Features:
    """Read features from an .npz file.

    Raises:
        InputError: the file is missing or damaged.
    """
    names, classes, rows = _load(path, "features", "names", "classes", "rows")
    return Features(names.tolist(), classes, rows)


def collect_features(folder: Path, names: Sequence[str]) -> None:
    """Merge the files `part-*.npz` of a folder into one, with images in the order of `names`."""
    paths = sorted(folder.glob("part-*.npz"))
    parts = [load_features(path) for path in paths]
    joined = [name for part in parts for name in part.names]
    classes = np.concatenate([part.classes for part in parts])
    position = {name: i for i, name in enumerate(names)}
    order = np.lexsort((classes, np.array([position[name] for name in joined])))
    rows = np.concatenate([part.rows for part in parts])[order]
    save_features(folder / FEATURES, Features([joined[i] for i in order], classes[order], rows))
    for path in paths:
        path.unlink()


def save_clusters(
    path: Path, names: Sequence[str], clusters: Int64[np.ndarray, "n c"], count: int
) -> None:
    """Write the cluster of each image and class to an .npz file.

    Args:
        path: path of the file.
        names: names of the images.
        clusters: in [0, count); ABSENT where an image lacks the class.
        count: number of clusters of a class.
    """
    write_atomically(
        path,
        lambda file: np.savez_compressed(
            file, names=np.array(names), clusters=clusters, count=np.array([count])
        ),
    )


def load_clusters(path: Path) -> tuple[list[str], Int64[np.ndarray, "n c"], int]:
    """Read names of images, their cluster in each class, and the number of clusters of a class.

    Raises:
        InputError: the file is missing or damaged.
    """
    names, clusters, count = _load(path, "clusters", "names", "clusters", "count")
    return names.tolist(), clusters, int(count[0])


def _load(path: Path, content: str, *keys: str) -> list[np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return [stored[key] for key in keys]
    except Exception as error:  # zipfile, zlib and numpy report damage by errors of many types
        raise InputError(
            f"{path} cannot be read as {content} of images ({error}); delete its folder, and the "
            "next run computes it again."
        ) from error


def read_subcategories(
    path: Path, names: Sequence[str], classes: Sequence[str]
) -> Int64[np.ndarray, "n c"]:
    """Read known sub-categories from a CSV file with the columns name, class, subcategory.

    Args:
        path: path of the file; further columns are ignored.
        names: names of the images, in the order of the result; rows of other images are ignored.
        classes: names of the classes, in the order of the result; rows of others are ignored.

    Returns:
        Number of the sub-category of each image and class; ABSENT where the file has none, or
        several.

    Raises:
        InputError: the file is missing, is not CSV in UTF-8, or lacks a column or a value.
    """
    rows = _read_rows(path)
    row_of_name = {name: i for i, name in enumerate(names)}
    column_of_class = {name: c for c, name in enumerate(classes)}
    values: dict[tuple[int, int], set[str]] = {}
    for row in rows:
        if row["name"] in row_of_name and row["class"] in column_of_class:
            cell = row_of_name[row["name"]], column_of_class[row["class"]]
            values.setdefault(cell, set()).add(row["subcategory"])
    number_of = {value: i for i, value in enumerate(sorted({row["subcategory"] for row in rows}))}
    subcategories = np.full((len(names), len(classes)), ABSENT, np.int64)
    for cell, of_cell in values.items():
        if len(of_cell) == 1:
            subcategories[cell] = number_of[of_cell.pop()]
    return subcategories


def _read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table of sub-categories; each has all of COLUMNS."""
    if not path.is_file():
        raise InputError(
            f"{path}, the table of known sub-categories, is missing; add it, or set subcategories "
            "to null."
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns, rows = table.fieldnames or [], list(table)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as CSV ({error}); save it in UTF-8.") from error
    for column in COLUMNS:
        if column not in columns:
            raise InputError(
                f"{path} has no column {column}; {did_you_mean(column, columns)} Its first line "
                f"must name the columns {', '.join(COLUMNS)}."
            )
    for line, row in enumerate(rows, start=2):
        if any(row[column] is None for column in COLUMNS):
            raise InputError(
                f"{path}, line {line}, is shorter than the first line; add the missing values of "
                f"{', '.join(COLUMNS)}."
            )
    return rows
