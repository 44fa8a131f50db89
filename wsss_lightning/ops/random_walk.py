"""The random walk that propagates maps along affinities.

Letters: b images, k maps, n offsets, h w a map.
"""

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from wsss_lightning.ops.affinity import Offset, shifted


def random_walk(
    maps: Float[Tensor, "b k h w"],
    affinity: Float[Tensor, "b n h w"],
    offsets: Sequence[Offset],
    beta: float,
    steps: int,
) -> Float[Tensor, "b k h w"]:
    """maps P^steps, P_ij = a_ij^beta / sum_i a_ij^beta with a_ii = 1.

    The columns of P sum to 1, so each pixel of the result is a weighted mean of the maps. Each step
    multiplies by the sparse P at a cost of (2 n + 1) k h w. The official codes square the dense P,
    (h w)^3 for each squaring: cheaper only where h w is less than
    sqrt(steps / log2(steps) * (2 n + 1) * k), about 80 pixels for 256 steps, n = 34 and k = 3.
    The sparse P takes 8 (2 n + 1) b h w bytes: 6.5 MB for a map of 94 x 125, where the dense P and
    its square take 550 MB each.

    Args:
        maps: maps to propagate; they do not influence each other.
        affinity: in [0, 1], from `feature_affinity` or `path_affinity`.
        offsets: offsets of the pairs.
        beta: exponent, 0 or more; the larger, the less flows between unlike pixels.
        steps: number of steps of the walk, 0 or more.

    Returns:
        Maps within the range of `maps`.

    Raises:
        ValueError: `beta` or `steps` is negative.

    Source: Ahn & Kwak 2018 (AffinityNet), eq. 9-11.
    """
    if beta < 0:
        raise ValueError(f"beta must be >= 0, got {beta}; 8 is PSA's")
    if steps < 0:
        raise ValueError(f"steps must be >= 0, got {steps}; 256 is PSA's")
    k = maps.shape[1]
    flow = transition(affinity, offsets, beta)
    spread = maps.transpose(0, 1).reshape(k, -1).T.contiguous().to(affinity.dtype)
    for _ in range(steps):
        spread = flow @ spread
    return spread.T.reshape(k, len(maps), *maps.shape[-2:]).transpose(0, 1).to(maps.dtype)


def transition(
    affinity: Float[Tensor, "b n h w"], offsets: Sequence[Offset], beta: float
) -> Tensor:
    """The transpose of `random_walk`'s P as a sparse CSR matrix, one diagonal block per image.

    Its rows are the columns of P and sum to 1.

    Args:
        affinity: in [0, 1].
        offsets: offsets of the pairs.
        beta: exponent, 0 or more.
    """
    b, _, h, w = affinity.shape
    weights = affinity.detach() ** beta * (affinity.detach() > 0)
    around, parts = [(0, 0)], [torch.ones_like(weights[:, 0])]
    for (dy, dx), weight in zip(offsets, weights.unbind(1), strict=True):
        around += [(dy, dx), (-dy, -dx)]
        # the same weight, stored at the second pixel of the pair
        parts += [weight, next(shifted(weight, [(-dy, -dx)], 0.0))]
    order = sorted(range(len(around)), key=around.__getitem__)  # columns in ascending order
    values = torch.stack([parts[i] for i in order], -1).reshape(b * h * w, -1)
    # rounding errors of the sums add up over the steps, so the sums are in double precision
    values = (values.double() / values.double().sum(1, keepdim=True)).to(values)
    steps = torch.tensor([around[i][0] * w + around[i][1] for i in order], dtype=torch.int32)
    pixel = torch.arange(b * h * w, dtype=torch.int32, device=values.device)
    positive = values > 0
    rows = F.pad(positive.sum(1).cumsum(0), (1, 0)).to(torch.int32)
    columns = (pixel[:, None] + steps.to(values.device))[positive]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse .* beta state")
        warnings.filterwarnings("ignore", message="Sparse invariant checks")
        return torch.sparse_csr_tensor(rows, columns, values[positive], (b * h * w,) * 2)
