"""Files of images and classes below the folder of a stage, whatever their names hold.

Names of images are unique and may lead through folders, as in `train/0001`; names of classes are
any text.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

LONGEST = 60  # letters of a class in a file's name
# of devices, which no file can have on Windows
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def image_file(folder: Path, name: str, suffix: str) -> Path:
    """Path of an image's file; a name that holds `/` lies in a folder of its own.

    Args:
        folder: of the stage.
        name: of the image, without suffix.
        suffix: with its dot.
    """
    return folder / f"{name}{suffix}"


def finished_images(folder: Path, suffix: str) -> set[str]:
    """Names of the images whose file lies below a folder."""
    paths = folder.rglob(f"*{suffix}")
    return {path.relative_to(folder).as_posix().removesuffix(suffix) for path in paths}


def class_file_names(classes: Sequence[str]) -> list[str]:
    """Of each class a name for files, without suffix, which no other class has.

    It is the class's own name where that can name a file. Otherwise letters that cannot are
    replaced, and a digest of the name follows.
    """
    taken: set[str] = set()
    names = []
    for name in classes:
        clean = re.sub(r"[^\w .-]+", "-", name).strip(" .-")[:LONGEST]
        fits = clean == name and not DEVICES.fullmatch(name) and name.lower() not in taken
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        names.append(clean if fits else f"{clean}-{digest}".lstrip("-"))
        taken.add(names[-1].lower())
    return names
