"""Files of labelling tools: reading with clear errors, archives, and folders that appear whole.

Letters: H W an image.
"""

import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from wsss_lightning.errors import InputError
from wsss_lightning.utils.files import sync_folder


@contextmanager
def new_folder(target: Path, overwrite: bool) -> Iterator[Path]:
    """A folder to write to, which becomes `target` when the block ends without an error.

    A process that is killed leaves `target` as it was; its remains are removed by the next call.

    Args:
        target: folder to create.
        overwrite: replace an existing folder that an earlier call created.

    Raises:
        InputError: `target` exists and must not be replaced.
    """
    target = target.absolute()
    partial = target.with_name(f".{target.name}.partial")
    old = target.with_name(f".{target.name}.old")
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; give a folder.")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise InputError(
            f"{target} exists and is not empty; choose another folder with --out, or replace it "
            "with --overwrite, which loses changes made in it."
        )
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if target.is_dir():
            target.rename(old)
        partial.rename(target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The path itself, or a temporary folder with the content of a .zip, which tools export.

    Raises:
        InputError: there is no such file, or it is a damaged archive.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; give the file or folder that the tool exported.")
    if path.suffix.lower() != ".zip":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise InputError(
                f"{path} cannot be read as a .zip ({error}); export it again."
            ) from error
        entries = [entry for entry in Path(folder).iterdir() if entry.name != "__MACOSX"]
        # many archives hold one folder that holds everything
        only = entries[0] if len(entries) == 1 and entries[0].is_dir() else Path(folder)
        yield Path(folder) if only.name in ("labels", "SegmentationClass") else only


def find_file(path: Path, *patterns: str) -> Path:
    """The path itself if it is a file, else the file in it that matches the first pattern.

    Raises:
        InputError: no file matches, or several do.
    """
    if path.is_file():
        return path
    for pattern in patterns:
        files = sorted(path.glob(pattern))
        if len(files) > 1:
            raise InputError(
                f"{path} holds {', '.join(file.name for file in files[:3])}; name one of them."
            )
        if files:
            return files[0]
    raise InputError(f"{path} holds no {' or '.join(patterns)}; give the file itself.")


def read_text(path: Path) -> str:
    """Text in UTF-8, with or without a byte order mark.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as text in UTF-8 ({error}).") from error


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as JSON ({error}); export it again.") from error


def invalid(source: Path | str, error: Exception | str, expected: str) -> InputError:
    """The error that a file does not have its format.

    Args:
        source: file, and possibly the entry.
        error: what is wrong.
        expected: what it should hold.
    """
    kind = f"{type(error).__name__}: " if isinstance(error, Exception) else ""
    return InputError(f"{source} cannot be read ({kind}{error}); expected {expected}.")


def pixels_of_png(content: bytes) -> UInt8[np.ndarray, "H W"]:
    """Grey levels of a PNG.

    Raises:
        ValueError: it is no PNG.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            return np.asarray(image.convert("L"))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"its mask is no PNG ({error})") from error


def link(path: Path, target: Path) -> None:
    """Create a symbolic link to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.abspath(target))  # noqa: PTH100 (`target` itself may be a link)
