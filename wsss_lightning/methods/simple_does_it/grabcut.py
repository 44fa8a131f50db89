"""Segments of boxes by GrabCut, and the agreement of several perturbed runs.

The paper's GrabCut+ takes edge costs from a learned boundary detector (HED), and its best labels
also use MCG's object proposals. This package has neither: it uses OpenCV's GrabCut, whose edges
come from colour, with the paper's perturbation.

Letters: n boxes, H W an image, h w a part of it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Len, Predicate
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from wsss_lightning.errors import InputError
from wsss_lightning.methods.simple_does_it.boxes import Window, painting_order, windows
from wsss_lightning.ops.masks import IGNORE

COMPONENTS = 5
"""Number of Gaussians of each colour model of GrabCut; each needs at least one pixel."""


def paint_grabcut(
    boxes: Float[Tensor, "n 5"],
    image: UInt8[Tensor, "H W 3"],
    iterations: Annotated[int, Ge(1)],
    context: Annotated[float, Gt(0)] | None,
    min_fill: Annotated[float, Ge(0), Le(1), "0.15 is usual"],
) -> UInt8[Tensor, "H W"]:
    """Each box filled with its GrabCut segment, smaller boxes in front; background elsewhere.

    Args:
        boxes: boxes of the image.
        image: RGB, levels 0..255.
        iterations: number of iterations of GrabCut, 1 or more.
        context: width of the background region around a box, in sides of the box; None: the whole
            image.
        min_fill: if the segment fills less of its box, the whole box is filled; in [0, 1].

    Source: Khoreva et al. 2017, sec. 3.2, GrabCut.
    """
    pixels = np.ascontiguousarray(image.numpy())
    labels = np.zeros(pixels.shape[:2], np.uint8)
    box_windows = windows(boxes, *pixels.shape[:2])
    for i in painting_order(boxes, *pixels.shape[:2]):
        window = box_windows[i]
        place = labels[window.rows, window.columns]
        inside = grabcut(pixels, window, iterations, context)[window.rows, window.columns]
        if inside.size and inside.mean() < min_fill:
            inside[:] = True
        place[inside] = window.label
    return torch.from_numpy(labels)


def _is_ascending(values: Sequence[float]) -> bool:
    return list(values) == sorted(values)


T = TypeVar("T")
Range = Annotated[Sequence[T], Len(2, 2), Predicate(_is_ascending)]
Share = Annotated[float, Ge(0), Le(1)]


def paint_agreement(
    boxes: Float[Tensor, "n 5"],
    image: UInt8[Tensor, "H W 3"],
    iterations: Annotated[int, Ge(1)],
    runs: Annotated[int, Ge(1), "the paper has 150"],
    jitter: Annotated[float, Ge(0), Le(1), "the paper has 0.05"],
    context: Annotated[Range[Annotated[float, Gt(0)]], "the smaller first, such as [0.1, 0.6]"],
    agree: Annotated[Range[Share], "the smaller first, such as [0.2, 0.7]"],
    min_fill: Annotated[float, Ge(0), Le(1), "0.15 is usual"],
) -> UInt8[Tensor, "H W"]:
    """Labels on which perturbed GrabCut runs agree; ignored elsewhere.

    A pixel of a box has its class where at least the upper share of the runs label it foreground.
    It keeps its previous label where less than the lower share do, and is ignored in
    between. If less than `min_fill` of a box is class or ignored, the whole box has its class.

    Args:
        boxes: boxes of the image.
        image: RGB, levels 0..255.
        iterations: number of iterations of GrabCut, 1 or more.
        runs: number of runs for each box, 1 or more; 150 in the paper.
        jitter: largest change of each coordinate, uniform, as a share of its side in [0, 1].
        context: range of the width of the background region, in sides of the box, above 0.
        agree: lower and upper share, in [0, 1].
        min_fill: as in `paint_grabcut`.

    Source: Khoreva et al. 2017, sec. 3.2, GrabCut+^i, on plain GrabCut.
    """
    pixels = np.ascontiguousarray(image.numpy())
    labels = np.zeros(pixels.shape[:2], np.uint8)
    box_windows = windows(boxes, *pixels.shape[:2])
    (low, high), (near, far) = agree, context
    for i in painting_order(boxes, *pixels.shape[:2]):
        window = box_windows[i]
        # random numbers depend on the box alone, not on the number of boxes
        rng = np.random.default_rng(
            [window.label, window.rows.start, window.columns.start, window.height, window.width]
        )
        votes = np.zeros((window.height, window.width))
        for _ in range(runs):
            moved = perturbed(window, pixels.shape[:2], jitter, rng)
            width = float(rng.uniform(near, far))
            segment = grabcut(pixels, moved, iterations, width)
            votes += segment[window.rows, window.columns]
        # compare quotients, so that 7 of 10 are not less than 0.7
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
    """A box with each side moved by up to a share `jitter` of its width or height.

    Args:
        window: the box.
        size: height and width of the image.
        jitter: largest change of a side, as a share of its width or height.
        rng: source of random numbers.
    """

    def moved(side: slice, end: int) -> slice:
        shift = rng.uniform(-jitter, jitter, 2) * (side.stop - side.start)
        start, stop = (int(v) for v in np.round(np.array([side.start, side.stop]) + shift))
        start = min(max(start, 0), end - 1)
        return slice(start, min(max(stop, start + 1), end))

    return Window(window.label, moved(window.rows, size[0]), moved(window.columns, size[1]))


def grabcut(
    image: UInt8[np.ndarray, "H W 3"], window: Window, iterations: int, context: float | None
) -> Bool[np.ndarray, "H W"]:
    """Foreground of a box by GrabCut (Rother et al. 2004), inside the box only.

    The whole box is foreground if the colour models have more Gaussians than there are pixels
    inside the box or around it.

    Args:
        image: RGB, levels 0..255.
        window: the box.
        iterations: number of iterations, 1 or more.
        context: width of the background region around the box, in sides of the box; None: the whole
            image.
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
    cv2.setRNGSeed(0)  # the colour models are initialised by a random clustering
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
            f"GrabCut needs OpenCV ({error}); run pip install opencv-python-headless, or choose "
            "labels without GrabCut (box_labels=paint)."
        ) from error
    return cv2


def _widened(side: slice, context: float | None, end: int) -> slice:
    if context is None:
        return slice(0, end)
    more = max(1, round(context * (side.stop - side.start)))
    return slice(max(0, side.start - more), min(end, side.stop + more))
