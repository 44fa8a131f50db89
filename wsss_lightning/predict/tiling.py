"""Large images in overlapping tiles, whose logits are blended.

Letters: b images, k labels, h w a tile, H W an image.
"""

import math
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

GRID: Final = 32  # pixels; tiles start at multiples, so that maps of all strides are in line


@final
class Tiled(nn.Module):
    """A network that maps an image to logits, applied to one tile after the other.

    Logits of overlapping tiles are averaged with weights that fall linearly towards the inner edges
    of a tile, where the network knows least of the surroundings.

    Args:
        network: image (b 3 h w) to logits (b k h w).
        tile: side of a tile in pixels; smaller images are not divided.
        overlap: share of a tile that it shares with the next, in [0, 0.5].

    Raises:
        ValueError: a value is out of range.
    """

    def __init__(self, network: nn.Module, tile: int, overlap: float) -> None:
        super().__init__()
        if tile < 2 * GRID:
            raise ValueError(f"tile is {tile}, but must be {2 * GRID} or more pixels, such as 1024")
        if not 0 <= overlap <= 0.5:
            raise ValueError(f"overlap is {overlap}, but must be a share in [0, 0.5], such as 0.25")
        self.network, self.tile, self.overlap = network, tile, overlap

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k H W"]:
        rows, columns = (tiles(side, self.tile, self.overlap) for side in image.shape[-2:])
        if len(rows) == len(columns) == 1:
            return self.network(image)
        total, weights = image.new_zeros(()), image.new_zeros(image.shape[-2:])
        shared = self.tile * self.overlap
        for top, bottom in rows:
            down = _ramp(top, bottom, image.shape[-2], shared).to(image)
            for left, right in columns:
                across = _ramp(left, right, image.shape[-1], shared).to(image)
                weight = down[:, None] * across
                logits = self.network(image[..., top:bottom, left:right])
                if total.dim() == 0:
                    total = logits.new_zeros(*logits.shape[:2], *image.shape[-2:])
                total[..., top:bottom, left:right] += logits * weight
                weights[top:bottom, left:right] += weight
        return total / weights


def tiles(side: int, tile: int, overlap: float) -> list[tuple[int, int]]:
    """Start and end of the tiles along a side.

    All start at a multiple of `GRID`, and neighbours share at least about `overlap` of a tile. The
    last one may be longer than `tile` by less than `GRID`.

    Args:
        side: length of the image.
        tile: length of a tile.
        overlap: share of a tile, in [0, 0.5].
    """
    if side < tile + GRID:
        return [(0, side)]
    step = tile * (1 - overlap)
    count = math.ceil((side - tile) / step) + 1
    spaced = [int((side - tile) * i / (count - 1)) // GRID * GRID for i in range(count)]
    starts = list(dict.fromkeys(spaced))
    ends = [start + tile for start in starts[:-1]]
    # a rounded start must not leave a gap to the tile before
    ends = [max(end, following) for end, following in zip(ends, starts[1:], strict=True)]
    return list(zip(starts, [*ends, side], strict=True))


def _ramp(start: int, end: int, side: int, shared: float) -> Float[Tensor, " n"]:
    """Weights along a tile: 1, and falling to 0 over `shared` pixels at its inner edges."""
    position = torch.arange(end - start) + 0.5
    width = max(shared, 1.0)
    rise = position / width if start > 0 else torch.ones_like(position)
    fall = position.flip(0) / width if end < side else torch.ones_like(position)
    return torch.minimum(rise, fall).clamp(max=1)
