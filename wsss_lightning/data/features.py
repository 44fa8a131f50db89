"""Features and clusters of a split's images on disk; each file is whole or absent.

Letters: n images, c classes, d numbers of a feature.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from wsss_lightning.data.scores import write_whole
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.functional.clusters import ABSENT

FEATURES = "features.npz"
CLUSTERS = "clusters.npz"


def save_features(path: Path, names: Sequence[str], features: Float32[np.ndarray, "n d"]) -> None:
    """Store features under the names of their images."""
    write_whole(path, lambda file: np.savez(file, names=np.array(names), features=features))


def load_features(path: Path) -> tuple[list[str], Float32[np.ndarray, "n d"]]:
    """Names of images, and a feature of each.

    Raises:
        InputError: the file is absent or damaged.
    """
    names, features = _load(path, "names", "features")
    return names.tolist(), features


def collect_features(folder: Path, names: Sequence[str]) -> None:
    """Put the parts that a prediction left in a folder into one file, in the order of `names`."""
    by_name: dict[str, np.ndarray] = {}
    parts = sorted(folder.glob("part-*.npz"))
    for part in parts:
        by_name.update(zip(*load_features(part), strict=True))
    save_features(folder / FEATURES, names, np.stack([by_name[name] for name in names]))
    for part in parts:
        part.unlink()


def save_clusters(
    path: Path, names: Sequence[str], clusters: Int64[np.ndarray, "n c"], count: int
) -> None:
    """Store the number of each image's cluster in each class, ABSENT where it lacks the class.

    Args:
        count: clusters a class; numbers lie below it.
    """
    write_whole(
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
    names, clusters, count = _load(path, "names", "clusters", "count")
    return names.tolist(), clusters, int(count[0])


def _load(path: Path, *keys: str) -> list[np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return [stored[key] for key in keys]
    except Exception as error:  # damage can raise almost anything from zipfile, zlib and numpy
        raise InputError(
            f"{path} cannot be read as {keys[1]} of images ({error}); delete its folder, and the "
            "next run makes it again."
        ) from error


def read_looks(
    path: Path, names: Sequence[str], classes: Sequence[str]
) -> Int64[np.ndarray, "n c"]:
    """Known sub-categories, from a table with the columns name, class and look; others are free.

    Args:
        names: images in the order of the result; others in the table are passed over.
        classes: likewise.

    Returns:
        A number of each image's look of each class; ABSENT where it has none, or several.

    Raises:
        InputError: the table is absent, or lacks a column.
    """
    if not path.is_file():
        raise InputError(
            f"{path} is missing, the table of known sub-categories; add it, or set data.looks=null."
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        columns = table.fieldnames or []
        for column in ("name", "class", "look"):
            if column not in columns:
                raise InputError(
                    f"{path} has no column {column}; {did_you_mean(column, columns)} Its first "
                    "line must name the columns name, class and look."
                )
        rows = list(table)
    place = {name: i for i, name in enumerate(names)}
    seen: dict[tuple[int, int], set[str]] = {}
    for row in rows:
        if row["name"] in place and row["class"] in classes:
            at = place[row["name"]], list(classes).index(row["class"])
            seen.setdefault(at, set()).add(row["look"])
    numbers = {look: i for i, look in enumerate(sorted({row["look"] for row in rows}))}
    looks = np.full((len(names), len(classes)), ABSENT, np.int64)
    for at, found in seen.items():
        if len(found) == 1:
            looks[at] = numbers[found.pop()]
    return looks
