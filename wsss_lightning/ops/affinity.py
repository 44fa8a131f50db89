"""Which pixels belong together: pairs, their labels and losses, and the walk along them.

An affinity is stored once a pair: [n, y, x] is that of pixel (y, x) with the pixel `offsets[n]`
further on, zero where there is no such pair.

Letters: b images, d channels, k maps, n offsets, h w a map.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Final, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE

Offset = tuple[int, int]
EPS = 1e-5
BORDERS: Final = ("padded", "window")


def half_disc(radius: int) -> list[Offset]:
    """(dy, dx) shorter than `radius`, one of each two that differ in sign: 34 for radius 5.

    Source: `get_indices_of_pairs` of the official PSA code, in its order.
    """
    reach = range(-radius + 1, radius)
    right = [(0, dx) for dx in range(1, radius)]
    return right + [(y, x) for y in range(1, radius) for x in reach if y * y + x * x < radius**2]


def paths(radius: int) -> list[list[Offset]]:
    """The pixels between (0, 0) and each offset of the half disc, both ends included.

    A pixel is on the path if it lies in the rectangle the ends span, less than one pixel beside the
    line through them. The offset comes first in its path; short paths come first.

    Source: Ahn et al. 2019 (IRN), fig. 3; `PathIndex` of the official code, in its order.
    """
    found = []
    for dy, dx in half_disc(radius):
        across = range(min(0, dx), max(0, dx) + 1)
        on = [
            (y, x)
            for y in range(dy + 1)
            for x in across
            if (dy * x - dx * y) ** 2 < dy * dy + dx * dx
        ]
        found.append(sorted(on, key=lambda point: -abs(point[0]) - abs(point[1])))
    return sorted(found, key=len)


def pairs(size: tuple[int, int], offsets: Sequence[Offset], border: str) -> Bool[Tensor, "n h w"]:
    """Which pairs there are.

    Args:
        size: height and width of the map.
        offsets: of the second pixel of a pair.
        border: `padded`, all whose second pixel is in the map; `window`, as the official codes:
            only where all offsets would be, so that pixels near the border have few neighbours and
            some corners none.

    Source: `get_indices_of_pairs` of the official PSA code is `window`.
    """
    if border not in BORDERS:
        raise InputError(f"border is {border}; set it to {' or to '.join(BORDERS)}.")
    height, width = size
    down, across = torch.arange(height)[:, None], torch.arange(width)
    if border == "window":
        reach = _reach(offsets)
        here = (down < height - reach) & (across >= reach) & (across < width - reach)
        return here.expand(len(offsets), height, width)
    return torch.stack(
        [(down + dy < height) & (across + dx >= 0) & (across + dx < width) for dy, dx in offsets]
    )


def feature_affinity(
    features: Float[Tensor, "b d h w"], radius: int, border: str
) -> Float[Tensor, "b n h w"]:
    """a_ij = exp(-mean_d |f_i - f_j|) of the pairs nearer than `radius`, in (0, 1].

    The differences, d values a pair, are made again when gradients want them instead of kept.

    Args:
        features: unbounded.
        radius: pixels of the map.
        border: as of `pairs`.

    Source: Ahn & Kwak 2018 (AffinityNet), eq. 4; `network/resnet38_aff.py` of the official code.
    """
    there = pairs(_size(features), half_disc(radius), border).to(features.device)
    return _FeatureAffinity.apply(features, radius) * there


def path_affinity(
    boundary: Float[Tensor, "b h w"], radius: int, border: str
) -> Float[Tensor, "b n h w"]:
    """a_ij = 1 - the strongest boundary on the path between i and j; offsets as of `paths`.

    Args:
        boundary: probability of a boundary between classes, in [0, 1].
        radius: pixels of the map.
        border: as of `pairs`.

    Source: Ahn et al. 2019 (IRN), eq. 3; `edge_to_affinity` of the official code.
    """
    offsets = [path[0] for path in paths(radius)]
    there = pairs(_size(boundary), offsets, border).to(boundary.device)
    return _PathAffinity.apply(boundary, radius) * there


def confident_labels(
    low: Float[Tensor, "k h w"], high: Float[Tensor, "k h w"], prefer_class: bool
) -> Int[Tensor, "h w"]:
    """Labels that hold under much and under little background; IGNORE elsewhere.

    A class only where even `low`, friendly to background, says so; background only where even
    `high`, friendly to classes, says so.

    Args:
        low: probabilities with background (1 - max) ** alpha of a low alpha, background first.
        high: of a high alpha. Both are zero outside the image.
        prefer_class: what a pixel is that is a class in `low` and background in `high`: the class,
            as in IRN, or else background, as in PSA.

    Source: Ahn & Kwak 2018 (AffinityNet), sec. 3.2; `VOC12AffDataset` of the official code, and
    `step/cam_to_ir_label.py` of IRN's.
    """
    label, background = low.argmax(0), high.argmax(0) == 0
    if prefer_class:
        background = background & (label == 0)
    label = label.masked_fill(label == 0, IGNORE).masked_fill(background, 0)
    outside = torch.maximum(low, high).amax(0) < EPS
    return label.masked_fill(outside, IGNORE)


def confident_cells(
    low: Float[Tensor, "k H W"], high: Float[Tensor, "k H W"], stride: int
) -> Int[Tensor, "h w"]:
    """`confident_labels` of marginals that are averaged over cells of stride x stride pixels first.

    Cells at the right and bottom may be cut: pixels beyond them count as zero.

    Source: `AvgPool2d` in the transforms of `VOC12AffDataset` of the official PSA code.
    """
    height, width = _size(low)
    both = F.pad(torch.stack([low, high]), (0, -width % stride, 0, -height % stride))
    pooled = F.avg_pool2d(both, stride)
    return confident_labels(pooled[0], pooled[1], prefer_class=False)


def pair_labels(
    label: Int[Tensor, "b h w"], offsets: Sequence[Offset], border: str
) -> tuple[Bool[Tensor, "b n h w"], Bool[Tensor, "b n h w"], Bool[Tensor, "b n h w"]]:
    """Which pairs are both background, both of one class, and of two labels.

    Pairs with an ignored pixel are none of them.

    Args:
        label: 0 background, IGNORE where unknown.
        offsets: of the second pixel of a pair.
        border: as of `pairs`.

    Source: `ExtractAffinityLabelInRadius` of the official PSA code.
    """
    other = torch.stack(list(_beyond(label, offsets, IGNORE)), 1)
    first = label[:, None]
    there = pairs(_size(label), offsets, border).to(label.device)
    known = (first != IGNORE) & (other != IGNORE) & there
    same = (first == other) & known
    return same & (first == 0), same & (first != 0), known & ~same


def affinity_loss(
    affinity: Float[Tensor, "b n h w"],
    labels: tuple[Bool[Tensor, "b n h w"], Bool[Tensor, "b n h w"], Bool[Tensor, "b n h w"]],
) -> dict[str, Float[Tensor, ""]]:
    """1/4 mean -log a of background pairs, 1/4 of class pairs, 1/2 mean -log(1 - a) of unlike ones.

    Args:
        affinity: in [0, 1].
        labels: of `pair_labels`; a kind that the batch lacks is worth 0.

    Returns:
        The three terms, weighted.

    Source: Ahn & Kwak 2018 (AffinityNet), eq. 5-8; IRN's eq. 4 has the same weights.
    """
    background, foreground, negative = labels
    like, unlike = -(affinity + EPS).log(), -(1 + EPS - affinity).log()

    def mean(values: Tensor, where: Tensor) -> Tensor:
        return (values * where).sum() / (where.sum() + EPS)

    return {
        "background": mean(like, background) / 4,
        "foreground": mean(like, foreground) / 4,
        "negative": mean(unlike, negative) / 2,
    }


def random_walk(
    maps: Float[Tensor, "b k h w"],
    affinity: Float[Tensor, "b n h w"],
    offsets: Sequence[Offset],
    beta: float,
    steps: int,
) -> Float[Tensor, "b k h w"]:
    """maps P^steps, P_ij = a_ij^beta / sum_i a_ij^beta with a_ii = 1: what flows to each pixel.

    A pixel of the outcome is a weighted mean of the maps, for the columns of P add up to 1. The
    maps are multiplied by the sparse P once a step, which costs (2 n + 1) k h w a step. Official
    codes square the whole P, (h w)^3 a squaring: cheaper only where h w is less than
    sqrt(steps / log2(steps) * (2 n + 1) * k), about 80 pixels for 256 steps, n = 34 and k = 3.
    P takes 8 bytes an entry, so 8 (2 n + 1) b h w in all: 6.5 MB for a map of 94 x 125, where the
    whole P takes 550 MB and its square as much again.

    Args:
        maps: what is spread; each on its own.
        affinity: in [0, 1], as `feature_affinity` or `path_affinity` gives it.
        offsets: of its pairs.
        beta: exponent; the larger, the less flows between unlike pixels.
        steps: of the walk.

    Returns:
        Maps within the range of `maps`.

    Raises:
        InputError: `beta` is negative, or `steps` is below 0.

    Source: Ahn & Kwak 2018 (AffinityNet), eq. 9-11.
    """
    if beta < 0 or steps < 0:
        raise InputError(
            f"refine.beta is {beta} and refine.steps is {steps}; set both to 0 or more (8 and 256 "
            "are PSA's)."
        )
    k = maps.shape[1]
    flow = transition(affinity, offsets, beta)
    spread = maps.transpose(0, 1).reshape(k, -1).T.contiguous().to(affinity.dtype)
    for _ in range(steps):
        spread = flow @ spread
    return spread.T.reshape(k, len(maps), *maps.shape[-2:]).transpose(0, 1).to(maps.dtype)


def transition(
    affinity: Float[Tensor, "b n h w"], offsets: Sequence[Offset], beta: float
) -> Tensor:
    """The transpose of `random_walk`'s P, sparse (CSR), all images along its diagonal.

    Its rows are the columns of P and add up to 1.
    """
    b, _, h, w = affinity.shape
    weights = affinity.detach() ** beta * (affinity.detach() > 0)
    around, parts = [(0, 0)], [torch.ones_like(weights[:, 0])]
    for (dy, dx), weight in zip(offsets, weights.unbind(1), strict=True):
        around += [(dy, dx), (-dy, -dx)]
        # the same weight as the second pixel of the pair sees it
        parts += [weight, next(_beyond(weight, [(-dy, -dx)], 0.0))]
    order = sorted(range(len(around)), key=around.__getitem__)  # columns in rising order
    values = torch.stack([parts[i] for i in order], -1).reshape(b * h * w, -1)
    # an error of a column's sum counts at every step, so it must not be that of single precision
    values = (values.double() / values.double().sum(1, keepdim=True)).to(values)
    steps = torch.tensor([around[i][0] * w + around[i][1] for i in order], dtype=torch.int32)
    pixel = torch.arange(b * h * w, dtype=torch.int32, device=values.device)
    some = values > 0
    rows = F.pad(some.sum(1).cumsum(0), (1, 0)).to(torch.int32)
    columns = (pixel[:, None] + steps.to(values.device))[some]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse .* beta state")
        warnings.filterwarnings("ignore", message="Sparse invariant checks")
        return torch.sparse_csr_tensor(rows, columns, values[some], (b * h * w,) * 2)


def _reach(offsets: Sequence[Offset]) -> int:
    return max((max(abs(dy), abs(dx)) for dy, dx in offsets), default=0)


def _size(maps: Tensor) -> tuple[int, int]:
    return (maps.shape[-2], maps.shape[-1])


def _beyond(maps: Tensor, offsets: Sequence[Offset], fill: float) -> Any:
    """For each offset the maps' values that far on, `fill` where that is outside."""
    reach = _reach(offsets)
    height, width = _size(maps)
    padded = F.pad(maps, (reach,) * 4, value=fill)
    for dy, dx in offsets:
        yield padded[..., reach + dy :, reach + dx :][..., :height, :width]


def _overlap(size: tuple[int, int], offset: Offset) -> tuple[Any, Any]:
    """Where both pixels of a pair are in the map: places of the first, and of the second."""
    (height, width), (dy, dx) = size, offset
    first = (..., slice(0, max(0, height - dy)), slice(max(0, -dx), max(0, width - max(0, dx))))
    second = (..., slice(dy, None), slice(max(0, dx), max(0, width + min(0, dx))))
    return first, second


@final
class _FeatureAffinity(torch.autograd.Function):
    """exp(-mean_d |f_i - f_j|); 1 where j is outside, which the caller takes out."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, radius: int) -> Tensor:
        offsets = half_disc(radius)
        b, _, h, w = features.shape
        distance = features.new_zeros(b, len(offsets), h, w)
        for n, offset in enumerate(offsets):
            first, second = _overlap((h, w), offset)
            distance[:, n][first] = (features[first] - features[second]).abs_().mean(1)
        affinity = distance.neg_().exp_()
        ctx.save_for_backward(features, affinity)
        ctx.offsets = offsets
        return affinity

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        features, affinity = ctx.saved_tensors
        slope = -gradient * affinity / features.shape[1]
        out = torch.zeros_like(features)
        for n, offset in enumerate(ctx.offsets):
            first, second = _overlap(_size(features), offset)
            part = (features[first] - features[second]).sign_() * slope[:, n : n + 1][first]
            out[first] += part
            out[second] -= part
        return out, None


@final
class _PathAffinity(torch.autograd.Function):
    """1 - max over the path, a wall of 1 being outside; gradients go to the first strongest."""

    @staticmethod
    def forward(ctx: Any, boundary: Tensor, radius: int) -> Tensor:
        lines = paths(radius)
        b, h, w = boundary.shape
        affinity = boundary.new_empty(b, len(lines), h, w)
        strongest = torch.empty(affinity.shape, dtype=torch.uint8, device=boundary.device)
        for n, line in enumerate(lines):
            values = torch.stack(list(_beyond(boundary, line, 1.0)), 1)
            peak, strongest[:, n] = values.max(1)
            affinity[:, n] = 1 - peak
        ctx.save_for_backward(strongest)
        ctx.lines = lines
        return affinity

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (strongest,) = ctx.saved_tensors
        b, _, h, w = gradient.shape
        reach = _reach([line[0] for line in ctx.lines])
        wide = w + 2 * reach
        out = gradient.new_zeros(b, (h + reach) * wide)
        down = torch.arange(h, device=gradient.device)[:, None] * wide
        pixel = down + torch.arange(reach, reach + w, device=gradient.device)
        for n, line in enumerate(ctx.lines):
            steps = torch.tensor([dy * wide + dx for dy, dx in line], device=gradient.device)
            hit = pixel + steps[strongest[:, n].long()]
            out.scatter_add_(1, hit.flatten(1), -gradient[:, n].flatten(1))
        return out.view(b, h + reach, wide)[:, :h, reach : reach + w], None
