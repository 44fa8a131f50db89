"""Meaning of the folders that photos are sorted into: classes, or splits."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from wsss_lightning.data.folder.labels import Labels
from wsss_lightning.data.folder.photos import Photo, Photos
from wsss_lightning.data.folder.words import NO_CLASS, tidy
from wsss_lightning.data.sources.names import folded
from wsss_lightning.errors import InputError
from wsss_lightning.utils.text import shorten

TRAIN: Final = ("train", "training", "trainset")
VAL: Final = ("val", "valid", "validation", "valset", "dev")
TEST: Final = ("test", "testing", "testset")
# names that say what a folder holds, but are no classes
KINDS: Final = frozenset(
    {
        "images",
        "image",
        "imgs",
        "img",
        "jpegimages",
        "photos",
        "pictures",
        "fotos",
        "bilder",
        "data",
    }
)
# folders that come with photos and hold none
COMPANIONS: Final = frozenset(
    {"masks", "mask", "labels", "annotations", "segmentationclass", "segmentationobject", "gt"}
)


def split_of_folder(name: str) -> str | None:
    """The split that a folder's name says: train, val or test; None if it says none."""
    key = folded(name)
    for split, names in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        if key in names:
            return split
    return None


def companion_folders(root: Path) -> list[Path]:
    """Folders of masks and labels beside a folder of images, such as `masks` beside `images`."""
    folders = [path for path in sorted(root.iterdir()) if path.is_dir()] if root.is_dir() else []
    if not any(folded(path.name) in KINDS for path in folders):
        return []
    return [path for path in folders if folded(path.name) in COMPANIONS]


def levels(photo: Photo) -> list[str]:
    """Folders of a photo, the uppermost first, without `images`, `photos` and the like."""
    return [part for part in PurePosixPath(photo.relative).parts[:-1] if folded(part) not in KINDS]


def splits_of_folders(photos: Sequence[Photo]) -> dict[str, str]:
    """Split of each photo by its name, where folders are called train, val or test.

    Returns:
        Empty unless every photo is below such a folder, and some are for training.
    """
    splits = {}
    for photo in photos:
        named = [split for part in levels(photo)[:2] if (split := split_of_folder(part))]
        if not named:
            return {}
        splits[photo.name] = named[0]
    if "train" not in splits.values():
        return {}
    if "val" not in splits.values():  # the only other one is for validation
        splits = {name: "val" if split == "test" else split for name, split in splits.items()}
    return splits


def class_folders(photos: Photos) -> Labels:
    """Tags from folders: the uppermost folder of a photo names its class.

    Folders called images, train, val and the like are passed over. A folder `background` or `none`
    holds photos without any class.

    Raises:
        InputError: no photo is in a folder, all are in the same one, or a folder holds masks.
    """
    labels = Labels(source="names of folders")
    holds: defaultdict[str, int] = defaultdict(int)
    for photo in photos.photos:
        parts = [part for part in levels(photo) if split_of_folder(part) is None]
        if not parts:
            continue
        word = tidy(parts[0])
        holds[word] += 1
        labels.words[photo.name] = [] if word.casefold() in NO_CLASS else [word]
    companions = [word for word in holds if folded(word) in COMPANIONS]
    if companions:
        raise InputError(
            f"{photos.root} has the folder {companions[0]} among its photos; set `root` to the "
            f"folder of the photos alone, and `masks` or `tags` to {photos.root / companions[0]}."
        )
    if not any(labels.words.values()):
        raise InputError(_no_folders(photos))
    if len(holds) == 1:
        (word,) = holds
        raise InputError(
            f"all photos of {photos.root} with a tag are in one folder, {word}, and a network "
            "learns classes by comparing photos with and without them. Sort the photos into one "
            "folder for each class (those without any class into a folder background), or set "
            "`tags` to a table."
        )
    return labels


def _no_folders(photos: Photos) -> str:
    beside = [path.name for path in sorted(photos.root.iterdir()) if _may_hold_labels(path.name)]
    hint = ""
    if beside:
        hint = f" It holds {shorten(beside)}; if these are the tags, set `tags={beside[0]}`."
    return (
        f"`tags` is not set, and the {len(photos.photos)} photos in {photos.root} are in no "
        f"folders that name their classes.{hint} Give the tags as a table by `tags=FILE` (such as "
        "a CSV file with the columns image and tags), or sort the photos into a folder for each "
        "class."
    )


def _may_hold_labels(name: str) -> bool:
    return name.lower().endswith((".csv", ".tsv", ".json", ".xml", ".txt", ".xlsx"))
