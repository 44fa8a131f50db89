"""Signals of how good a mask is that need no true mask, and their agreement with true IoU.

Letters: n values, k labels with background first, H W an image.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage, stats

WEIGHTS: Final = {"consistency": 3.0}
"""Weights of signals in `combine`, 1 for all others; chosen on generated data and MSRC-21."""

WORST: Final = 0.2
"""Share of masks that `worst_found` looks at."""


def edge_evidence(image: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]) -> float:
    """Mean percentile of the image gradient along the contour of a mask.

    Objects end where the image changes. The gradient is that of the grey value (Sobel), and its
    percentile is relative to all pixels of the image, so that contrast does not matter. Where the
    image cuts the mask off, its border counts as contour: there is no evidence of an end.

    Args:
        image: RGB.
        mask: pixels of the class.

    Returns:
        A value in [0, 1]: about 0.5 for a contour that ignores the image, 0 without a contour.
    """
    contour = ndimage.binary_dilation(mask ^ ndimage.binary_erosion(mask))
    if not contour.any():
        return 0.0
    grey = image.astype(np.float32).mean(-1)
    gradient = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1))
    return float(percentiles(gradient.ravel()).reshape(mask.shape)[contour].mean())


def mask_iou(first: Bool[np.ndarray, "H W"], second: Bool[np.ndarray, "H W"]) -> float:
    """IoU of two binary masks, in [0, 1]; 0 if both are empty."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0


def expected_iou(probability: Float[np.ndarray, "H W"], mask: Bool[np.ndarray, "H W"]) -> float:
    """sum(p * m) / sum(max(p, m)): IoU of a mask with an object of these probabilities.

    Args:
        probability: probability of the class at each pixel, in [0, 1].
        mask: pixels of the class.

    Returns:
        A value in [0, 1]; 0 if the mask is empty.
    """
    inside = float(probability[mask].sum(dtype=np.float64))
    outside = max(float(probability.sum(dtype=np.float64)) - inside, 0.0)
    return inside / (np.count_nonzero(mask) + outside) if mask.any() else 0.0


def largest_part(mask: Bool[np.ndarray, "H W"]) -> float:
    """Share of a mask's largest connected component, in [0, 1]; 0 if the mask is empty."""
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())[1:]
    return float(sizes.max() / sizes.sum()) if len(sizes) else 0.0


def percentiles(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """(rank - 1/2) / n of each value, in (0, 1); equal values share their mean rank."""
    return (stats.rankdata(values) - 0.5) / max(len(values), 1)


def combine(signals: Mapping[str, Float[np.ndarray, "n"]]) -> Float[np.ndarray, "n"]:
    """Quality of n masks: the mean percentile of their signals, in (0, 1).

    The weights (`WEIGHTS`) are fixed; none is fitted to the data at hand. The quality is relative:
    it orders the masks of one data set, and its mean over them is 1/2.

    Args:
        signals: a value of each mask, by name of the signal; higher is better.
    """
    weights = [WEIGHTS.get(name, 1.0) for name in signals]
    return np.average([percentiles(values) for values in signals.values()], axis=0, weights=weights)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation in [-1, 1]; NaN for fewer than 3 pairs or constant values."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(stats.spearmanr(first, second).statistic)


def worst_found(estimate: Sequence[float], truth: Sequence[float], share: float = WORST) -> float:
    """Share of the truly worst masks among as many masks that are estimated to be the worst.

    Random estimates find a share `share` of them.

    Args:
        estimate: estimated quality.
        truth: true IoU.
        share: share of the masks that count as worst, in [0, 1].

    Returns:
        A value in [0, 1]; NaN if no mask counts as worst.
    """
    count = int(share * len(truth))
    if count == 0:
        return float("nan")
    worst = [set(np.argsort(values, kind="stable")[:count]) for values in (estimate, truth)]
    return len(worst[0] & worst[1]) / count
