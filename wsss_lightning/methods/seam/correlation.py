"""The pixel correlation module of SEAM: refinement of maps by the similarity of pixels.

Letters: b images, k = c + 1 with background first, d channels, h w a map; n = h * w.
"""

from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

EPS = 1e-5


def suppress_non_max_classes(cam: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
    """Normalise each class to relu(x - eps) / (max + eps) and keep the strongest of each pixel.

    Background becomes 1 - max over classes, so the labels of a pixel sum to 1, or to more where
    classes tie. No gradient flows through it.

    Args:
        cam: raw class activation, unbounded; its first channel is replaced.

    Returns:
        Maps in [0, 1].

    Source: `Net.forward` of the official SEAM code; the paper (sec. 3.3) says "normalised".
    """
    evidence = cam.detach()[:, 1:].relu()
    share = (evidence - EPS).relu() / (evidence.amax((-2, -1), keepdim=True) + EPS)
    strongest = share.amax(1, keepdim=True)
    return torch.cat([1 - strongest, share.masked_fill(share < strongest, 0)], dim=1)


def pixel_correlation(
    maps: Float[Tensor, "b k h w"], features: Float[Tensor, "b d h w"], block_mib: float
) -> Float[Tensor, "b k h w"]:
    """refined_j = sum_i maps_i A_ij / (sum_i A_ij + eps), A_ij = relu(cos(f_i, f_j)).

    The affinity A has n * n entries: 138 million for an image of 1000 x 750 pixels at stride 8. It
    is computed in blocks of columns and recomputed in the backward pass, so it is never in memory
    as a whole. A is symmetric, so one matrix product for each block gives the gradients of both
    pixels of a pair, and no transpose is stored.

    Args:
        maps: maps to propagate, such as `suppress_non_max_classes` of a cam.
        features: features of any norm; the function normalises them.
        block_mib: MiB of one block of A, above 0; a block has at least one column.

    Returns:
        Weighted means of `maps`; labels that sum to 1 at every pixel do so afterwards.

    Raises:
        ValueError: `block_mib` is not above 0.

    Source: Wang et al. 2020 (SEAM), eq. 8; `Net.PCM` of the official code.
    """
    if block_mib <= 0:
        raise ValueError(
            f"block_mib must be > 0, got {block_mib}; 256 holds a whole affinity of 8000 pixels"
        )
    b, _, h, w = maps.shape
    unit = features / (features.norm(dim=1, keepdim=True) + EPS)
    columns = max(1, int(block_mib * 2**20 / (b * h * w * features.element_size())))
    spread = _Correlation.apply(maps.flatten(2), unit.flatten(2), columns)
    return spread.view(maps.shape)


@final
class _Correlation(torch.autograd.Function):
    """For blocks J of columns, [maps; 1] @ relu(unit^T unit_J): numerators and denominators."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, unit: Tensor, columns: int) -> Tensor:
        weighed = F.pad(maps, (0, 0, 0, 1), value=1.0)  # the row of ones sums the weights
        out, total = torch.empty_like(maps), maps.new_empty(len(maps), 1, maps.shape[-1])
        for part in _parts(maps.shape[-1], columns):
            sums = weighed @ _affinity(unit, part)
            total[..., part] = sums[:, -1:] + EPS
            out[..., part] = sums[:, :-1] / total[..., part]
        ctx.save_for_backward(weighed, unit, out, total)
        ctx.columns = columns
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        weighed, unit, out, total = ctx.saved_tensors
        numerator = gradient / total
        slope = torch.cat([numerator, -(numerator * out).sum(1, keepdim=True)], dim=1)
        # dA_ij = weighed_i . slope_j; both dA_ij and dA_ji reach f_i and f_j where A_ij > 0
        left, right = torch.cat([weighed, slope], 1), torch.cat([slope, weighed], 1)
        of_maps = torch.empty_like(out) if ctx.needs_input_grad[0] else None
        of_unit = torch.empty_like(unit) if ctx.needs_input_grad[1] else None
        for part in _parts(unit.shape[-1], ctx.columns):
            affinity = _affinity(unit, part)
            if of_maps is not None:
                of_maps[..., part] = slope[:, :-1] @ affinity
            if of_unit is not None:
                both = left.mT @ right[..., part]
                both.masked_fill_(affinity == 0, 0)
                of_unit[..., part] = unit @ both
        return of_maps, of_unit, None


def _parts(n: int, columns: int) -> list[slice]:
    return [slice(start, start + columns) for start in range(0, n, columns)]


def _affinity(unit: Float[Tensor, "b d n"], part: slice) -> Float[Tensor, "b n _"]:
    return (unit.mT @ unit[..., part]).relu_()
