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

from wsss_lightning.densecrf import exact, native, pydensecrf_engine, torch_lattice
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.errors import InputError, did_you_mean

ENGINES: Final = ("auto", "native", "torch", "pydensecrf", "exact")


def mean_field(
    image: UInt8[Tensor, "H W 3"] | UInt8[np.ndarray, "H W 3"],
    unary: Float[Tensor, "l H W"] | Float[np.ndarray, "l H W"],
    parameters: CRFParameters | str,
    engine: str = "auto",
) -> Float[Tensor, "l H W"] | Float[np.ndarray, "l H W"]:
    """Q <- softmax(-unary + sum_m w_m D^-1/2 K_m D^-1/2 Q), `iterations` times.

    The compatibility is the Potts model. Kernels include the self term.

    Args:
        image: RGB, levels 0..255.
        unary: energy of each label, -log of its probability.
        parameters: kernel widths and weights, and the number of iterations; or the name of a
            preset, such as `psa`.
        engine: `native`: compiled loops on the permutohedral lattice. `torch`: the same lattice on
            any device, differentiable in `unary`. `pydensecrf`: the reference library. `exact`:
            full kernel matrices, for small images. `auto`: `torch` for tensors on an accelerator
            or with gradients, else `native`, or `torch` where there is no C++ compiler.

    Returns:
        Marginals in [0, 1], float32, sum 1 over l; array or tensor, as `unary` is.

    Raises:
        ValueError: the engine is unknown or not available on this machine; the image is not uint8
            RGB; sizes differ; the unary is not finite; a kernel is too narrow for the image.
        EngineError: the process of pydensecrf ended.

    Source: Kraehenbuehl & Koltun 2011, algorithm 1; normalisation and lattice of pydensecrf.
    """
    if isinstance(parameters, str):
        parameters = CRFParameters.preset(parameters)
    marginal = mean_field_batch([_tensor(image)], [_tensor(unary)], parameters, engine)[0]
    return marginal.numpy() if isinstance(unary, np.ndarray) else marginal


def mean_field_batch(
    images: Sequence[UInt8[Tensor, "_ _ 3"]],
    unaries: Sequence[Float[Tensor, "_ _ _"]],
    parameters: CRFParameters,
    engine: str = "auto",
    threads: int = 1,
) -> list[Tensor]:
    """`mean_field` of n images, which may differ in size and in the number of labels.

    Args:
        images: as in `mean_field`.
        unaries: one for each image.
        parameters: as in `mean_field`.
        engine: as in `mean_field`.
        threads: number of threads of the engine `native`, each for one image. `torch` processes the
            batch at once, the other engines one image after another.

    Raises:
        ValueError: the numbers of images and unaries differ; otherwise as in `mean_field`.
    """
    if len(images) != len(unaries):
        raise ValueError(f"unaries must be as many as images, {len(images)}, got {len(unaries)}")
    for image, unary in zip(images, unaries, strict=True):
        _check(image, unary)
    if not images:
        return []
    energies = [unary.float() for unary in unaries]
    pixels = [image.to(e.device) for image, e in zip(images, energies, strict=True)]
    chosen = choose(engine, energies)
    if chosen == "native":
        return native.mean_field(pixels, energies, parameters, threads)
    run = {
        "torch": torch_lattice.mean_field,
        "pydensecrf": pydensecrf_engine.mean_field,
        "exact": exact.mean_field,
    }[chosen]
    return run(pixels, energies, parameters)


def choose(engine: str, unaries: Sequence[Float[Tensor, "_ _ _"]]) -> str:
    """The engine for these unaries; `auto` takes the fastest that fits.

    Raises:
        ValueError: there is no engine of this name.
    """
    if engine not in ENGINES:
        raise ValueError(
            f"engine must be one of {', '.join(ENGINES)}, got {engine}; "
            f"{did_you_mean(engine, ENGINES)}"
        )
    if engine != "auto":
        return engine
    if any(unary.device.type != "cpu" or unary.requires_grad for unary in unaries):
        return "torch"
    if native.unavailable() is None:
        return "native"
    warnings.warn(
        f"the CRF uses the engine torch, about ten times slower than native: "
        f"{native.unavailable()}",
        stacklevel=2,
    )
    return "torch"


def _check(image: Tensor, unary: Tensor) -> None:
    if image.dtype != torch.uint8 or image.shape[2:] != (3,):
        # a cast to uint8 would wrap the levels of a normalised image
        raise InputError(
            f"image must be uint8 RGB (H W 3) with levels 0..255, got {image.dtype} of shape "
            f"{tuple(image.shape)}"
        )
    if unary.dim() != 3 or unary.shape[1:] != image.shape[:2]:
        raise InputError(
            f"unary must have the {tuple(image.shape[:2])} pixels of the image, got "
            f"{tuple(unary.shape[1:])}; resize the scores to the image"
        )
    if unary.numel() == 0:
        raise InputError(
            f"unary must have at least one label and one pixel, got the shape {tuple(unary.shape)}"
        )
    if not unary.isfinite().all():
        raise InputError(
            "unary must be finite, got NaN or infinite values; clip scores before the logarithm"
        )


def _tensor(values: np.ndarray | Tensor) -> Tensor:
    if isinstance(values, Tensor):
        return values
    # torch supports neither negative strides nor read-only memory
    contiguous = np.ascontiguousarray(values)
    return torch.from_numpy(contiguous if contiguous.flags.writeable else contiguous.copy())
