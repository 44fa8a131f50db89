"""Simple Does It: label maps from boxes, and how a network's predictions are mended by them.

A box is (class 1..c, x0, y0, x1, y1) in pixels from 0, ends exclusive. What of a box lies outside
the image does not count; a box without a pixel inside leaves no trace.

Letters: n boxes, k = c + 1 labels with background first, H W an image.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from wsss_lightning.densecrf.unary import unary_from_scores
from wsss_lightning.ops.masks import IGNORE

Refine = Callable[..., Any]
"""A CRF: marginals (l H W) of an image (H W 3) from unary energies (l H W)."""


class Window(NamedTuple):
    """Pixels of a box that lie in the image: `labels[window.rows, window.columns]`."""

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
    """What of each box lies in the image, in the order of the boxes; coordinates are rounded."""
    found = []
    for label, x0, y0, x1, y1 in boxes.round().long().tolist():
        left, right = min(max(x0, 0), width), min(max(x1, 0), width)
        top, bottom = min(max(y0, 0), height), min(max(y1, 0), height)
        found.append(Window(label, slice(top, max(top, bottom)), slice(left, max(left, right))))
    return found


def painting_order(boxes: Float[Tensor, "n 5"], height: int, width: int) -> list[int]:
    """Indices of boxes, the back first: larger ones lie behind, and of equals the earlier."""
    areas = [w.height * w.width for w in windows(boxes, height, width)]
    return sorted(range(len(areas)), key=lambda i: -areas[i])


def front_box(boxes: Float[Tensor, "n 5"], height: int, width: int) -> Int64[Tensor, "H W"]:
    """Index of the box in front at each pixel, the smallest that covers it; -1 outside of all."""
    front = torch.full((height, width), -1)
    found = windows(boxes, height, width)
    for i in painting_order(boxes, height, width):
        front[found[i].rows, found[i].columns] = i
    return front


def paint_boxes(boxes: Float[Tensor, "n 5"], image: UInt8[Tensor, "H W 3"]) -> UInt8[Tensor, "H W"]:
    """Each box filled with its class, the smaller in front; background outside of all.

    Args:
        image: only its size counts.

    Source: Khoreva et al. 2017, sec. 3.1, Box.
    """
    labels = torch.zeros(image.shape[:2], dtype=torch.uint8)
    found = windows(boxes, *image.shape[:2])
    for i in painting_order(boxes, *image.shape[:2]):
        labels[found[i].rows, found[i].columns] = found[i].label
    return labels


def core(window: Window, inner: float, of: str) -> Window:
    """The centre of a box, one pixel at least.

    Args:
        inner: share that it takes, in (0, 1].
        of: `side`, of width and of height each; `area`, of their product.
    """
    # as the decimal number that it was written as: 0.35 of 90 pixels is 31.5, not 31.499...
    factor = Fraction(str(inner)) if of == "side" else Fraction(math.sqrt(inner))

    def middle(side: slice) -> slice:
        length = side.stop - side.start
        kept = min(length, max(1, round(factor * length)))
        start = side.start + (length - kept) // 2
        return slice(start, start + kept)

    return Window(window.label, middle(window.rows), middle(window.columns))


def paint_cores(
    boxes: Float[Tensor, "n 5"], image: UInt8[Tensor, "H W 3"], inner: float, of: str
) -> UInt8[Tensor, "H W"]:
    """Box^i: only the centre of a box has its class, the rest of it is ignored.

    Painted large to small, each box first ignored and then its centre, so a box in front also hides
    the centres of those behind. Outside of all is background.

    Args:
        image: only its size counts.
        inner: share of a box that has its class, in (0, 1].
        of: what `inner` is a share of, `side` or `area`; the paper's "20 %" is read both ways.

    Source: Khoreva et al. 2017, sec. 3.1, Box^i; by side (margins of 0.4) in the public
    re-implementation.
    """
    labels = torch.zeros(image.shape[:2], dtype=torch.uint8)
    found = windows(boxes, *image.shape[:2])
    for i in painting_order(boxes, *image.shape[:2]):
        window = found[i]
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
        num_labels: k, with background.
        class_wise: a class only inside boxes of its own; otherwise inside any box.

    Source: Khoreva et al. 2017, sec. 3.1: "any pixel outside the box annotations is reset to
    background", which says nothing of classes.
    """
    possible = torch.zeros(num_labels, height, width, dtype=torch.bool)
    possible[0] = True
    for window in windows(boxes, height, width):
        of = window.label if class_wise else slice(None)
        possible[of, window.rows, window.columns] = True
    return possible


def clip_to_boxes(
    labels: UInt8[Tensor, "H W"], boxes: Float[Tensor, "n 5"], class_wise: bool
) -> UInt8[Tensor, "H W"]:
    """Background wherever a label may not be (`possible_labels`); ignored pixels stay in boxes."""
    height, width = labels.shape
    known = [int(boxes[:, 0].max()) if len(boxes) else 0]
    known.append(int(labels[labels != IGNORE].max()) if (labels != IGNORE).any() else 0)
    possible = possible_labels(boxes, max(known) + 1, height, width, class_wise)
    index = torch.where(labels == IGNORE, 0, labels).long()
    allowed = possible.gather(0, index[None])[0]
    in_a_box = front_box(boxes, height, width) >= 0
    allowed = torch.where(labels == IGNORE, in_a_box, allowed)
    return torch.where(allowed, labels, 0)


def clip_marginal(
    marginal: Float[Tensor, "k H W"], possible: Bool[Tensor, "k H W"], fold: bool
) -> Float[Tensor, "k H W"]:
    """Probabilities of the labels that a pixel may have, zero for all others.

    Args:
        marginal: sum 1 over k.
        possible: of `possible_labels`.
        fold: what impossible classes had goes to the possible ones, in proportion: a dog in a box
            of a cat that the network takes for a dog is still no background. Otherwise it is
            dropped, and the rest scaled up. Where no class is possible, all is background.

    Returns:
        In [0, 1], sum 1 over k.
    """
    clipped = marginal * possible
    if fold:
        lost = 1 - clipped.sum(0)
        # so little that it only counts where no possible class had any
        weight = clipped[1:] + 1e-6 * possible[1:]
        clipped[1:] += lost * weight / weight.sum(0).clamp(min=1e-6)
    total = clipped.sum(0)
    clipped[0] = torch.where(total > 0, clipped[0], 1)
    clipped[0] = torch.where(possible[1:].any(0), clipped[0], 1)
    return clipped / clipped.sum(0)


def small_segments(
    labels: UInt8[Tensor, "H W"], boxes: Float[Tensor, "n 5"], min_fill: float
) -> Bool[Tensor, "n"]:
    """Boxes of which the label of their class fills less than a share `least`.

    A segment inside its box has IoU = |segment| / |box| with it. Pixels of the same class count
    whichever box they belong to. A box without a pixel in the image is never small.

    Args:
        min_fill: in [0, 1]; a segment of exactly this share is large enough.

    Source: Khoreva et al. 2017, sec. 3.1: IoU < 50 %.
    """
    small = torch.zeros(len(boxes), dtype=torch.bool)
    for i, window in enumerate(windows(boxes, *labels.shape)):
        segment = int((labels[window.rows, window.columns] == window.label).sum())
        area = window.height * window.width
        # the quotient is rounded as `min_fill` was; min_fill * area may exceed what it stands for
        small[i] = area > 0 and segment / area < min_fill
    return small


def reset_small(
    labels: UInt8[Tensor, "H W"],
    boxes: Float[Tensor, "n 5"],
    initial: UInt8[Tensor, "H W"],
    min_fill: float,
) -> tuple[UInt8[Tensor, "H W"], Bool[Tensor, "H W"]]:
    """Initial labels again where a box holds too small a segment (`small_segments`).

    Only where that box is in front: what a smaller box in it shows is judged by that box.

    Returns:
        Labels, and the pixels that were reset.

    Source: Khoreva et al. 2017, sec. 3.1.
    """
    front = front_box(boxes, *labels.shape)
    # one more entry, which -1 finds: outside of all boxes nothing is reset
    small = torch.cat([small_segments(labels, boxes, min_fill), torch.zeros(1, dtype=torch.bool)])
    where = small[front]
    return torch.where(where, initial, labels), where


class Prediction(NamedTuple):
    """All that a rule of relabelling may look at.

    image: RGB, levels 0..255.
    marginal: the network's probabilities, sum 1 over k.
    boxes: of the image.
    initial: labels of the first round.
    """

    image: UInt8[Tensor, "H W 3"]
    marginal: Float[Tensor, "k H W"]
    boxes: Float[Tensor, "n 5"]
    initial: UInt8[Tensor, "H W"]


def naive(seen: Prediction, refine: Refine) -> UInt8[Tensor, "H W"]:
    """The prediction as it is; neither boxes nor the CRF are asked.

    Source: Khoreva et al. 2017, sec. 3.1, Naive.
    """
    return seen.marginal.argmax(0).to(torch.uint8)


def denoised(
    seen: Prediction,
    refine: Refine,
    class_wise: bool,
    fold: bool,
    min_fill: float,
    label_confidence: float,
) -> UInt8[Tensor, "H W"]:
    """Clip to the boxes, reset small segments, CRF, clip again (the CRF leaks over edges).

    The CRF begins with the network's probabilities of the labels that are possible, and where a box
    was reset with its initial label. Pixels reset to "ignored" leave it to their neighbours there,
    and are ignored again in the end.

    Args:
        refine: the CRF.
        class_wise: a class only inside boxes of its own; otherwise inside any box.
        fold: probability of impossible classes goes to the possible ones (`clip_marginal`).
        min_fill: share of a box that a segment must fill, in [0, 1].
        label_confidence: probability that the CRF gives to a label that was reset, in (0, 1).

    Source: Khoreva et al. 2017, sec. 3.1.
    """
    image, marginal, boxes, initial = seen
    k, height, width = marginal.shape
    possible = possible_labels(boxes, k, height, width, class_wise)
    prior = clip_marginal(marginal, possible, fold)
    labels, was_reset = reset_small(prior.argmax(0).to(torch.uint8), boxes, initial, min_fill)
    prior = torch.where(was_reset, _belief(labels, possible, label_confidence), prior)
    here = prior.flatten(1).any(1)
    refined = torch.zeros_like(prior)
    refined[here] = refine(image, unary_from_scores(prior[here]))
    labels = (refined * possible).argmax(0).to(torch.uint8)
    return torch.where(was_reset & (initial == IGNORE), IGNORE, labels)


def _belief(
    labels: UInt8[Tensor, "H W"], possible: Bool[Tensor, "k H W"], label_confidence: float
) -> Float[Tensor, "k H W"]:
    """`label_confidence` for the label, the rest for the other possible ones; equal where ignored."""
    given = labels == torch.arange(len(possible))[:, None, None]
    others = (possible & ~given).sum(0).clamp(min=1)
    belief = torch.where(given, label_confidence, (1 - label_confidence) / others) * possible
    return torch.where(labels == IGNORE, possible / possible.sum(0), belief)


def smaller(seen: Prediction, refine: Refine) -> UInt8[Tensor, "H W"]:
    """The seminar's reading: of each class the smaller of what is predicted and of its boxes.

    Compared by area over the whole image, a tie going to the prediction; where classes meet, the
    smaller region is in front. A class without any predicted pixel keeps its boxes, since it would
    be lost for all rounds to come.

    Source: the seminar's reading of the paper, which has no such rule.
    """
    predicted = naive(seen, refine)
    height, width = predicted.shape
    regions = []
    for label in sorted({w.label for w in windows(seen.boxes, height, width)}):
        painted = torch.zeros(height, width, dtype=torch.bool)
        for window in windows(seen.boxes, height, width):
            if window.label == label:
                painted[window.rows, window.columns] = True
        here = predicted == label
        regions.append((label, here if 0 < here.sum() <= painted.sum() else painted))
    labels = torch.zeros_like(predicted)
    for label, region in sorted(regions, key=lambda found: -int(found[1].sum())):
        labels[region] = label
    return labels
