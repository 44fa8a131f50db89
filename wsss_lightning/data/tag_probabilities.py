"""Tables of the probability that a classifier gives to each tag of each image.

Letters: n images, c classes.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from wsss_lightning.errors import InputError
from wsss_lightning.utils.files import write_table

PROBABILITIES_FILE: Final = "probabilities.csv"
NAME: Final = "name"
DIGITS: Final = 6


def save_probabilities(
    path: Path, classes: Sequence[str], probabilities: Mapping[str, Sequence[float]]
) -> None:
    """Write a row for each image: its name, then the probability of each class.

    Args:
        path: path of the file.
        classes: names of the c classes.
        probabilities: c values in [0, 1] of each image, by its name.
    """
    rows = (
        (name, *(f"{value:.{DIGITS}f}" for value in values))
        for name, values in probabilities.items()
    )
    write_table(path, [(NAME, *classes), *rows])


def load_probabilities(path: Path) -> dict[str, dict[str, float]]:
    """Read the probability of each class of each image, by name of image and class.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            (_, *classes), *rows = csv.reader(file)
        table = {
            name: dict(zip(classes, map(float, values), strict=True)) for name, *values in rows
        }
        wrong = [n for n, row in table.items() if not all(0 <= p <= 1 for p in row.values())]
        if wrong:
            raise ValueError(f"a probability of {wrong[0]} is not in [0, 1]")
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read as tag probabilities of images ({error}); delete its folder "
            "and repeat the run, which writes it again."
        ) from error
    return table
