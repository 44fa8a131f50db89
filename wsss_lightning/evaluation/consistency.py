"""Whether a mask agrees with what classifiers learn from the masks of all other images.

Letters: n cells, c channels, h w a map.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float, Integer, UInt8
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from wsss_lightning.ops.masks import IGNORE

FOLDS: Final = 5
MAX_CELLS: Final = 200_000
"""Largest number of cells that a classifier is fitted on."""


@final
class FoldClassifiers:
    """Linear classifiers of the cells of maps, each fitted on the images outside one fold.

    Image i is in fold i mod `FOLDS`. Masks with random errors are predicted better from other
    images than they are themselves, so that a mask which disagrees with its prediction is probably
    wrong.

    Args:
        cells: some cells of each image.
        labels: the label of each of these cells; IGNORE: unknown.

    Source: the out-of-sample predictions of confident learning (Northcutt et al. 2021), with linear
    discriminants whose covariances are shrunk as in Ledoit & Wolf 2004.
    """

    def __init__(
        self,
        cells: Sequence[Float[np.ndarray, "_ c"]],
        labels: Sequence[Integer[np.ndarray, "_"]],
    ) -> None:
        self.folds = min(FOLDS, len(cells))
        self.models = [self._fit(cells, labels, fold) for fold in range(self.folds)]

    def predict(
        self, i: int, maps: Float[np.ndarray, "c h w"], allowed: Sequence[int]
    ) -> Integer[np.ndarray, "h w"]:
        """Labels of the cells of image i, by the classifier that has not seen it.

        Args:
            i: number of the image.
            maps: maps of the image.
            allowed: labels that the image may have; others are not predicted.

        Returns:
            Labels; IGNORE where the other images have none of the allowed labels.
        """
        known, model = self.models[i % self.folds]
        usable = np.isin(known, allowed)
        size = maps.shape[1:]
        if not usable.any():
            return np.full(size, IGNORE, np.int64)
        if model is None:
            return np.full(size, known[0], np.int64)
        scores = model.predict_log_proba(maps.reshape(len(maps), -1).T)
        return known[usable][scores[:, usable].argmax(1)].reshape(size)

    def _fit(
        self, cells: Sequence[np.ndarray], labels: Sequence[np.ndarray], fold: int
    ) -> tuple[np.ndarray, Any]:
        """The labels outside a fold, and their classifier; None if there are fewer than two."""
        others = [i for i in range(len(cells)) if i % self.folds != fold]
        if not others:
            return np.zeros(0, np.int64), None
        features = np.concatenate([cells[i] for i in others]).astype(np.float64)
        known = np.concatenate([labels[i] for i in others]).astype(np.int64)
        features, known = features[known != IGNORE], known[known != IGNORE]
        if len(np.unique(known)) < 2:
            return np.unique(known), None
        with warnings.catch_warnings():  # about labels with a single cell
            warnings.simplefilter("ignore", UserWarning)
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
            return np.unique(known), model.fit(features, known)


def at_cells(mask: UInt8[np.ndarray, "H W"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    """Labels of a mask at the centres of cells, the outermost of which are in its corners.

    Args:
        mask: labels.
        size: numbers of rows and columns of cells.
    """
    rows, columns = (
        np.round(np.linspace(0, side - 1, cells)).astype(int)
        for side, cells in zip(mask.shape, size, strict=True)
    )
    return mask[np.ix_(rows, columns)]


def sample_cells(size: tuple[int, int], images: int, seed: int) -> Integer[np.ndarray, "n"]:
    """Random positions in a flattened map, so that all images together have `MAX_CELLS` at most.

    Args:
        size: numbers of rows and columns of cells.
        images: number of images.
        seed: seed of the choice.

    Returns:
        At most 50 positions: neighbouring cells are alike, and more of them add little.
    """
    count = max(1, min(50, MAX_CELLS // max(images, 1)))
    return np.random.default_rng(seed).permutation(size[0] * size[1])[:count]
