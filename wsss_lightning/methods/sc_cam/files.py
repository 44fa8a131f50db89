"""Features and clusters of a split's images on disk; each file is whole or absent.

Letters: n images, m rows, c classes, d numbers of a feature.
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


class Features(NamedTuple):
    """Features of images.

    names: image of each row.
    classes: class of each row; ABSENT where a row is of the whole image.
    rows: (m d).
    """

    names: list[str]
    classes: Int64[np.ndarray, "m"]
    rows: Float32[np.ndarray, "m d"]

    def of_class(self, c: int, names: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Of each of these images, which show class c, its row."""
        place = {
            key: i for i, key in enumerate(zip(self.names, self.classes.tolist(), strict=True))
        }
        of = [(name, c) if (name, c) in place else (name, ABSENT) for name in names]
        return self.rows[[place[key] for key in of]]


def save_features(path: Path, features: Features) -> None:
    """Store features, whole or not at all."""
    names, classes, rows = features
    write_atomically(
        path, lambda file: np.savez(file, names=np.array(names), classes=classes, rows=rows)
    )


def load_features(path: Path) -> Features:
    """Features that were stored.

    Raises:
        InputError: the file is absent or damaged.
    """
    names, classes, rows = _load(path, "features", "names", "classes", "rows")
    return Features(names.tolist(), classes, rows)


def collect_features(folder: Path, names: Sequence[str]) -> None:
    """Put the parts that a prediction left in a folder into one file, in the order of `names`."""
    paths = sorted(folder.glob("part-*.npz"))
    parts = [load_features(path) for path in paths]
    joined = [name for part in parts for name in part.names]
    classes = np.concatenate([part.classes for part in parts])
    place = {name: i for i, name in enumerate(names)}
    order = np.lexsort((classes, np.array([place[name] for name in joined])))
    rows = np.concatenate([part.rows for part in parts])[order]
    save_features(folder / FEATURES, Features([joined[i] for i in order], classes[order], rows))
    for path in paths:
        path.unlink()


def save_clusters(
    path: Path, names: Sequence[str], clusters: Int64[np.ndarray, "n c"], count: int
) -> None:
    """Store the number of each image's cluster in each class, ABSENT where it lacks the class.

    Args:
        count: clusters a class; numbers lie below it.
    """
    write_atomically(
        path,
        lambda file: np.savez_compressed(
            file, names=np.array(names), clusters=clusters, count=np.array([count])
        ),
    )


def load_clusters(path: Path) -> tuple[list[str], Int64[np.ndarray, "n c"], int]:
    """Names of images, their cluster in each class, and how many clusters a class has.

    Raises:
        InputError: the file is absent or damaged.
    """
    names, clusters, count = _load(path, "clusters", "names", "clusters", "count")
    return names.tolist(), clusters, int(count[0])


def _load(path: Path, what: str, *keys: str) -> list[np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return [stored[key] for key in keys]
    except Exception as error:  # damage can raise almost anything from zipfile, zlib and numpy
        raise InputError(
            f"{path} cannot be read as {what} of images ({error}); delete its folder, and the "
            "next run makes it again."
        ) from error


def read_subcategories(
    path: Path, names: Sequence[str], classes: Sequence[str]
) -> Int64[np.ndarray, "n c"]:
    """Known sub-categories, from a table with the columns name, class and subcategory; others are free.

    Args:
        names: images in the order of the result; others in the table are passed over.
        classes: likewise.

    Returns:
        A number of each image's sub-category of each class; ABSENT where it has none, or several.

    Raises:
        InputError: the table is absent, or lacks a column.
    """
    if not path.is_file():
        raise InputError(
            f"{path} is missing, the table of known sub-categories; add it, or set data.subcategories=null."
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns, rows = table.fieldnames or [], list(table)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} does not read as CSV ({error}); save it as UTF-8.") from error
    for column in ("name", "class", "subcategory"):
        if column not in columns:
            raise InputError(
                f"{path} has no column {column}; {did_you_mean(column, columns)} Its first "
                "line must name the columns name, class and subcategory."
            )
    for line, row in enumerate(rows, start=2):
        if None in (row["name"], row["class"], row["subcategory"]):
            raise InputError(
                f"{path}, line {line}, is shorter than the first line; give it a name, a class "
                "and a subcategory."
            )
    place = {name: i for i, name in enumerate(names)}
    seen: dict[tuple[int, int], set[str]] = {}
    for row in rows:
        if row["name"] in place and row["class"] in classes:
            at = place[row["name"]], list(classes).index(row["class"])
            seen.setdefault(at, set()).add(row["subcategory"])
    numbers = {value: i for i, value in enumerate(sorted({row["subcategory"] for row in rows}))}
    subcategories = np.full((len(names), len(classes)), ABSENT, np.int64)
    for at, found in seen.items():
        if len(found) == 1:
            subcategories[at] = numbers[found.pop()]
    return subcategories
