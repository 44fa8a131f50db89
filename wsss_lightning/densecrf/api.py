"""Mean-field inference: one interface, several engines.

Letters: n images, l labels, H W an image.
"""

import warnings
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from wsss_lightning.densecrf import exact, lattice, native
from wsss_lightning.densecrf import pydensecrf_engine as reference
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.errors import InputError, did_you_mean

ENGINES: Final = ("auto", "native", "torch", "pydensecrf", "exact")


def mean_field(
    image: UInt8[Tensor, "H W 3"] | UInt8[np.ndarray, "H W 3"],
    unary: Float[Tensor, "l H W"] | Float[np.ndarray, "l H W"],
    parameters: CRFParameters,
    engine: str = "auto",
) -> Float[Tensor, "l H W"] | Float[np.ndarray, "l H W"]:
    """Q <- softmax(-unary + sum_m w_m D^-1/2 K_m D^-1/2 Q), `iterations` times.

    The Potts model charges different labels (mu is 1 for them), which adds w K Q for the own label.
    Kernels hold the self term.

    Args:
        image: RGB, levels 0..255.
        unary: energy of each label, -log of its probability.
        engine: `native`, compiled loops on the permutohedral lattice; `torch`, the same lattice on
            any device, differentiable in `unary`; `pydensecrf`, the reference; `exact`, whole
            kernels, for small images; `auto`, `torch` for tensors that lie on an accelerator or
            need gradients, else `native`, which without a C++ compiler is `torch` too.

    Returns:
        Marginals in [0, 1], float32, sum 1 over l; array or tensor, as `unary` is.

    Raises:
        InputError: the image is not of uint8 RGB, sizes differ, the unary is not finite, a kernel
            is too narrow for the image, or the engine is unknown or not to be had here.
        EngineError: pydensecrf took its process down.

    Source: Kraehenbuehl & Koltun 2011, algorithm 1; normalisation and lattice of pydensecrf.
    """
    marginal = mean_field_batch([_tensor(image)], [_tensor(unary)], parameters, engine)[0]
    return marginal.numpy() if isinstance(unary, np.ndarray) else marginal


def mean_field_batch(
    images: Sequence[UInt8[Tensor, "_ _ 3"]],
    unaries: Sequence[Float[Tensor, "_ _ _"]],
    parameters: CRFParameters,
    engine: str = "auto",
    threads: int = 1,
) -> list[Tensor]:
    """`mean_field` of n images, which may differ in size and in labels.

    Args:
        threads: of the engine `native`, one image each; the others go image by image, or (`torch`)
            take the whole batch at once.
    """
    if len(images) != len(unaries):
        raise InputError(f"there are {len(images)} images but {len(unaries)} unaries.")
    for image, unary in zip(images, unaries, strict=True):
        _check(image, unary)
    if not images:
        return []
    energies = [unary.float() for unary in unaries]
    pictures = [image.to(e.device) for image, e in zip(images, energies, strict=True)]
    chosen = choose(engine, energies)
    if chosen == "native":
        return native.mean_field(pictures, energies, parameters, threads)
    run = {
        "torch": lattice.mean_field,
        "pydensecrf": reference.mean_field,
        "exact": exact.mean_field,
    }[chosen]
    return run(pictures, energies, parameters)


def choose(engine: str, unaries: Sequence[Float[Tensor, "_ _ _"]]) -> str:
    """The engine that `auto` stands for, given what it has to work on."""
    if engine not in ENGINES:
        raise InputError(f"crf.engine is {engine}; {did_you_mean(engine, ENGINES)}")
    if engine != "auto":
        return engine
    if any(unary.device.type != "cpu" or unary.requires_grad for unary in unaries):
        return "torch"
    if native.reason_why_not() is None:
        return "native"
    warnings.warn(
        f"the CRF runs on torch, about ten times slower than compiled: {native.reason_why_not()}",
        stacklevel=2,
    )
    return "torch"


def _check(image: Tensor, unary: Tensor) -> None:
    if image.dtype != torch.uint8 or image.shape[2:] != (3,):
        # cast to uint8, levels of a normalised image would wrap round
        raise InputError(
            f"the image is {image.dtype} of shape {tuple(image.shape)}; give uint8 RGB (H W 3), "
            "levels 0..255."
        )
    if unary.dim() != 3 or unary.shape[1:] != image.shape[:2]:
        raise InputError(
            f"the unary has {tuple(unary.shape[1:])} pixels, but the image "
            f"{tuple(image.shape[:2])}; resize the scores to the image."
        )
    if unary.numel() == 0:
        raise InputError(
            f"the unary has the shape {tuple(unary.shape)}; give at least one label and one pixel."
        )
    if not unary.isfinite().all():
        raise InputError(
            "the unary holds NaN or infinite values; clip scores before the logarithm."
        )


def _tensor(values: np.ndarray | Tensor) -> Tensor:
    if isinstance(values, Tensor):
        return values
    # torch knows neither negative strides nor read-only memory
    contiguous = np.ascontiguousarray(values)
    return torch.from_numpy(contiguous if contiguous.flags.writeable else contiguous.copy())
