"""Comparison of an exported network with the trained one.

Letters: b images, c classes, k = c + 1 labels with background first, H W an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lightning.errors import InputError
from wsss_lightning.export.files import Run
from wsss_lightning.export.network import ExportNetwork
from wsss_lightning.predict.images import find_photos

TOLERANCE: Final = 1e-4
"""Largest difference of an output, in units of its largest absolute value or of 1."""

EQUAL_PIXELS: Final = 0.999
"""Least share of pixels with equal labels."""

LABELLED: Final = ("logits", "probabilities", "mask")  # outputs with a label at each pixel


@dataclass(frozen=True)
class Agreement:
    """How well the outputs of both networks agree for one batch.

    Args:
        shape: b, H and W of the batch.
        differences: largest absolute difference of each output, without masks.
        allowed: tolerance of each of them.
        equal_pixels: share of pixels with equal labels; None for classifiers.
    """

    shape: tuple[int, int, int]
    differences: dict[str, float]
    allowed: dict[str, float]
    equal_pixels: float | None

    @property
    def passes(self) -> bool:
        """Whether all differences are allowed; NaN is none of these."""
        near = all(value <= self.allowed[name] for name, value in self.differences.items())
        return near and (self.equal_pixels is None or self.equal_pixels >= EQUAL_PIXELS)

    def __str__(self) -> str:
        parts = [
            f"{name} differ by at most {value:.2g} (allowed {self.allowed[name]:.2g})"
            for name, value in self.differences.items()
        ]
        if self.equal_pixels is not None:
            parts.append(f"{100 * self.equal_pixels:.3f} % of pixels have equal labels")
        return f"{' x '.join(map(str, self.shape))}: {', '.join(parts)}"


def sample_batches(
    size: tuple[int, int], fixed_size: bool, photos: Any = None, seed: int = 0
) -> list[Tensor]:
    """Batches (b 3 H W) in [0, 1] for the comparison.

    Their sizes are: multiples of 32 near `size`; and two images larger by about 11 and 21 pixels,
    no multiples. With a fixed size, one image of that size.

    Args:
        size: height and width in pixels.
        fixed_size: only this size.
        photos: images as `Predictor` takes them, resized to these sizes; None: random colours at
            several scales.
        seed: of the random colours.

    Raises:
        InputError: a photo cannot be read.
    """
    shapes: list[tuple[int, ...]] = [(1, *size)]
    if not fixed_size:
        rounded = tuple(max(2, round(side / 32)) * 32 for side in size)
        shapes = [(1, *rounded), (2, rounded[0] + 11, rounded[1] + 21)]
    if photos is None:
        return [_random_images(shape, seed + i) for i, shape in enumerate(shapes)]
    read = [photo.read() for photo in find_photos(photos)]
    batches, place = [], 0
    for count, *sides in shapes:
        chosen = [read[(place + i) % len(read)][None] for i in range(count)]
        place += count
        resized = [F.interpolate(one, sides, mode="bilinear", antialias=True) for one in chosen]
        batches.append(torch.cat(resized).clamp(0, 1))
    return batches


def _random_images(shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    count, *sides = shape
    image = torch.zeros(count, 3, *sides)
    for cells in (3, 12, 48):
        colours = torch.rand(count, 3, cells, cells, generator=generator)
        image += F.interpolate(colours, sides, mode="bilinear")
    return image / 3


def verify(network: ExportNetwork, run: Run, batches: Sequence[Tensor]) -> list[Agreement]:
    """Compare an exported network with the trained one.

    Args:
        network: the trained network.
        run: the exported network.
        batches: images (b 3 H W) in [0, 1].

    Raises:
        InputError: the exported network fails or differs, or the trained one has infinite outputs.
    """
    agreements = []
    for batch in batches:
        count, _, height, width = batch.shape
        image = network.to_input(batch)
        with torch.no_grad():
            expected = network(image)
        if not all(output.isfinite().all() for output in expected if output.is_floating_point()):
            raise InputError(
                f"the outputs of the network for {count} x {height} x {width} pixels are not "
                "finite, so that no export can be verified; train it again."
            )
        try:
            with torch.no_grad():
                outputs = run(image)
        except Exception as error:  # each runtime has its own
            cause = str(error).strip().partition("\n")[0]
            raise InputError(
                f"the exported network fails for {count} x {height} x {width} pixels ({cause}); "
                "nothing was written. --fixed-size with --size HEIGHT WIDTH may be possible."
            ) from error
        agreement = compare(network, expected, outputs, (count, height, width))
        if not agreement.passes:
            raise InputError(
                f"the exported network differs from the trained one; nothing was written. "
                f"{agreement}; at least {100 * EQUAL_PIXELS} % are required. This is a defect of "
                "the exporter: try another --format, --opset or torch version."
            )
        agreements.append(agreement)
    return agreements


def compare(
    network: ExportNetwork,
    expected: Sequence[Tensor],
    outputs: Sequence[Tensor],
    shape: tuple[int, int, int],
) -> Agreement:
    """Compare the outputs for one batch.

    Args:
        network: the trained network.
        expected: its outputs.
        outputs: those of the exported network.
        shape: b, H and W of the batch.

    Raises:
        InputError: number, shape or type of the outputs differ.
    """
    signatures = [[(tuple(one.shape), one.dtype) for one in both] for both in (expected, outputs)]
    if signatures[0] != signatures[1]:
        raise InputError(
            f"the exported network has outputs {signatures[1]}, but the trained one has "
            f"{signatures[0]}; nothing was written."
        )
    differences, allowed, equal = {}, {}, None
    for name, ours, theirs in zip(network.outputs, expected, outputs, strict=True):
        if name != "mask":
            differences[name] = (ours - theirs).abs().max().item()
            allowed[name] = TOLERANCE * max(1.0, ours.abs().max().item())
        if network.segments and name in LABELLED:
            labels = [one if name == "mask" else one.argmax(1) for one in (ours, theirs)]
            share = (labels[0] == labels[1]).float().mean().item()
            equal = share if equal is None else min(equal, share)
    return Agreement(shape, differences, allowed, equal)
