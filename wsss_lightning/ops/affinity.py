"""Affinities of pixel pairs, and the labels and losses by which they are learnt.

An affinity is stored once for each pair: [n, y, x] belongs to pixel (y, x) and the pixel at
(y, x) + `offsets[n]`. It is zero where there is no such pair.

Letters: b images, d channels, k maps, n offsets, h w a map.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from wsss_lightning.ops.masks import IGNORE

Offset = tuple[int, int]
EPS = 1e-5
BORDERS: Final = ("padded", "window")


def half_disc(radius: int) -> list[Offset]:
    """Offsets (dy, dx) shorter than `radius`, one of each pair of opposite signs: 34 for radius 5.

    Source: `get_indices_of_pairs` of the official PSA code, in its order.
    """
    reach = range(-radius + 1, radius)
    right = [(0, dx) for dx in range(1, radius)]
    return right + [(y, x) for y in range(1, radius) for x in reach if y * y + x * x < radius**2]


def paths(radius: int) -> list[list[Offset]]:
    """The pixels from (0, 0) to each offset of the half disc, both ends included.

    A pixel is on the path if it lies in the rectangle between both ends and less than one pixel
    from the line through them. Each path begins with the offset; short paths come first.

    Source: Ahn et al. 2019 (IRN), fig. 3; `PathIndex` of the official code, in its order.
    """
    all_paths = []
    for dy, dx in half_disc(radius):
        across = range(min(0, dx), max(0, dx) + 1)
        path = [
            (y, x)
            for y in range(dy + 1)
            for x in across
            if (dy * x - dx * y) ** 2 < dy * dy + dx * dx
        ]
        all_paths.append(sorted(path, key=lambda point: -abs(point[0]) - abs(point[1])))
    return sorted(all_paths, key=len)


def pairs(size: tuple[int, int], offsets: Sequence[Offset], border: str) -> Bool[Tensor, "n h w"]:
    """Mark, for each offset, the pixels that have a pair.

    Args:
        size: height and width of the map.
        offsets: offsets of the second pixel of each pair.
        border: `padded`: every pair whose second pixel lies in the map. `window`, as in the
            official codes: only where all offsets lie in the map, so pixels near the border have
            few neighbours and some corners have none.

    Raises:
        ValueError: `border` is neither.

    Source: `get_indices_of_pairs` of the official PSA code is `window`.
    """
    if border not in BORDERS:
        raise ValueError(f"border must be {' or '.join(BORDERS)}, got {border}")
    height, width = size
    down, across = torch.arange(height)[:, None], torch.arange(width)
    if border == "window":
        reach = _reach(offsets)
        inside = (down < height - reach) & (across >= reach) & (across < width - reach)
        return inside.expand(len(offsets), height, width)
    return torch.stack(
        [(down + dy < height) & (across + dx >= 0) & (across + dx < width) for dy, dx in offsets]
    )


def feature_affinity(
    features: Float[Tensor, "b d h w"], radius: int, border: str
) -> Float[Tensor, "b n h w"]:
    """a_ij = exp(-mean_d |f_i - f_j|) of all pairs closer than `radius`.

    The differences, d values for each pair, are recomputed in the backward pass.

    Args:
        features: unbounded.
        radius: pixels of the map.
        border: as in `pairs`.

    Returns:
        Affinities in (0, 1]; zero where there is no pair.

    Source: Ahn & Kwak 2018 (AffinityNet), eq. 4; `network/resnet38_aff.py` of the official code.
    """
    exists = pairs(_size(features), half_disc(radius), border).to(features.device)
    return _FeatureAffinity.apply(features, radius) * exists


def path_affinity(
    boundary: Float[Tensor, "b h w"], radius: int, border: str
) -> Float[Tensor, "b n h w"]:
    """a_ij = 1 - the strongest boundary on the path between i and j; offsets as in `paths`.

    Args:
        boundary: probability of a boundary between classes, in [0, 1].
        radius: pixels of the map.
        border: as in `pairs`.

    Returns:
        Affinities in [0, 1]; zero where there is no pair.

    Source: Ahn et al. 2019 (IRN), eq. 3; `edge_to_affinity` of the official code.
    """
    offsets = [path[0] for path in paths(radius)]
    exists = pairs(_size(boundary), offsets, border).to(boundary.device)
    return _PathAffinity.apply(boundary, radius) * exists


def confident_labels(
    low: Float[Tensor, "k h w"], high: Float[Tensor, "k h w"], prefer_class: bool
) -> Int[Tensor, "h w"]:
    """Labels on which strong and weak background agree; IGNORE elsewhere.

    A pixel is a class where `low`, which favours background, shows that class. It is background
    where `high`, which favours classes, shows background.

    Args:
        low: probabilities for the background (1 - max) ** alpha with a low alpha, background first.
        high: the same with a high alpha. Both are zero outside the image.
        prefer_class: label of a pixel that is a class in `low` and background in `high`: True, the
            class, as in IRN; False, background, as in PSA.

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
    """`confident_labels` of marginals averaged over cells of stride x stride pixels.

    Pixels beyond the right and the bottom border count as zero.

    Args:
        low: marginals with a low alpha.
        high: marginals with a high alpha.
        stride: side of a cell, pixels.

    Source: `AvgPool2d` in the transforms of `VOC12AffDataset` of the official PSA code.
    """
    height, width = _size(low)
    both = F.pad(torch.stack([low, high]), (0, -width % stride, 0, -height % stride))
    pooled = F.avg_pool2d(both, stride)
    return confident_labels(pooled[0], pooled[1], prefer_class=False)


def pair_labels(
    label: Int[Tensor, "b h w"], offsets: Sequence[Offset], border: str
) -> tuple[Bool[Tensor, "b n h w"], Bool[Tensor, "b n h w"], Bool[Tensor, "b n h w"]]:
    """Which pairs are both background, both of one class, and of two different labels.

    Pairs with an ignored pixel are in none of the three.

    Args:
        label: 0 background, IGNORE where unknown.
        offsets: offsets of the second pixel of each pair.
        border: as in `pairs`.

    Source: `ExtractAffinityLabelInRadius` of the official PSA code.
    """
    other = torch.stack(list(shifted(label, offsets, IGNORE)), 1)
    first = label[:, None]
    exists = pairs(_size(label), offsets, border).to(label.device)
    known = (first != IGNORE) & (other != IGNORE) & exists
    same = (first == other) & known
    return same & (first == 0), same & (first != 0), known & ~same


def affinity_loss(
    affinity: Float[Tensor, "b n h w"],
    labels: tuple[Bool[Tensor, "b n h w"], Bool[Tensor, "b n h w"], Bool[Tensor, "b n h w"]],
) -> dict[str, Float[Tensor, ""]]:
    """1/4 mean -log a (background) + 1/4 mean -log a (one class) + 1/2 mean -log(1 - a) (unlike).

    Args:
        affinity: in [0, 1].
        labels: from `pair_labels`; a kind without pairs in the batch contributes 0.

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


def _reach(offsets: Sequence[Offset]) -> int:
    return max((max(abs(dy), abs(dx)) for dy, dx in offsets), default=0)


def _size(maps: Tensor) -> tuple[int, int]:
    return (maps.shape[-2], maps.shape[-1])


def shifted(maps: Tensor, offsets: Sequence[Offset], fill: float) -> Iterator[Tensor]:
    """For each offset the values of the maps at pixel + offset, `fill` outside of the maps.

    Args:
        maps: maps of one size.
        offsets: offsets (dy, dx).
        fill: value outside of the maps.
    """
    reach = _reach(offsets)
    height, width = _size(maps)
    padded = F.pad(maps, (reach,) * 4, value=fill)
    for dy, dx in offsets:
        yield padded[..., reach + dy :, reach + dx :][..., :height, :width]


def _overlap(size: tuple[int, int], offset: Offset) -> tuple[Any, Any]:
    """Slices of the first and of the second pixels of all pairs that lie in the map."""
    (height, width), (dy, dx) = size, offset
    first = (..., slice(0, max(0, height - dy)), slice(max(0, -dx), max(0, width - max(0, dx))))
    second = (..., slice(dy, None), slice(max(0, dx), max(0, width + min(0, dx))))
    return first, second


@final
class _FeatureAffinity(torch.autograd.Function):
    """exp(-mean_d |f_i - f_j|); 1 where j is outside, which the caller sets to 0."""

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
    """1 - max over the path, 1 outside the map; gradients go to the first maximum."""

    @staticmethod
    def forward(ctx: Any, boundary: Tensor, radius: int) -> Tensor:
        lines = paths(radius)
        b, h, w = boundary.shape
        affinity = boundary.new_empty(b, len(lines), h, w)
        strongest = torch.empty(affinity.shape, dtype=torch.uint8, device=boundary.device)
        for n, line in enumerate(lines):
            values = torch.stack(list(shifted(boundary, line, 1.0)), 1)
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
