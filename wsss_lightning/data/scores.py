"""Score maps and label maps on disk; each file is whole or absent.

Letters: n maps, l labels, h w a strided map, H W an image.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer, UInt8
from PIL import Image
from torch import Tensor

from wsss_lightning.data.sources.masks import read_ids
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import voc_palette
from wsss_lightning.utils.files import write_atomically

# bits: type in the file, and in how many equal parts [0, 1] is divided: multiples of the 100 steps
# between the thresholds 0.00, 0.01, ..., 1.00, so that these lie between parts and in none
STORED = {8: (np.uint8, 200), 16: (np.uint16, 65_000)}


def save_score(
    path: Path,
    score: Float[Tensor | np.ndarray, "n H W"],
    keys: Integer[Tensor | np.ndarray, "n"],
    bits: int,
    strided: Float[Tensor | np.ndarray, "n h w"] | None = None,
) -> None:
    """Store maps with 8 or 16 bits a pixel, compressed: an error of at most half a part.

    A score becomes the number of the part (i / parts, (i + 1) / parts] that it lies in, and comes
    back as its middle; 0 and 1 have numbers of their own. So a stored score exceeds a threshold of
    the usual grid just where the score itself does. If scores were rounded to multiples of 1 / 255,
    0.2 would be one of them, and scores just above would become background.

    Args:
        score: in [0, 1].
        keys: label of each map, 0 background.
        bits: 8 (200 parts) or 16 (65,000 parts).
        strided: IRN's strided CAMs of the same labels, stored beside the maps in single precision.

    Raises:
        ValueError: a score lies outside [0, 1], or is NaN.
    """
    values = torch.as_tensor(score).detach().cpu().float().numpy()
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"scores of {path.name} lie in [{values.min()}, {values.max()}], not [0, 1]"
        )
    kind, parts = STORED[bits]
    # compared in single precision, as thresholds are: 0.2 does not exceed a threshold of 0.2
    edges = (np.arange(parts + 1) / parts).astype(np.float32)
    number = np.ceil(values * parts).astype(np.int32)
    number -= (values <= edges.take(number - 1, mode="clip")) & (number > 0)
    number += values > edges[number]
    number[values == 1] = parts + 1
    labels = torch.as_tensor(keys).cpu().numpy().astype(np.int64)
    stored = {"score": number.astype(kind), "keys": labels, "parts": np.array(parts)}
    if strided is not None:
        stored["strided"] = torch.as_tensor(strided).detach().cpu().float().numpy()
    write_atomically(path, lambda file: np.savez_compressed(file, **stored))


def load_score(path: Path) -> tuple[Float32[np.ndarray, "n H W"], Integer[np.ndarray, "n"]]:
    """Maps in [0, 1] and the label of each.

    Raises:
        InputError: the file is absent, damaged or no file of `save_score`.
    """
    with _stored(path) as stored:
        number, keys, parts = stored["score"], stored["keys"], int(stored["parts"])
        if (number.dtype, parts) not in STORED.values() or number.ndim != 3:
            raise ValueError(f"it holds {number.dtype} of shape {number.shape} in {parts} parts")
        if len(number) != len(keys) or number.max(initial=0) > parts + 1:
            raise ValueError(f"its {len(number)} maps and {len(keys)} keys do not fit")
    middles = (np.arange(parts + 2, dtype=np.float64) - 0.5) / parts
    middles[[0, -1]] = 0, 1
    return middles.astype(np.float32)[number], keys


def load_strided(path: Path) -> Float32[np.ndarray, "n h w"] | None:
    """IRN's strided CAM of each label that `load_score` names; None where none were stored.

    Raises:
        InputError: as of `load_score`.
    """
    with _stored(path) as stored:
        if "strided" not in stored:
            return None
        maps, keys = stored["strided"], stored["keys"]
        if maps.dtype != np.float32 or maps.ndim != 3 or len(maps) != len(keys):
            raise ValueError(
                f"its strided CAMs are {maps.dtype} of shape {maps.shape}, for {len(keys)} keys"
            )
    return maps


@contextmanager
def _stored(path: Path) -> Iterator[Any]:
    """Arrays of a file of `save_score`; what is wrong with them becomes an InputError."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            yield stored
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing, the score maps of an image; delete its folder, and the next run "
            "makes it again."
        ) from error
    except Exception as error:  # damage can raise almost anything from zipfile, zlib and numpy
        raise InputError(
            f"{path} cannot be read as score maps ({error}); delete its folder, and the next run "
            "makes it again."
        ) from error


def dense(
    score: Float[np.ndarray, "n H W"], keys: Integer[np.ndarray, "n"], num_labels: int
) -> Float32[np.ndarray, "l H W"]:
    """All labels' maps, zero where none was stored."""
    full = np.zeros((num_labels, *score.shape[1:]), np.float32)
    full[keys] = score
    return full


def save_mask(path: Path, mask: UInt8[np.ndarray, "H W"]) -> None:
    """Store labels as an index image with VOC's colours."""
    image = Image.fromarray(mask)
    image.putpalette(voc_palette())
    write_atomically(path, lambda file: image.save(file, format="PNG"))


def load_mask(path: Path) -> UInt8[np.ndarray, "H W"]:
    """Labels of an index image of 8 bits.

    Raises:
        InputError: the file is absent, damaged or no such image.
    """
    raw = read_ids(path)
    if raw.dtype != np.uint8:
        raise InputError(
            f"{path} holds ids of 16 bits or more, but labels are 0 to 255; save it with 8 bits."
        )
    return raw
