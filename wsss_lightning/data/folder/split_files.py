"""Tables and lists that give the split of each photo."""

from pathlib import Path
from typing import Final

from wsss_lightning.data.folder.folders import split_of_folder
from wsss_lightning.data.folder.photos import Photos
from wsss_lightning.data.folder.table_structure import open_table
from wsss_lightning.data.sources.names import folded
from wsss_lightning.data.sources.text import read_lines
from wsss_lightning.errors import InputError

HEADINGS: Final = ("split", "set", "subset", "fold", "partition", "part", "usage")


def read_split(path: Path, photos: Photos) -> dict[str, str]:
    """Split (train, val or test) of each photo that a file names, by the photo's name.

    Args:
        path: table with the photo and its split in each row, such as split.csv of a run; or a
            folder of lists called train.txt and val.txt.
        photos: the photos that it may name.

    Raises:
        InputError: no column holds splits, a photo has two splits, or none is for training.
    """
    splits = _read_lists(path, photos) if path.is_dir() else _read_table(path, photos)
    if "train" not in splits.values():
        raise InputError(
            f"{path} names no photo of the split train; give each photo train, val or test."
        )
    return splits


def _read_table(path: Path, photos: Photos) -> dict[str, str]:
    table = open_table(path, photos)
    columns = [i for i in table.others if _holds_splits(table.column(i))]
    called = [i for i in columns if folded(table.heading(i)) in HEADINGS]
    chosen = called or columns
    if len(chosen) != 1:
        raise InputError(
            f"{path} has {len(chosen) or 'no'} columns that hold only train, val and test (its "
            f"columns besides that of the photos are {', '.join(map(table.heading, table.others))})"
            "; give one, called split."
        )
    splits: dict[str, str] = {}
    for line, cells in table.rows:
        text = cells[chosen[0]] if chosen[0] < len(cells) else ""
        split = split_of_folder(text)
        if split is not None:
            source = f"{path}, line {line},"
            _add(splits, photos, cells[table.name_column], split, source)
    return splits


def _read_lists(folder: Path, photos: Photos) -> dict[str, str]:
    splits: dict[str, str] = {}
    lists = {path: split_of_folder(path.stem) for path in sorted(folder.glob("*.txt"))}
    for path, split in lists.items():
        for line, (text,) in read_lines(path) if split is not None else ():
            _add(splits, photos, text, str(split), f"{path}, line {line},")
    return splits


def _add(splits: dict[str, str], photos: Photos, text: str, split: str, source: str) -> None:
    photo = photos.match(text, source)
    if photo is None:
        return
    if splits.setdefault(photo.name, split) != split:
        raise InputError(
            f"{source} puts {photo.relative} into {split}, but it is in {splits[photo.name]} "
            "already; keep one line of each photo."
        )


def _holds_splits(cells: list[str]) -> bool:
    return bool(cells) and all(split_of_folder(cell) for cell in cells)
