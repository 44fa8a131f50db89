"""Files of score maps and label maps, written atomically.

Letters: n maps, l labels, h w a strided map, H W an image.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer, UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from wsss_lightning.data.sources.masks import read_ids
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import voc_palette
from wsss_lightning.utils.files import write_atomically

# by bits: dtype, and number of equal bins of [0, 1], a multiple of 100, so that the thresholds
# 0.00, 0.01, ..., 1.00 are edges of bins
STORED = {8: (np.uint8, 200), 16: (np.uint16, 65_000)}


def save_score(
    path: Path,
    score: Float[Tensor | np.ndarray, "n H W"],
    keys: Integer[Tensor | np.ndarray, "n"],
    bits: int,
    strided: Float[Tensor | np.ndarray, "n h w"] | None = None,
) -> None:
    """Save maps with 8 or 16 bits a pixel, compressed; the error is at most half a bin.

    A score is stored as the number of its bin (i / bins, (i + 1) / bins], and loaded as the centre
    of the bin; 0 and 1 have numbers of their own. A loaded score therefore exceeds a threshold of
    0.00, 0.01, ..., 1.00 exactly where the original does. Rounding to multiples of 1 / 255 would
    turn scores just above 0.2 into 0.2, hence into background.

    Args:
        score: in [0, 1].
        keys: label of each map, 0 background.
        bits: 8 (200 bins) or 16 (65,000 bins).
        strided: IRN's strided CAMs of the same labels, stored unchanged.

    Raises:
        ValueError: a score is outside [0, 1], or NaN.
    """
    values = torch.as_tensor(score).detach().cpu().float().numpy()
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"scores of {path.name} lie in [{values.min()}, {values.max()}], not [0, 1]"
        )
    number, bins = _bins_of(values, bits), STORED[bits][1]
    labels = torch.as_tensor(keys).cpu().numpy().astype(np.int64)
    stored: dict[str, Any] = {"score": number, "keys": labels, "parts": np.array(bins)}
    if strided is not None:
        stored["strided"] = torch.as_tensor(strided).detach().cpu().float().numpy()
    write_atomically(path, lambda file: np.savez_compressed(file, **stored))


def load_score(path: Path) -> tuple[Float32[np.ndarray, "n H W"], Integer[np.ndarray, "n"]]:
    """Load maps in [0, 1] and the label of each.

    Raises:
        InputError: the file is missing, damaged or not written by `save_score`.
    """
    with _stored(path) as stored:
        number, keys, bins = stored["score"], stored["keys"], int(stored["parts"])
        if (number.dtype, bins) not in STORED.values() or number.ndim != 3:
            raise ValueError(f"it holds {number.dtype} of shape {number.shape} in {bins} bins")
        if len(number) != len(keys) or number.max(initial=0) > bins + 1:
            raise ValueError(f"its {len(number)} maps and {len(keys)} keys do not fit")
    return _centres(bins)[number], keys


def as_stored(score: Float[Tensor, "*any H W"], bits: int) -> Float32[Tensor, "*any H W"]:
    """Scores as `load_score` returns them after `save_score`, on the same device.

    Args:
        score: in [0, 1].
        bits: 8 or 16.
    """
    number = _bins_of(score.detach().cpu().float().numpy(), bits)
    return torch.from_numpy(_centres(STORED[bits][1])[number]).to(score.device)


def _bins_of(values: np.ndarray, bits: int) -> np.ndarray:
    """Number of the bin of each value."""
    dtype, bins = STORED[bits]
    # in single precision, as thresholds are, so that 0.2 does not exceed a threshold of 0.2
    edges = (np.arange(bins + 1) / bins).astype(np.float32)
    number = np.ceil(values * bins).astype(np.int32)
    number -= (values <= edges.take(number - 1, mode="clip")) & (number > 0)
    number += values > edges[number]
    number[values == 1] = bins + 1
    return number.astype(dtype)


def _centres(bins: int) -> np.ndarray:
    """Centre of each bin; 0 and 1 have bins of their own."""
    centres = (np.arange(bins + 2, dtype=np.float64) - 0.5) / bins
    centres[[0, -1]] = 0, 1
    return centres.astype(np.float32)


def load_strided(path: Path) -> Float32[np.ndarray, "n h w"] | None:
    """Load IRN's strided CAMs, of the labels that `load_score` returns; None if there are none.

    Raises:
        InputError: as in `load_score`.
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


def save_cam(path: Path, cam: Float[Tensor | np.ndarray, "c h w"]) -> None:
    """Save unbounded maps in half precision; values beyond its range are clipped."""
    values = torch.as_tensor(cam).detach().cpu().float().numpy()
    limit = float(np.finfo(np.float16).max)
    stored = values.clip(-limit, limit).astype(np.float16)
    write_atomically(path, lambda file: np.savez_compressed(file, cam=stored))


def load_cam(path: Path) -> Float32[np.ndarray, "c h w"]:
    """Load the maps that `save_cam` wrote.

    Raises:
        InputError: the file is missing or damaged, or a value is not finite.
    """
    with _stored(path) as stored:
        cam = stored["cam"].astype(np.float32)
        if cam.ndim != 3 or not np.isfinite(cam).all():
            raise ValueError(f"its maps have shape {cam.shape}, or values that are not finite")
    return cam


@contextmanager
def _stored(path: Path) -> Iterator[Any]:
    """Open a file of `save_score` or `save_cam`; any error becomes an `InputError`."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            yield stored
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing, the score maps of an image; delete its folder and repeat the run."
        ) from error
    except Exception as error:  # zipfile, zlib and numpy raise almost anything on damaged files
        raise InputError(
            f"{path} cannot be read as score maps ({error}); delete its folder and repeat the run."
        ) from error


def dense(
    score: Float[np.ndarray, "n H W"], keys: Integer[np.ndarray, "n"], num_labels: int
) -> Float32[np.ndarray, "l H W"]:
    """Maps of all labels; zero for those without a map.

    Args:
        score: maps of some labels.
        keys: label of each map.
        num_labels: l.
    """
    full = np.zeros((num_labels, *score.shape[1:]), np.float32)
    full[keys] = score
    return full


def save_mask(
    path: Path, mask: UInt8[np.ndarray, "H W"], texts: Mapping[str, str] | None = None
) -> None:
    """Save labels as an index image with the palette of VOC.

    Args:
        path: path of the PNG file.
        mask: labels.
        texts: text chunks of the file, by keyword.
    """
    image = Image.fromarray(mask)
    image.putpalette(voc_palette())
    info = PngInfo()
    for key, text in (texts or {}).items():
        info.add_text(key, text)
    write_atomically(path, lambda file: image.save(file, format="PNG", pnginfo=info))


def mask_texts(path: Path) -> dict[str, str]:
    """Text chunks of a mask that `save_mask` wrote; empty if the file is missing or damaged."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            image.load()
            return {str(key): text for key, text in image.info.items() if isinstance(text, str)}
    except (OSError, SyntaxError, ValueError):
        return {}


def load_mask(path: Path) -> UInt8[np.ndarray, "H W"]:
    """Load labels from an index image of 8 bits.

    Raises:
        InputError: the file is missing, damaged or no such image.
    """
    raw = read_ids(path)
    if raw.dtype != np.uint8:
        raise InputError(
            f"{path} holds ids of 16 bits or more, but labels are 0 to 255; save it with 8 bits."
        )
    return raw
