"""Quality of each image's pseudo mask, estimated without true masks."""

import csv
from pathlib import Path
from typing import Final

from wsss_lightning.errors import InputError, did_you_mean

QUALITY_FILE: Final = "quality.csv"
COLUMNS: Final = ("name", "class", "quality")


def image_quality(path: Path) -> dict[str, float]:
    """Quality in [0, 1] of each image, by its name: the rows of a table without a class.

    Args:
        path: a CSV file with the columns name, class and quality; further columns are ignored.

    Raises:
        InputError: the file is missing, damaged or lacks a column, or a quality is not in [0, 1].
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            columns, rows = list(table.fieldnames or []), list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read as a table of quality ({error}); delete its folder and repeat "
            "the run, which writes it again."
        ) from error
    for column in COLUMNS:
        if column not in columns:
            raise InputError(
                f"{path} has no column {column}; {did_you_mean(column, columns)} Its first line "
                f"must name the columns {', '.join(COLUMNS)}."
            )
    return {
        row["name"]: _quality(row["quality"], row["name"], path) for row in rows if not row["class"]
    }


def _quality(text: str | None, name: str, path: Path) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise InputError(
            f"{path}: the quality of {name} is {text or 'empty'}, but must be a number in [0, 1]; "
            "delete its folder and repeat the run, which writes it again."
        )
    return value
