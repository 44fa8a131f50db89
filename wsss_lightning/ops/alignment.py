"""Alignment of a network's maps with the image: three conventions.

A convolution padded on both sides has the centre of cell i at pixel stride * i of its input.

aligned: inputs of stride * n + 1 pixels. `cells_to_image` maps each cell to its own pixel, so an
    object and its map have the same centre.
psa: the code of PSA, which SC-CAM and SEAM share. Inputs of round(side * scale) pixels; maps are
    upsampled with half-pixel centres, which put cell i at pixel stride * i + (stride - 1) / 2.
    Maps are shifted down by 3.5 pixels at a stride of 8. Horizontally the flipped input is shifted
    the other way, so the sum of both is wider instead.
irn: the code of IRN. Inputs as in psa; maps are upsampled to a multiple of 16 pixels and cropped,
    which puts cell i at pixel 16 * i + 7.5. Maps are shifted down by 7.5 pixels at a stride of 16.

Letters: b images, n maps, h w a map, H W an image.
"""

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as images

from wsss_lightning.ops.resize import cells_to_image, grid_side

ALIGNMENTS: Final = ("aligned", "irn", "psa")
STRIDED: Final = 4  # stride of IRN's strided CAM, in pixels of the image
MULTIPLE: Final = 16  # IRN upsamples maps to a multiple of this, whatever the stride

Size = tuple[int, int]


def view_of(
    image: Float[Tensor, "b 3 H W"], scale: float, alignment: str, stride: int
) -> Float[Tensor, "b 3 _ _"]:
    """The image, resized to the network's input at a scale of its size.

    Args:
        image: RGB in [0, 1].
        scale: above 0.
        alignment: one of `ALIGNMENTS`; `psa` and `irn` resize 8-bit images.
        stride: stride of the network's deepest map.

    Source: `VOC12ClsDatasetMSF` of the official PSA code, `pil_rescale` of IRN's.
    """
    if alignment == "aligned":
        sides = [grid_side(side, scale, stride) for side in image.shape[-2:]]
        return images.resize_image(
            image, sides, interpolation=InterpolationMode.BICUBIC, antialias=True
        ).clamp(0, 1)
    height, width = (max(1, round(side * scale)) for side in image.shape[-2:])
    return _resize_8_bit(image, (height, width))


def _resize_8_bit(image: Float[Tensor, "b 3 H W"], size: Size) -> Float[Tensor, "b 3 _ _"]:
    """Pillow's bicubic resizing of 8-bit images.

    torchvision's result differs by one level in up to 1 % of the values.
    """
    if tuple(image.shape[-2:]) == size:
        return image
    pixels = (image * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    resized = [
        np.asarray(Image.fromarray(one).resize((size[1], size[0]), Image.Resampling.BICUBIC))
        for one in pixels
    ]
    return torch.from_numpy(np.stack(resized)).to(image.device).permute(0, 3, 1, 2).to(image) / 255


def map_sizes(size: Size, alignment: str) -> dict[str, Size]:
    """Height and width of each map that `place` returns, by name, for an image of this size."""
    sizes = {"score": size}
    if alignment == "irn":
        sizes["strided"] = _strided_size(size, STRIDED)
    return sizes


def place(
    maps: Float[Tensor, "b n h w"], view: Size, size: Size, alignment: str, stride: int, flip: bool
) -> dict[str, Tensor]:
    """Resample the maps of a network's input to the pixels of the image.

    Args:
        maps: maps of several images; with `flip`, followed by those of the flipped images.
        view: height and width of the network's input.
        size: height and width of the image.
        alignment: one of `ALIGNMENTS`.
        stride: stride of the network's deepest map.
        flip: add the maps of the flipped images.

    Returns:
        `score` (b n H W), and for `irn` also `strided`, with one cell for every `STRIDED` pixels.

    Source: `infer_cls.py` of the official PSA code, `step/make_cam.py` of IRN's.
    """
    if alignment == "aligned":
        placed = cells_to_image(maps, view, size, stride)
        return {"score": _add_flipped(placed) if flip else placed}
    # half-pixel centres are symmetric, so flipping before or after upsampling is the same
    added = (_add_flipped(maps) if flip else maps).float()
    if alignment == "psa":
        return {"score": _half_pixel(added, size)}
    height, width = (cells * MULTIPLE for cells in _strided_size(size, MULTIPLE))
    return {
        "score": _half_pixel(added, (height, width))[..., : size[0], : size[1]],
        "strided": _half_pixel(added, _strided_size(size, STRIDED)),
    }


def _half_pixel(maps: Float[Tensor, "b n h w"], size: Size) -> Float[Tensor, "b n _ _"]:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _add_flipped(maps: Float[Tensor, "bb n h w"]) -> Float[Tensor, "b n h w"]:
    plain, flipped = maps.chunk(2)
    return plain + flipped.flip(-1)


def _strided_size(size: Size, stride: int) -> Size:
    """Numbers of cells that begin in an image, vertically and horizontally.

    Source: `get_strided_size` of the official IRN code.
    """
    return -(-size[0] // stride), -(-size[1] // stride)
