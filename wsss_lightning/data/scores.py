"""Score maps and label maps on disk; each file is whole or absent.

Letters: n maps, l labels, H W an image.
"""

import os
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image
from torch import Tensor

from wsss_lightning.errors import InputError


def save_score(
    path: Path,
    score: Float[Tensor | np.ndarray, "n H W"],
    keys: Integer[Tensor | np.ndarray, "n"],
    bits: int,
) -> None:
    """Store maps with 8 or 16 bits a pixel, compressed: an error of at most half a level.

    Args:
        score: in [0, 1].
        keys: label of each map, 0 background.
        bits: 8 or 16.

    Raises:
        ValueError: a score lies outside [0, 1].
    """
    values = np.asarray(score, np.float64)
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"scores of {path.name} lie in [{values.min()}, {values.max()}], not [0, 1]")
    levels = (values * (2**bits - 1)).round().astype({8: np.uint8, 16: np.uint16}[bits])
    content = {"score": levels, "keys": np.asarray(keys, np.int64)}
    _replace(path, lambda file: np.savez_compressed(file, allow_pickle=False, **content))


def load_score(path: Path) -> tuple[Float[np.ndarray, "n H W"], Integer[np.ndarray, "n"]]:
    """Maps in [0, 1] and the label of each.

    Raises:
        InputError: the file is damaged or no file of `save_score`.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            levels, keys = stored["score"], stored["keys"]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} cannot be read as score maps ({error}); delete its folder, and the next run "
            "makes it again."
        ) from error
    return levels.astype(np.float32) / np.float32(np.iinfo(levels.dtype).max), keys


def dense(
    score: Float[np.ndarray, "n H W"], keys: Integer[np.ndarray, "n"], num_labels: int
) -> Float[np.ndarray, "l H W"]:
    """All labels' maps, zero where none was stored."""
    full = np.zeros((num_labels, *score.shape[1:]), np.float32)
    full[keys] = score
    return full


def save_mask(path: Path, mask: UInt8[np.ndarray, "H W"]) -> None:
    """Store labels as an index image with VOC's colours."""
    image = Image.fromarray(mask)
    image.putpalette(list(voc_palette()))
    _replace(path, lambda file: image.save(file, format="PNG"))


def load_mask(path: Path) -> UInt8[np.ndarray, "H W"]:
    """Labels of an index image.

    Raises:
        InputError: the file is absent, damaged or no index image.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "1", "I;16", "I"):
                raise InputError(
                    f"{path} is a {image.mode} image, but masks are index images whose pixels are "
                    "label ids; save it with a palette (mode P) or as grey levels (mode L)."
                )
            return np.array(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as a mask ({error}); replace the file.") from error


@cache
def voc_palette() -> bytes:
    """768 bytes: the bits of each label, spread over red, green and blue from the top."""
    colours = np.zeros((256, 3), np.uint8)
    labels = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((labels >> channel) & 1) << (7 - bit)).astype(np.uint8)
        labels = labels >> 3
    return colours.tobytes()


def _replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
