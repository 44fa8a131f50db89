"""Reads the estimated quality of pseudo masks."""

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wsss_lightning.data.sources.text import read_text
from wsss_lightning.errors import InputError

FILE_NAME: Final = "quality.csv"
COLUMNS: Final = ("name", "class", "quality")


@dataclass(frozen=True)
class Quality:
    """Estimated quality of pseudo masks in [0, 1]; higher is better.

    Args:
        images: by name of the image.
        classes: by name of the image and class.
    """

    images: dict[str, float] = field(default_factory=dict)
    classes: dict[tuple[str, str], float] = field(default_factory=dict)


def read_quality(path: Path) -> Quality:
    """Read the columns `name`, `class` and `quality`; an empty class is the whole image.

    An image without a row of its own has the lowest quality of its classes.

    Raises:
        InputError: the file lacks a column, or a value is not in [0, 1].
    """
    quality = Quality()
    rows = csv.DictReader(read_text(path).splitlines(keepends=True))
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; repeat the run.")
    for row in rows:
        name, class_name, text = (row[column] or "" for column in COLUMNS)
        if not text:  # unknown for this image
            continue
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise InputError(
                f"{path}, line {rows.line_num}: the quality of {name} is {text!r}, but must be in "
                "[0, 1]; repeat the run."
            )
        if class_name:
            quality.classes[name, class_name] = value
        else:
            quality.images[name] = value
    lowest: dict[str, float] = {}
    for (name, _), value in quality.classes.items():
        lowest[name] = min(value, lowest.get(name, 1.0))
    return Quality(lowest | quality.images, quality.classes)
