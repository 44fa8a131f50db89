"""Networks as programs of torch.export, for images of any size.

Letters: b images, n channels, h w a map.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export import Dim, ExportedProgram

from wsss_lightning.errors import InputError
from wsss_lightning.export.network import ExportNetwork
from wsss_lightning.export.settings import MIN_SIDE
from wsss_lightning.methods.seam import network as seam
from wsss_lightning.methods.seam.correlation import EPS

OLDEST_TORCH = "2.9"
DEFERRED = "prefer_deferred_runtime_asserts_over_guards"
# of the traced image: no side equals the other or a multiple of a stride
TRACED = (2, 70, 109)


def check_torch() -> None:
    """Check that the installed PyTorch can export programs for images of any size.

    Raises:
        InputError: it is too old.
    """
    if DEFERRED not in inspect.signature(torch.export.export).parameters:
        raise InputError(
            f"exporting needs torch >= {OLDEST_TORCH}, but {torch.__version__} is installed; "
            f"pip install 'torch>={OLDEST_TORCH}', or choose --format safetensors, which needs no "
            "newer version"
        )


def export_program(network: ExportNetwork, size: tuple[int, int] | None) -> ExportedProgram:
    """Trace a network.

    Args:
        network: the network.
        size: height and width of every image, one per batch; None: any number of images, of any
            size from `MIN_SIDE` pixels.

    Raises:
        InputError: PyTorch is too old, or cannot trace the network.
    """
    check_torch()
    shape = TRACED if size is None else (1, *size)
    image = network.to_input(torch.rand(shape[0], 3, *shape[1:]))
    deferred: Any = {DEFERRED: True}
    try:
        with torch.no_grad(), exportable_operations():
            program = torch.export.export(
                network,
                (image,),
                dynamic_shapes=dynamic_shapes(network) if size is None else None,
                strict=False,
                **deferred,
            )
    except Exception as error:  # of many types, of which only some are public
        cause = str(error).strip().partition("\n")[0]
        advice = "; --fixed-size with --size HEIGHT WIDTH may be possible" if size is None else ""
        raise InputError(
            f"torch.export cannot trace {type(network.module).__name__}: {cause}{advice}."
        ) from error
    return _without_size_assertions(program)


def dynamic_shapes(network: ExportNetwork) -> tuple[dict[int, Any]]:
    """Axes of the input that may have any length."""
    least = {"batch": 1, "height": MIN_SIDE, "width": MIN_SIDE}
    axes = enumerate(network.input_axes)
    return ({i: Dim(name, min=least[name]) for i, name in axes if isinstance(name, str)},)


def _without_size_assertions(program: ExportedProgram) -> ExportedProgram:
    """Remove assertions on sizes that tracing added.

    They come from choices that do not change values, such as whether a crop is contiguous, but
    would reject sizes unlike the traced one. `verify` runs programs at sizes of both kinds.
    """
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program


@contextmanager
def exportable_operations() -> Iterator[None]:
    """Replace operations that torch.export cannot trace for unknown sizes by equal ones.

    - `pad_same` of timm (EfficientNet and others): the maximum in each layer's padding makes
      expressions of sizes grow until tracing takes hours.
    - `adaptive_avg_pool2d` to several cells (PSPNet, UPerNet): its loops over cells become
      constants of the traced size, so that results for other sizes are wrong.
    - `pixel_correlation` of SEAM: its number of blocks depends on the size.
    """
    with ExitStack() as stack:
        for name in ("timm.layers.conv2d_same", "timm.layers.pool2d_same"):
            stack.enter_context(_replaced(import_module(name), "pad_same", pad_same))
        stack.enter_context(_replaced(F, "adaptive_avg_pool2d", adaptive_avg_pool2d))
        stack.enter_context(_replaced(seam, "pixel_correlation", pixel_correlation))
        yield


@contextmanager
def _replaced(module: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, function)
    try:
        yield
    finally:
        setattr(module, name, original)


def pad_same(
    image: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int] = (1, 1),
    value: float = 0,
) -> Tensor:
    """Pad (b n h w) so that a convolution returns ceil(side / stride) cells.

    timm's `pad_same` pads by max((ceil(side / stride) - 1) * stride + span - side, 0). The maximum
    has an effect only where the span of the kernel is below the stride.
    """
    amounts = []
    for side, kernel, step, rate in zip(
        image.shape[-2:], kernel_size, stride, dilation, strict=True
    ):
        span = rate * (kernel - 1) + 1
        total = step * ((side + step - 1) // step) + span - step - side
        if span < step:
            total = 0 if span == 1 else max(total, 0)
        amounts.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = amounts
    return F.pad(image, (left, right, top, bottom), value=value)


def adaptive_avg_pool2d(maps: Tensor, output_size: Any) -> Tensor:
    """Mean over cells of (b n h w), as `F.adaptive_avg_pool2d`, by two matrix products."""
    sizes = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if sizes == (1, 1):
        return maps.mean((-2, -1), keepdim=True)
    down, across = (
        None if cells is None else _cell_weights(cells, maps.shape[axis], maps)
        for axis, cells in zip((-2, -1), sizes, strict=True)
    )
    pooled = maps if down is None else down @ maps
    return pooled if across is None else pooled @ across.mT


def _cell_weights(cells: int, side: int, like: Tensor) -> Tensor:
    """Weight of each of `side` rows in each cell, (cells, side); each cell's sum is 1."""
    number = torch.arange(cells, device=like.device)[:, None]
    start = number * side // cells
    end = ((number + 1) * side + cells - 1) // cells
    row = torch.arange(side, device=like.device)
    return ((row >= start) & (row < end)).to(like) / (end - start)


def pixel_correlation(maps: Tensor, features: Tensor, block_mib: float) -> Tensor:
    """SEAM's `pixel_correlation` in one block.

    Args:
        maps: maps to propagate (b k h w).
        features: features (b d h w).
        block_mib: without effect.
    """
    unit = (features / (features.norm(dim=1, keepdim=True) + EPS)).flatten(2)
    affinity = (unit.mT @ unit).relu()
    return (maps.flatten(2) @ affinity / (affinity.sum(1, keepdim=True) + EPS)).view(maps.shape)
