"""Finds out what a file or folder of labels is, and reads it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wsss_lightning.data.folder.labels import Labels
from wsss_lightning.data.folder.photos import Photos
from wsss_lightning.data.folder.tables import read_tags
from wsss_lightning.errors import InputError

TABLES: Final = (".csv", ".tsv", ".tab", ".txt")
BOX_FORMATS: Final = ("COCO JSON", "VOC XML", "YOLO", "labelme JSON", "CVAT XML")
WORKBOOKS: Final = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


def read_labels(path: Path, photos: Photos, columns: Sequence[str] | None) -> Labels:
    """Read labels of photos in any of the formats that are known.

    Args:
        path: file or folder.
        photos: the photos that it may name.
        columns: headings of the columns of a table that hold tags; None: they are found.

    Raises:
        InputError: the format is not known, or the labels cannot be used.
    """
    suffix = path.suffix.lower()
    if suffix in WORKBOOKS:
        raise InputError(
            f"{path} is a spreadsheet; save it as CSV there (File, Save as, CSV UTF-8), and give "
            f"that file: {path.with_suffix('.csv').name}."
        )
    return read_tags(path, photos, columns)
