"""Segments of boxes by GrabCut, and what many slightly different runs of it agree upon.

The paper's GrabCut+ takes the cost of edges from a learned boundary detector (HED), and its best
labels take part in MCG's object proposals; neither is to be had here. These are OpenCV's GrabCut,
whose edges are those of colour, and the paper's perturbation around it.

Letters: n boxes, H W an image, h w a part of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from wsss_lightning.errors import InputError
from wsss_lightning.methods.simple_does_it.boxes import Window, painting_order, windows
from wsss_lightning.ops.masks import IGNORE

COMPONENTS = 5
"""Gaussians of each of GrabCut's colour models, which want a pixel each."""


def paint_grabcut(
    boxes: Float[Tensor, "n 5"],
    image: UInt8[Tensor, "H W 3"],
    iterations: int,
    context: float | None,
    min_fill: float,
) -> UInt8[Tensor, "H W"]:
    """Each box filled with its GrabCut segment, the smaller box in front; background elsewhere.

    Args:
        iterations: of GrabCut.
        context: width of the region around a box that counts as background, in sides of the box;
            None: the whole image.
        min_fill: a segment that fills less of its box gives way to the box, in [0, 1].

    Source: Khoreva et al. 2017, sec. 3.2, GrabCut.
    """
    pixels = np.ascontiguousarray(image.numpy())
    labels = np.zeros(pixels.shape[:2], np.uint8)
    found = windows(boxes, *pixels.shape[:2])
    for i in painting_order(boxes, *pixels.shape[:2]):
        window = found[i]
        place = labels[window.rows, window.columns]
        inside = grabcut(pixels, window, iterations, context)[window.rows, window.columns]
        if inside.size and inside.mean() < min_fill:
            inside[:] = True
        place[inside] = window.label
    return torch.from_numpy(labels)


def paint_agreement(
    boxes: Float[Tensor, "n 5"],
    image: UInt8[Tensor, "H W 3"],
    iterations: int,
    runs: int,
    jitter: float,
    context: Sequence[float],
    agree: Sequence[float],
    min_fill: float,
) -> UInt8[Tensor, "H W"]:
    """What perturbed GrabCut runs agree upon; ignored where they do not.

    A pixel of a box has its class where at least the upper share of the runs call it foreground,
    stays as it is behind the box where fewer than the lower share do, and is ignored in between.
    Where less than `least` of a box is class or ignored, the box is filled with its class.

    Args:
        iterations: of GrabCut.
        runs: of each box, 150 in the paper.
        jitter: each coordinate moves by up to this share of its side, uniformly.
        context: range of the width of the region that counts as background, in sides of the box.
        agree: lower and upper share, in [0, 1].

    Source: Khoreva et al. 2017, sec. 3.2, GrabCut+^i, on plain GrabCut.
    """
    pixels = np.ascontiguousarray(image.numpy())
    labels = np.zeros(pixels.shape[:2], np.uint8)
    found = windows(boxes, *pixels.shape[:2])
    (low, high), (near, far) = agree, context
    for i in painting_order(boxes, *pixels.shape[:2]):
        window = found[i]
        # numbers of a box depend on the box alone, not on how many others there are
        rng = np.random.default_rng(
            [window.label, window.rows.start, window.columns.start, window.height, window.width]
        )
        votes = np.zeros((window.height, window.width))
        for _ in range(runs):
            moved = perturbed(window, pixels.shape[:2], jitter, rng)
            width = float(rng.uniform(near, far))
            segment = grabcut(pixels, moved, iterations, width)
            votes += segment[window.rows, window.columns]
        # a quotient is rounded as a share is, so that 7 of 10 are not fewer than 0.7
        sure, likely = (votes / runs >= share for share in (high, low))
        if likely.size and likely.mean() < min_fill:
            sure[:] = True
        place = labels[window.rows, window.columns]
        place[likely & ~sure] = IGNORE
        place[sure] = window.label
    return torch.from_numpy(labels)


def perturbed(
    window: Window, size: tuple[int, ...], jitter: float, rng: np.random.Generator
) -> Window:
    """A box whose sides moved by up to a share `jitter` of its width and height."""

    def moved(side: slice, end: int) -> slice:
        shift = rng.uniform(-jitter, jitter, 2) * (side.stop - side.start)
        start, stop = (int(v) for v in np.round(np.array([side.start, side.stop]) + shift))
        start = min(max(start, 0), end - 1)
        return slice(start, min(max(stop, start + 1), end))

    return Window(window.label, moved(window.rows, size[0]), moved(window.columns, size[1]))


def grabcut(
    image: UInt8[np.ndarray, "H W 3"], window: Window, iterations: int, context: float | None
) -> Bool[np.ndarray, "H W"]:
    """Foreground of a box by GrabCut (Rother et al. 2004), never outside of it.

    All of the box is foreground where there is too little to tell from: fewer pixels inside, or
    fewer around it, than the colour models have Gaussians.
    """
    cv2 = opencv()
    segment = np.zeros(image.shape[:2], bool)
    rows, columns = (
        _widened(side, context, end)
        for side, end in zip((window.rows, window.columns), image.shape[:2], strict=True)
    )
    guess = np.full(image.shape[:2], cv2.GC_BGD, np.uint8)
    guess[window.rows, window.columns] = cv2.GC_PR_FGD
    guess = np.ascontiguousarray(guess[rows, columns])
    around, inside = int((guess == cv2.GC_BGD).sum()), window.height * window.width
    if min(around, inside) < COMPONENTS:
        segment[window.rows, window.columns] = True
        return segment
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # the colour models begin with a random clustering
    part = np.ascontiguousarray(image[rows, columns])
    cv2.grabCut(part, guess, None, *models, iterations, cv2.GC_INIT_WITH_MASK)
    segment[rows, columns] = (guess == cv2.GC_FGD) | (guess == cv2.GC_PR_FGD)
    return segment


def opencv() -> Any:
    """The module `cv2`.

    Raises:
        InputError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            f"GrabCut needs OpenCV ({error}); install it by pip install opencv-python-headless, or "
            "take other labels (box_labels=paint)."
        ) from error
    return cv2


def _widened(side: slice, context: float | None, end: int) -> slice:
    if context is None:
        return slice(0, end)
    more = max(1, round(context * (side.stop - side.start)))
    return slice(max(0, side.start - more), min(end, side.stop + more))
