"""Simple Does It: label maps from boxes, and relabelling of a network's predictions.

A box is (class 1..c, x0, y0, x1, y1) in pixels from 0, ends exclusive. Boxes are cropped to the
image; a box without a pixel in the image has no effect.

Letters: n boxes, k = c + 1 labels with background first, H W an image.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple

import torch
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from wsss_lightning.densecrf.unary import unary_from_scores
from wsss_lightning.ops.masks import IGNORE

Refine = Callable[..., Any]
"""A CRF: marginals (l H W) of an image (H W 3) from unary energies (l H W)."""


class Window(NamedTuple):
    """The pixels of a box in the image: `labels[window.rows, window.columns]`."""

    label: int
    rows: slice
    columns: slice

    @property
    def height(self) -> int:
        return self.rows.stop - self.rows.start

    @property
    def width(self) -> int:
        return self.columns.stop - self.columns.start


def windows(boxes: Float[Tensor, "n 5"], height: int, width: int) -> list[Window]:
    """The pixels of each box in the image, in the order of the boxes; coordinates are rounded.

    Args:
        boxes: boxes of the image.
        height: height of the image.
        width: width of the image.
    """
    clipped = []
    for label, x0, y0, x1, y1 in boxes.round().long().tolist():
        left, right = min(max(x0, 0), width), min(max(x1, 0), width)
        top, bottom = min(max(y0, 0), height), min(max(y1, 0), height)
        clipped.append(Window(label, slice(top, max(top, bottom)), slice(left, max(left, right))))
    return clipped


def painting_order(boxes: Float[Tensor, "n 5"], height: int, width: int) -> list[int]:
    """Indices of boxes from back to front: by descending area, equal ones in their order.

    Args:
        boxes: boxes of the image.
        height: height of the image.
        width: width of the image.
    """
    areas = [w.height * w.width for w in windows(boxes, height, width)]
    return sorted(range(len(areas)), key=lambda i: -areas[i])


def front_box(boxes: Float[Tensor, "n 5"], height: int, width: int) -> Int64[Tensor, "H W"]:
    """Index of the smallest box that covers each pixel; -1 outside of all boxes.

    Args:
        boxes: boxes of the image.
        height: height of the image.
        width: width of the image.
    """
    front = torch.full((height, width), -1)
    box_windows = windows(boxes, height, width)
    for i in painting_order(boxes, height, width):
        front[box_windows[i].rows, box_windows[i].columns] = i
    return front


def paint_boxes(boxes: Float[Tensor, "n 5"], image: UInt8[Tensor, "H W 3"]) -> UInt8[Tensor, "H W"]:
    """Each box filled with its class, smaller boxes in front; background elsewhere.

    Args:
        boxes: boxes of the image.
        image: only its size matters.

    Source: Khoreva et al. 2017, sec. 3.1, Box.
    """
    labels = torch.zeros(image.shape[:2], dtype=torch.uint8)
    box_windows = windows(boxes, *image.shape[:2])
    for i in painting_order(boxes, *image.shape[:2]):
        labels[box_windows[i].rows, box_windows[i].columns] = box_windows[i].label
    return labels


def core(window: Window, inner: float, of: str) -> Window:
    """The centre of a box, at least one pixel.

    Args:
        window: the box.
        inner: share of the centre, in (0, 1].
        of: what `inner` is a share of: `side`, width and height each; `area`, their product.
    """
    # exact decimal: 0.35 of 90 pixels is 31.5, not 31.499...
    factor = Fraction(str(inner)) if of == "side" else Fraction(math.sqrt(inner))

    def middle(side: slice) -> slice:
        length = side.stop - side.start
        kept = min(length, max(1, round(factor * length)))
        start = side.start + (length - kept) // 2
        return slice(start, start + kept)

    return Window(window.label, middle(window.rows), middle(window.columns))


def paint_cores(
    boxes: Float[Tensor, "n 5"],
    image: UInt8[Tensor, "H W 3"],
    inner: Annotated[float, Gt(0), Le(1), "the paper has 0.2"],
    of: Literal["side", "area"],
) -> UInt8[Tensor, "H W"]:
    """Box^i: the centre of a box has its class, the rest of the box is ignored.

    Boxes are filled from large to small, so a box in front also hides the centres of boxes behind
    it. Pixels outside of all boxes are background.

    Args:
        boxes: boxes of the image.
        image: only its size matters.
        inner: share of a box that has its class, in (0, 1].
        of: what `inner` is a share of, `side` or `area`; the paper's "20 %" can mean both.

    Source: Khoreva et al. 2017, sec. 3.1, Box^i; by side (margins of 0.4) in the public
    re-implementation.
    """
    labels = torch.zeros(image.shape[:2], dtype=torch.uint8)
    box_windows = windows(boxes, *image.shape[:2])
    for i in painting_order(boxes, *image.shape[:2]):
        window = box_windows[i]
        if window.height and window.width:
            labels[window.rows, window.columns] = IGNORE
            centre = core(window, inner, of)
            labels[centre.rows, centre.columns] = centre.label
    return labels


def possible_labels(
    boxes: Float[Tensor, "n 5"], num_labels: int, height: int, width: int, class_wise: bool
) -> Bool[Tensor, "k H W"]:
    """Which labels a pixel may have: background anywhere, a class only inside boxes.

    Args:
        boxes: boxes of the image.
        num_labels: k, with background.
        height: height of the image.
        width: width of the image.
        class_wise: a class is possible only inside its own boxes; otherwise inside any box.

    Source: Khoreva et al. 2017, sec. 3.1: "any pixel outside the box annotations is reset to
    background", which does not distinguish classes.
    """
    possible = torch.zeros(num_labels, height, width, dtype=torch.bool)
    possible[0] = True
    for window in windows(boxes, height, width):
        of = window.label if class_wise else slice(None)
        possible[of, window.rows, window.columns] = True
    return possible


def clip_marginal(
    marginal: Float[Tensor, "k H W"], possible: Bool[Tensor, "k H W"], fold: bool
) -> Float[Tensor, "k H W"]:
    """Set the probabilities of impossible labels to zero.

    Args:
        marginal: sum 1 over k.
        possible: from `possible_labels`.
        fold: distribute the probability of impossible classes over the possible ones, in
            proportion: a cat predicted as a dog is not background. Otherwise drop it
            and rescale the rest. Where no class is possible, background has probability 1.

    Returns:
        In [0, 1], sum 1 over k.
    """
    clipped = marginal * possible
    if fold:
        lost = 1 - clipped.sum(0)
        # small enough to matter only where no possible class has any probability
        weight = clipped[1:] + 1e-6 * possible[1:]
        clipped[1:] += lost * weight / weight.sum(0).clamp(min=1e-6)
    total = clipped.sum(0)
    clipped[0] = torch.where(total > 0, clipped[0], 1)
    clipped[0] = torch.where(possible[1:].any(0), clipped[0], 1)
    return clipped / clipped.sum(0)


def small_segments(
    labels: UInt8[Tensor, "H W"], boxes: Float[Tensor, "n 5"], min_fill: float
) -> Bool[Tensor, "n"]:
    """Indices of the boxes whose class fills less than the share `min_fill` of them.

    A segment inside its box has IoU = |segment| / |box| with it. Pixels of the same class count,
    whichever box they belong to. A box without a pixel in the image is never small.

    Args:
        labels: labels of the image.
        boxes: boxes of the image.
        min_fill: in [0, 1]; a segment of exactly this share is large enough.

    Source: Khoreva et al. 2017, sec. 3.1: IoU < 50 %.
    """
    small = torch.zeros(len(boxes), dtype=torch.bool)
    for i, window in enumerate(windows(boxes, *labels.shape)):
        segment = int((labels[window.rows, window.columns] == window.label).sum())
        area = window.height * window.width
        # compare quotients: min_fill * area could round up
        small[i] = area > 0 and segment / area < min_fill
    return small


def reset_small(
    labels: UInt8[Tensor, "H W"],
    boxes: Float[Tensor, "n 5"],
    initial: UInt8[Tensor, "H W"],
    min_fill: float,
) -> tuple[UInt8[Tensor, "H W"], Bool[Tensor, "H W"]]:
    """Restore the initial labels of boxes with a small segment (`small_segments`).

    Only where that box is in front: a smaller box inside it is checked on its own.

    Args:
        labels: predicted.
        boxes: boxes of the image.
        initial: labels of the first round.
        min_fill: as in `small_segments`.

    Returns:
        Labels, and a mask of the pixels that were reset.

    Source: Khoreva et al. 2017, sec. 3.1.
    """
    front = front_box(boxes, *labels.shape)
    # the last entry is for index -1: pixels outside of all boxes are not reset
    small = torch.cat([small_segments(labels, boxes, min_fill), torch.zeros(1, dtype=torch.bool)])
    where = small[front]
    return torch.where(where, initial, labels), where


class Prediction(NamedTuple):
    """Inputs of a relabelling rule.

    image: RGB, levels 0..255.
    marginal: the network's probabilities, sum 1 over k.
    boxes: boxes of the image.
    initial: labels of the first round.
    """

    image: UInt8[Tensor, "H W 3"]
    marginal: Float[Tensor, "k H W"]
    boxes: Float[Tensor, "n 5"]
    initial: UInt8[Tensor, "H W"]


def naive(prediction: Prediction, refine: Refine) -> UInt8[Tensor, "H W"]:
    """The prediction without changes; boxes and the CRF are not used.

    Source: Khoreva et al. 2017, sec. 3.1, Naive.
    """
    return prediction.marginal.argmax(0).to(torch.uint8)


def denoised(
    prediction: Prediction,
    refine: Refine,
    class_wise: bool,
    fold: bool,
    min_fill: Annotated[float, Ge(0), Le(1), "the paper has 0.5"],
    label_confidence: Annotated[float, Gt(0), Lt(1), "0.7 to 0.9 is usual"],
) -> UInt8[Tensor, "H W"]:
    """Clip to the boxes, reset small segments, run the CRF and clip again.

    The unary of the CRF is the network's probability of the possible labels, and the initial label
    where a box was reset. Ignored pixels of reset boxes have equal probabilities in the CRF and are
    ignored in the result.

    Args:
        prediction: prediction, boxes and initial labels.
        refine: the CRF.
        class_wise: a class is possible only inside its own boxes; otherwise inside any box.
        fold: distribute the probability of impossible classes (`clip_marginal`).
        min_fill: share of a box that a segment must fill, in [0, 1].
        label_confidence: probability of a reset label in the unary, in (0, 1).

    Source: Khoreva et al. 2017, sec. 3.1.
    """
    image, marginal, boxes, initial = prediction
    k, height, width = marginal.shape
    possible = possible_labels(boxes, k, height, width, class_wise)
    prior = clip_marginal(marginal, possible, fold)
    labels, was_reset = reset_small(prior.argmax(0).to(torch.uint8), boxes, initial, min_fill)
    prior = torch.where(was_reset, _belief(labels, possible, label_confidence), prior)
    present = prior.flatten(1).any(1)
    refined = torch.zeros_like(prior)
    refined[present] = refine(image, unary_from_scores(prior[present]))
    labels = (refined * possible).argmax(0).to(torch.uint8)
    return torch.where(was_reset & (initial == IGNORE), IGNORE, labels)


def _belief(
    labels: UInt8[Tensor, "H W"], possible: Bool[Tensor, "k H W"], label_confidence: float
) -> Float[Tensor, "k H W"]:
    """Probabilities of labels: `label_confidence` for the given one, equal where it is ignored."""
    given = labels == torch.arange(len(possible))[:, None, None]
    others = (possible & ~given).sum(0).clamp(min=1)
    belief = torch.where(given, label_confidence, (1 - label_confidence) / others) * possible
    return torch.where(labels == IGNORE, possible / possible.sum(0), belief)


def smaller(prediction: Prediction, refine: Refine) -> UInt8[Tensor, "H W"]:
    """For each class, the smaller of its predicted region and its boxes.

    Regions are compared by their area in the whole image; at a tie the prediction wins. Where
    classes overlap, the smaller region is in front. A class without predicted pixels keeps its
    boxes, since later rounds could not recover it.

    Source: a seminar's interpretation of the paper, which has no such rule.
    """
    predicted = naive(prediction, refine)
    height, width = predicted.shape
    regions = []
    for label in sorted({w.label for w in windows(prediction.boxes, height, width)}):
        painted = torch.zeros(height, width, dtype=torch.bool)
        for window in windows(prediction.boxes, height, width):
            if window.label == label:
                painted[window.rows, window.columns] = True
        region = predicted == label
        regions.append((label, region if 0 < region.sum() <= painted.sum() else painted))
    labels = torch.zeros_like(predicted)
    for label, region in sorted(regions, key=lambda pair: -int(pair[1].sum())):
        labels[region] = label
    return labels
