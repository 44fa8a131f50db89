"""Mean field on the permutohedral lattice in tensor operations, on any device.

Lattice points are found by sorting instead of hashing. Values move between pixels and points as
weighted sums (bags) with a fixed order of summation, so results are reproducible, on GPUs too. All
images of a batch share one lattice, in which each image has a separate region.

Letters: n images, l labels, m pixels, d features, v = d + 1 corners of a simplex, k lattice points,
r bags with e members in total.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.errors import InputError

# negative energy of labels that pad an image to the number of labels of its batch: probability 0
ABSENT = 1e4


def mean_field(
    images: Sequence[UInt8[Tensor, "_ _ 3"]],
    unaries: Sequence[Float[Tensor, "_ _ _"]],
    parameters: CRFParameters,
) -> list[Tensor]:
    """Marginals of each image, differentiable in `unaries`; see `densecrf.mean_field`.

    Raises:
        InputError: a kernel is too narrow for an image.
    """
    sizes = [image.shape[0] * image.shape[1] for image in images]
    most = max(len(unary) for unary in unaries)
    energy = torch.cat([-F.pad(u.flatten(1).T, (0, most - len(u)), value=ABSENT) for u in unaries])
    filters = []
    if parameters.iterations:
        device = energy.device
        image_of = torch.arange(len(sizes), device=device).repeat_interleave(
            torch.tensor(sizes, device=device)
        )
        kinds = zip(*(features(image, parameters) for image in images), strict=True)
        for kind, weight in zip(kinds, (parameters.w1, parameters.w2), strict=True):
            if weight > 0:
                try:
                    filters.append(kernel(torch.cat(kind), image_of, weight))
                except OverflowError:
                    largest = max(images, key=lambda image: image.shape[0] * image.shape[1])
                    raise InputError(
                        parameters.too_narrow(largest.shape[0], largest.shape[1])
                    ) from None
    marginal = energy.softmax(1)
    for _ in range(parameters.iterations):
        message = energy
        for kernel_filter in filters:
            message = message + kernel_filter(marginal)
        marginal = message.softmax(1)
    parts = marginal.split(sizes)
    return [
        part.T[: len(u)].reshape(u.shape).contiguous()
        for part, u in zip(parts, unaries, strict=True)
    ]


def features(
    image: UInt8[Tensor, "H W 3"], p: CRFParameters
) -> tuple[Float[Tensor, "m 5"], Float[Tensor, "m 2"]]:
    """Features of each pixel for the appearance and the smoothness kernel, in kernel widths.

    Returns:
        (x, y, red, green, blue) and (x, y), row by row.
    """
    height, width = image.shape[:2]
    y, x = torch.meshgrid(
        torch.arange(height, device=image.device),
        torch.arange(width, device=image.device),
        indexing="ij",
    )
    position = torch.stack([x, y], dim=-1).flatten(0, 1).float()
    colour = image.flatten(0, 1).float()
    appearance = torch.cat([position / p.theta_alpha, colour / p.theta_beta], dim=1)
    return appearance, position / p.theta_gamma


@dataclass(frozen=True)
class Bags:
    """Weighted sums of rows of a table: row i of the result sums the members of bag i."""

    member: Int[Tensor, "e"]
    weight: Float[Tensor, "e"]
    begin: Int[Tensor, "r"]

    def __call__(self, table: Float[Tensor, "s l"]) -> Float[Tensor, "r l"]:
        return F.embedding_bag(
            self.member,
            table,
            self.begin,
            mode="sum",
            per_sample_weights=self.weight.to(table.dtype),
        )


@dataclass(frozen=True)
class Filter:
    """Splat onto lattice points, blur along each axis, slice back to pixels.

    Args:
        neighbours: for each axis, the next and the previous point of each point; k where there is
            none.
    """

    splat: Bags
    neighbours: list[tuple[Int[Tensor, "k"], Int[Tensor, "k"]]]
    slice: Bags

    def __call__(self, value: Float[Tensor, "m l"]) -> Float[Tensor, "m l"]:
        table = self.splat(value)
        absent = table.new_zeros(1, table.shape[1])
        for behind, before in self.neighbours:
            padded = torch.cat([table, absent])
            table = table + 0.5 * (padded[behind] + padded[before])
        return self.slice(table)


def kernel(feature: Float[Tensor, "m d"], image_of: Int[Tensor, "m"], factor: float) -> Filter:
    """factor D^-1/2 K D^-1/2 with K = exp(-|f_i - f_j|^2 / 2), D = diag(K 1), approximately.

    Args:
        feature: feature of each pixel, in units of the kernel's widths.
        image_of: index of the image of each pixel; different images do not interact.
        factor: weight of the kernel.

    Raises:
        OverflowError: the features span more lattice points than 64 bits can number.

    Source: Adams, Baek & Davis 2010; normalisation of pydensecrf.
    """
    corner, weight, neighbours = _lattice(feature, image_of)
    m, v = corner.shape
    point, order = corner.flatten().sort(stable=True)
    sizes = torch.bincount(point, minlength=len(neighbours[0][0]))
    pixel = order.div(v, rounding_mode="floor")
    first = torch.arange(0, m * v, v, device=corner.device)

    def weighted(weight: Float[Tensor, "m v"]) -> Filter:
        return Filter(
            Bags(pixel, weight.flatten()[order], sizes.cumsum(0) - sizes),
            neighbours,
            Bags(corner.flatten(), weight.flatten(), first),
        )

    gain = 1 / (1 + 2.0 ** -(v - 1))
    total = gain * weighted(weight)(weight.new_ones(m, 1))
    # the square root of each factor before the splat and after the slice
    return weighted(weight * math.sqrt(factor * gain) / (total + 1e-20).sqrt())


def _lattice(
    feature: Float[Tensor, "m d"], image_of: Int[Tensor, "m"]
) -> tuple[
    Int[Tensor, "m v"], Float[Tensor, "m v"], list[tuple[Int[Tensor, "k"], Int[Tensor, "k"]]]
]:
    """Lattice point and barycentric weight of each pixel's corners; neighbours of each point."""
    d = feature.shape[1]
    v = d + 1
    base, rank, part = _simplex(feature)
    # key of a point in mixed radix: quotients of its first d coordinates, then remainder, image
    low = base[:, :d].amin(0) - 3  # margin for corners and neighbours
    spans = [int(s) for s in base[:, :d].amax(0) - low + 4]
    if math.prod(spans) * v * (int(image_of.max()) + 1) >= 2**63:
        raise OverflowError
    strides = [math.prod(spans[:i]) for i in range(d)]
    radix = math.prod(spans)
    stride = torch.tensor([*strides, 0], device=feature.device)
    first = ((base[:, :d] - low) * stride[:d]).sum(1) + image_of * (radix * v)
    # from one corner to the next, the coordinate of the next lower rank decreases
    back = stride[rank.argsort(dim=1)].flip(1)[:, :d]
    keys = torch.cat([first[:, None], first[:, None] + (radix - back).cumsum(1)], dim=1)
    points, corner = torch.unique(keys, return_inverse=True)
    by_rank = torch.empty_like(part).scatter_(1, rank, part)
    weight = torch.cat(
        [1 + by_rank[:, -1:] - by_rank[:, :1], (by_rank[:, :-1] - by_rank[:, 1:]).flip(1)], 1
    )
    neighbours = []
    remains = points % (radix * v) >= radix
    for own in [*strides, 0]:
        # one step along the axis: all coordinates - 1, its own + d
        above = points + own + torch.where(remains, -radix, d * radix - sum(strides))
        neighbours.append(_lookup(points, above))
    return corner, weight, neighbours


def _simplex(
    feature: Float[Tensor, "m d"],
) -> tuple[Int[Tensor, "m v"], Int[Tensor, "m v"], Float[Tensor, "m v"]]:
    """The nearest lattice point of remainder 0, and the offset of each feature from it.

    Returns:
        Coordinates of the point divided by v; ranks of the offsets, 0 the largest; offsets divided
        by v, in [-1, 1].
    """
    d = feature.shape[1]
    v = d + 1
    index = torch.arange(v, device=feature.device, dtype=feature.dtype)
    width = torch.tensor(math.sqrt(2 / 3) * v).item()  # rounded to single precision
    scale = [1 / math.sqrt((i + 1) * (i + 2)) * width for i in range(d)]
    c = feature * torch.tensor(scale, device=feature.device)
    # summed from the end, one after another, as in the other engines: otherwise features on the
    # border of two simplices could fall into different ones
    sums = [torch.zeros_like(c[:, 0])]
    for i in range(d - 1, -1, -1):
        sums.append(sums[-1] + c[:, i])
    behind = torch.stack(sums[::-1], dim=1)
    elevated = torch.cat([behind[:, :1], behind[:, 1:] - index[1:] * c], dim=1)
    base = (elevated * torch.tensor(1 / v).item()).round()
    part = elevated - base * v
    order = part.argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1) + base.sum(1, keepdim=True).long()
    turn = (rank < 0).long() - (rank > d).long()
    return base.long() + turn, rank + turn * v, (part - turn * v) / v


def _lookup(
    points: Int[Tensor, "k"], above: Int[Tensor, "k"]
) -> tuple[Int[Tensor, "k"], Int[Tensor, "k"]]:
    """Index of each key in the sorted `points`, and the inverse index; k where there is none."""
    k = len(points)
    index = torch.searchsorted(points, above).clamp(max=k - 1)
    hit = points[index] == above
    before = torch.where(hit, index, k)
    behind = torch.full_like(before, k)
    behind[index[hit]] = torch.nonzero(hit).squeeze(1)
    return before, behind
