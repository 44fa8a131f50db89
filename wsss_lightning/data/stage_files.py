"""File names of images and classes in the folder of a stage.

Names of images are unique and may contain folders, as in `train/0001`; names of classes are any
text.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

MAX_LENGTH = 60  # characters of a class in a file name
# reserved names on Windows
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def image_file(folder: Path, name: str, suffix: str) -> Path:
    """Path of the file of an image; a name with `/` leads into a sub-folder.

    Args:
        folder: folder of the stage.
        name: name of the image, without suffix.
        suffix: with its dot.
    """
    return folder / f"{name}{suffix}"


def finished_images(folder: Path, suffix: str) -> set[str]:
    """Names of the images that have a file with this suffix in a folder."""
    paths = folder.rglob(f"*{suffix}")
    return {path.relative_to(folder).as_posix().removesuffix(suffix) for path in paths}


def class_file_names(classes: Sequence[str]) -> list[str]:
    """A unique file name, without suffix, for each class.

    It is the name of the class if that is a valid file name. Otherwise invalid characters are
    replaced, and a digest of the name is appended.
    """
    taken: set[str] = set()
    names = []
    for name in classes:
        clean = re.sub(r"[^\w .-]+", "-", name).strip(" .-")[:MAX_LENGTH]
        is_valid = clean == name and not RESERVED.fullmatch(name) and name.lower() not in taken
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        names.append(clean if is_valid else f"{clean}-{digest}".lstrip("-"))
        taken.add(names[-1].lower())
    return names
