"""Sizes of maps and images, such that maps do not shift.

Letters: b images, n maps, h w a map.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def resize(maps: Float[Tensor, "b n h w"], scale: float) -> Float[Tensor, "b n _ _"]:
    """Bilinear, corners aligned, to floor(side * scale): 448 * 0.3 -> 134.

    Source: `F.interpolate(scale_factor=0.3)` of the official SEAM code.
    """
    height, width = (max(1, math.floor(side * scale)) for side in maps.shape[-2:])
    return resize_to(maps, (height, width))


def resize_to(maps: Float[Tensor, "b n h w"], size: tuple[int, int]) -> Float[Tensor, "b n _ _"]:
    """Bilinear, corners aligned: the outermost cells lie on the outermost pixels.

    A convolution padded on both sides has the centre of cell i at pixel stride * i, so this is how
    its maps lie on an image of stride * n + 1 pixels; without aligned corners they would shift by
    half a cell.
    """
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def mean_once_resized(
    maps: Float[Tensor, "b n h w"], size: tuple[int, int]
) -> Float[Tensor, "b n"]:
    """resize_to(maps, size).mean((-2, -1)), without the large maps: resizing is linear.

    It differs from the mean of the cells, since those at the rim stand for fewer pixels.
    """
    down, across = (
        _shares(cells, side, maps) for cells, side in zip(maps.shape[-2:], size, strict=True)
    )
    return torch.einsum("bnhw,h,w->bn", maps, down, across)


def _shares(cells: int, side: int, like: Tensor) -> Float[Tensor, "_"]:
    """How much each of a row of cells counts among `side` pixels; adds up to 1."""
    each = torch.eye(cells, dtype=like.dtype, device=like.device)[None]
    pixels = F.interpolate(each, size=side, mode="linear", align_corners=True)
    return pixels[0].mean(-1)


def grid_side(side: int, scale: float, stride: int) -> int:
    """The side stride * n + 1, n >= 1, nearest to side * scale: cells end on its last pixel."""
    return stride * max(1, round((side * scale - 1) / stride)) + 1
