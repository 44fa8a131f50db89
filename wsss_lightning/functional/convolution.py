"""3x3 convolutions with fewer multiplications: Winograd's, for wide layers on a CPU.

Letters: b images, d channels, h w a map; t = tiles of 4 x 4 outputs, which see 6 x 6 inputs.
"""

from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

OUT, SEEN = 4, 6  # sides of a tile's outputs and inputs
# Lavin & Gray 2016, F(4, 3): y = A^T [(G g) * (B^T d)] of six inputs d, three weights g
B_T = (
    (4.0, 0.0, -5.0, 0.0, 1.0, 0.0),
    (0.0, -4.0, -4.0, 1.0, 1.0, 0.0),
    (0.0, 4.0, -4.0, -1.0, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 2.0, -1.0, -2.0, 1.0, 0.0),
    (0.0, 4.0, 0.0, -5.0, 0.0, 1.0),
)
G = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
A_T = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 2.0, -2.0, 0.0),
    (0.0, 1.0, 1.0, 4.0, 4.0, 0.0),
    (0.0, 1.0, -1.0, 8.0, -8.0, 1.0),
)


def conv3x3(
    maps: Float[Tensor, "b d h w"], weight: Float[Tensor, "n d 3 3"], dilation: int
) -> Float[Tensor, "b n h w"]:
    """F.conv2d(maps, weight, padding=dilation, dilation=dilation), in a quarter of the products.

    Where the map is large and the layer wide on a CPU, tiles of the map are brought to a basis in
    which the convolution is 36 matrix products, and back (gradients likewise); elsewhere it is
    F.conv2d. In single precision both differ from the exact sum by rounding, Winograd's by some
    1e-6 of the largest value.

    Args:
        maps: any size.
        weight: of n filters.
        dilation: pixels between a filter's taps; the map is taken apart into its dilation ** 2
            phases, on which the convolution is a plain one.

    Source: Lavin & Gray 2016, "Fast algorithms for convolutional neural networks".
    """
    if maps.device.type == "cpu" and _pays(maps, weight, dilation):
        return _Winograd.apply(maps, weight, dilation)
    return F.conv2d(maps, weight, padding=dilation, dilation=dilation)


def _pays(maps: Tensor, weight: Tensor, dilation: int) -> bool:
    """Fewer than half the products, in matrices large enough for transforms to weigh little."""
    b, d, h, w = maps.shape
    tiles = b * dilation**2 * _tiles(h, dilation) * _tiles(w, dilation)
    return min(d, len(weight)) >= 256 and tiles >= 96 and 2 * 36 * tiles < 9 * b * h * w


def _tiles(side: int, dilation: int) -> int:
    return -(-side // (dilation * OUT))


@final
class _Winograd(torch.autograd.Function):
    """Filters go in blocks: fresh memory costs more than the products that fill it."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.dilation = dilation
        (b, d), n, phases = maps.shape[:2], len(weight), dilation**2
        rows, columns = (_tiles(side, dilation) for side in maps.shape[-2:])
        seen, back = _to_basis(maps, dilation), _square(A_T, maps)
        out = maps.new_empty(b * phases, rows, OUT, columns, OUT, n)
        parts = _blocks(n, d)
        basis, products = _scratch(maps, parts, d), _scratch(maps, parts, seen.shape[1])
        for part in parts:
            size = part.stop - part.start
            filters = _weights(weight[part], basis)
            product = products[: 36 * size * seen.shape[1]].view(36, seen.shape[1], size)
            for i in range(36):  # batched products are half as fast on some processors
                torch.mm(seen[i], filters[i].T, out=product[i])
            tiles = (back @ product.flatten(1)).view(OUT, OUT, -1, rows, columns, size)
            out[..., part] = tiles.permute(2, 3, 0, 4, 1, 5)
        return _unphased(out.view(b * phases, rows * OUT, columns * OUT, n), maps.shape, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        maps, weight = ctx.saved_tensors
        n, d, dilation = len(weight), maps.shape[1], ctx.dilation
        to_maps, to_weight, _ = ctx.needs_input_grad
        of_weight = torch.empty_like(weight) if to_weight else None
        seen = _to_basis(maps, dilation) if to_weight else None
        parts, forth = _blocks(n, d), _square(A_T, maps).T.contiguous()
        basis, products = _scratch(maps, parts, d), _scratch(maps, parts, d)
        of_seen: Tensor | None = None
        for part in parts:
            size = part.stop - part.start
            tiles = _to_tiles(gradient[:, part], dilation)
            slope = (forth @ tiles.flatten(1)).view(36, -1, size)
            if of_weight is not None and seen is not None:
                product = products[: 36 * size * d].view(36, size, d)
                for i in range(36):
                    torch.mm(slope[i].T, seen[i], out=product[i])
                small = _square(G, product).T @ product.flatten(1)
                of_weight[part] = small.view(3, 3, size, d).permute(2, 3, 0, 1)
            if to_maps:
                filters = _weights(weight[part], basis)
                if of_seen is None:
                    of_seen = maps.new_empty(36, slope.shape[1], d)
                for i in range(36):
                    beta = 0 if part.start == 0 else 1
                    torch.addmm(of_seen[i], slope[i], filters[i], beta=beta, out=of_seen[i])
        of_maps = None
        if of_seen is not None:
            patches = (_square(B_T, of_seen).T @ of_seen.flatten(1)).view(of_seen.shape)
            of_maps = _add_patches(patches, maps.shape, dilation)
        return of_maps, of_weight, None


def _blocks(n: int, d: int) -> list[slice]:
    """Of n filters over d channels: some 40 MB in the basis each."""
    size = max(1, 2**18 // d)
    return [slice(start, min(n, start + size)) for start in range(0, n, size)]


def _scratch(like: Tensor, parts: list[slice], rest: int) -> Tensor:
    """Memory for 36 matrices of a block, which all blocks use."""
    return like.new_empty(36 * parts[0].stop * rest)


def _square(one: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """The transform of a square, row-wise flattened, from that of a line."""
    line = torch.tensor(one, dtype=like.dtype)
    return torch.kron(line, line)


def _weights(weight: Tensor, scratch: Tensor) -> Tensor:
    """(n d 3 3) -> (36 n d), a small piece at a time and into memory that is there already."""
    n, d = weight.shape[:2]
    flat = weight.permute(2, 3, 0, 1).reshape(9, n * d)
    out, transform = scratch[: 36 * n * d].view(36, n * d), _square(G, weight)
    for start in range(0, n * d, 16384):
        piece = slice(start, start + 16384)
        torch.mm(transform, flat[:, piece], out=out[:, piece])
    return out.view(36, n, d)


def _phases(maps: Tensor, dilation: int, rim: int) -> Tensor:
    """(b d h w) -> (b * dilation**2, height, width, d), padded to whole tiles and by `rim`."""
    h, w = (dilation * OUT * _tiles(side, dilation) for side in maps.shape[-2:])
    pad = (0, w - maps.shape[-1], 0, h - maps.shape[-2])
    if dilation == 1:
        right = (rim, rim + pad[1], rim, rim + pad[3])
        return F.pad(maps.permute(0, 2, 3, 1), (0, 0, *right))
    whole = F.pad(maps.permute(0, 2, 3, 1), (0, 0, *pad))
    split = whole.view(len(maps), h // dilation, dilation, w // dilation, dilation, -1)
    split = split.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    return F.pad(split, (0, 0, rim, rim, rim, rim))


def _unphased(split: Tensor, shape: torch.Size, dilation: int) -> Tensor:
    """(b * dilation**2, height, width, n) -> (b n h w), cut to size."""
    b, (h, w) = shape[0], shape[-2:]
    height, width, n = split.shape[1:]
    whole = split.reshape(b, dilation, dilation, height, width, n)
    whole = whole.permute(0, 3, 1, 4, 2, 5).reshape(b, height * dilation, width * dilation, n)
    return whole[:, :h, :w].permute(0, 3, 1, 2)


def _patches(split: Tensor) -> Tensor:
    """A view (6 6 b' rows columns d) of all 6 x 6 patches, 4 pixels apart."""
    rows, columns = ((side - 2) // OUT for side in split.shape[1:3])
    s = split.stride()
    shape = (SEEN, SEEN, len(split), rows, columns, split.shape[-1])
    return split.as_strided(shape, (s[1], s[2], s[0], OUT * s[1], OUT * s[2], s[3]))


def _to_basis(maps: Tensor, dilation: int) -> Tensor:
    """(b d h w) -> (36 t d)."""
    patches = _patches(_phases(maps, dilation, 1)).reshape(36, -1)
    return (_square(B_T, maps) @ patches).view(36, -1, maps.shape[1])


def _to_tiles(maps: Tensor, dilation: int) -> Tensor:
    """(b n h w) -> (16 t n)."""
    split = _phases(maps, dilation, 0)
    b, h, w, n = split.shape
    tiles = split.view(b, h // OUT, OUT, w // OUT, OUT, n).permute(2, 4, 0, 1, 3, 5)
    return tiles.reshape(16, -1, n)


def _add_patches(patches: Tensor, shape: torch.Size, dilation: int) -> Tensor:
    """(36 t d) -> (b d h w), the adjoint of taking patches: what they share is added up."""
    rows, columns = (_tiles(side, dilation) for side in shape[-2:])
    count = shape[0] * dilation**2
    split = patches.new_zeros(count, rows * OUT + 2, columns * OUT + 2, shape[1])
    each = patches.view(SEEN, SEEN, count, rows, columns, shape[1])
    for i in range(SEEN):
        for j in range(SEEN):
            bottom, right = i + OUT * rows, j + OUT * columns
            split[:, i:bottom:OUT, j:right:OUT] += each[i, j]
    return _unphased(split[:, 1:-1, 1:-1], shape, dilation)
