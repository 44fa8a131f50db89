"""Equal and nearly equal images.

Letters: n images, s the side of a thumbnail.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float32

from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.report import ImageReport

MIN_STEP: Final = 2  # grey levels; smaller differences are noise
MIN_SIMILARITY: Final = 0.8  # cosine of the signs of differences
MAX_DIFFERENCE: Final = 12.0  # grey levels, mean over the thumbnails
MIN_CONTRAST: Final = 4.0  # grey levels, deviation; images without contrast all look alike
CHUNK: Final = 2048  # images compared at once


def difference_signs(levels: Float32[np.ndarray, "s s"]) -> Float32[np.ndarray, "_"]:
    """Signs of grey level differences, downwards then to the right: 1 rising, -1 falling, 0 even.

    They survive resizing and compression.

    Source: dHash (N. Krawetz, "Kind of Like That", 2013), in both directions, and without the bits
    that noise decides.
    """
    steps = np.concatenate([np.diff(levels, axis=axis).ravel() for axis in (0, 1)])
    return np.where(np.abs(steps) > MIN_STEP, np.sign(steps), 0).astype(np.float32)


def same_pixels(reports: Sequence[ImageReport]) -> list[list[str]]:
    """Groups of names of images with equal pixels."""
    groups = defaultdict(list)
    for report in reports:
        if report.digest is not None:
            groups[report.digest].append(report.name)
    return [names for names in groups.values() if len(names) > 1]


def near_duplicates(
    first: Sequence[ImageReport], second: Sequence[ImageReport]
) -> list[tuple[str, str]]:
    """Pairs of images, one of each split, that likely show the same photo or its mirror image.

    Pairs with equal pixels are left out.
    """
    sides = [[report for report in part if _has_contrast(report)] for part in (first, second)]
    if not all(sides):
        return []
    grey = [_thumbnails(part) for part in sides]
    pairs = set()
    for others in (grey[1], grey[1][:, :, ::-1]):
        signs = _unit_signs(others).T
        for start in range(0, len(grey[0]), CHUNK):
            similarity = _unit_signs(grey[0][start : start + CHUNK]) @ signs
            for i, j in np.argwhere(similarity >= MIN_SIMILARITY):
                one, other = sides[0][start + i], sides[1][j]
                difference = float(np.abs(grey[0][start + i] - others[j]).mean())
                if one.digest != other.digest and difference <= MAX_DIFFERENCE:
                    pairs.add((one.name, other.name))
    return sorted(pairs)


def shared_files(first: VOCDataset, second: VOCDataset) -> list[str]:
    """Names of images of the second split that the first contains by name or by file content."""
    if first.split == second.split:
        return []
    names, digests = set(first.names), {first.digest(i) for i in range(len(first))}
    return [n for i, n in enumerate(second.names) if n in names or second.digest(i) in digests]


def _thumbnails(reports: Sequence[ImageReport]) -> Float32[np.ndarray, "n s s"]:
    thumbnails = [report.thumbnail for report in reports if report.thumbnail is not None]
    return np.stack(thumbnails).astype(np.float32)


def _unit_signs(thumbnails: Float32[np.ndarray, "n s s"]) -> Float32[np.ndarray, "n _"]:
    """`difference_signs` of each thumbnail, scaled to unit length."""
    signs = np.stack([difference_signs(one) for one in thumbnails])
    return signs / np.maximum(np.linalg.norm(signs, axis=1, keepdims=True), 1)


def _has_contrast(report: ImageReport) -> bool:
    return report.thumbnail is not None and float(report.thumbnail.std()) > MIN_CONTRAST
