"""Resizing that keeps maps aligned with the image.

There are two conventions. Pixels are squares: images and per-pixel maps are resized with half-pixel
centres, as in torchvision and Pillow. Cells of a feature map are points at every `stride`-th pixel
of the network's input.

Letters: b images, n maps, h w a map, H W an image.
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
    """Bilinear, corners aligned: the outermost cells are at the outermost pixels.

    A convolution padded on both sides has the centre of cell i at pixel stride * i, so this aligns
    its maps with an input of stride * n + 1 pixels. Without aligned corners they would shift by
    half a cell. Where the input is a resized image, use `cells_to_image` instead.
    """
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def cells_to_image(
    maps: Float[Tensor, "b n h w"], view: tuple[int, int], size: tuple[int, int], stride: int
) -> Float[Tensor, "b n H W"]:
    """Bilinear, from the cells of a network's maps to the pixels of the image before resizing.

    The network's input is the image resized with half-pixel centres, so pixel y of H is at
    v = (y + 1/2) V / H - 1/2 of V. If the last cell is at the last pixel of the input, the maps
    come from padded convolutions and cell i is at pixel s * i. Otherwise they come from patches or
    unpadded pooling (VGG, ConvNeXt) and cell i is in the centre of its s pixels, at
    s * i + (s - 1) / 2. Pixels beyond the outermost cells take their values.

    Args:
        maps: maps of the network's input.
        view: height and width of the network's input, `grid_side` of the image's.
        size: height and width of the image.
        stride: stride of the network's deepest map; maps of earlier layers have a smaller one.
    """
    down, across = (
        _cell_coordinates(*sides, stride).to(maps.device)
        for sides in zip(maps.shape[-2:], view, size, strict=True)
    )
    grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)
    # at least single precision: half-precision coordinates are off by whole pixels
    sampled = F.grid_sample(
        maps.float(),
        grid.expand(len(maps), -1, -1, -1),
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return sampled.to(maps.dtype)


def _cell_coordinates(cells: int, view: int, side: int, stride: int) -> Float[Tensor, "_"]:
    """Coordinate of each of `side` pixels among the cells; -1 is the first cell, 1 the last."""
    if cells == 1:
        return torch.zeros(side)
    pixel = (torch.arange(side, dtype=torch.float64) + 0.5) * view / side - 0.5
    step, rest = divmod(view - 1, cells - 1)
    if rest or stride % step:
        step = (view - 1) // cells
        pixel = pixel - (step - 1) / 2
    return (pixel / step / (cells - 1) * 2 - 1).float()


def resized_mean(maps: Float[Tensor, "b n h w"], size: tuple[int, int]) -> Float[Tensor, "b n"]:
    """resize_to(maps, size).mean((-2, -1)), computed without resizing, which is linear.

    It differs from the mean of the cells, since cells at the border cover fewer pixels.
    """
    down, across = (
        _shares(cells, side, maps) for cells, side in zip(maps.shape[-2:], size, strict=True)
    )
    return torch.einsum("bnhw,h,w->bn", maps, down, across)


def _shares(cells: int, side: int, like: Tensor) -> Float[Tensor, "_"]:
    """Weight of each cell in the mean of `side` pixels; sums to 1."""
    each = torch.eye(cells, dtype=like.dtype, device=like.device)[None]
    pixels = F.interpolate(each, size=side, mode="linear", align_corners=True)
    return pixels[0].mean(-1)


def grid_side(side: int, scale: float, stride: int) -> int:
    """The side stride * n + 1, n >= 1, nearest to side * scale: its last pixel is a cell.

    Args:
        side: side of the image, pixels.
        scale: factor, above 0.
        stride: stride of the network's deepest map.
    """
    return stride * max(1, round((side * scale - 1) / stride)) + 1
