"""Pixel counts of every image by true and predicted label, and by error type, in one file.

Comparisons of runs resample images from this file without reading masks.

Letters: n images, k labels with background first, e error types, H W an image.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Int, Integer
from torch import Tensor

from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.error_analysis import WRONG, ErrorType, error_types
from wsss_lightning.evaluation.metrics import count_pixels
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.utils.files import write_atomically

PIXEL_COUNTS_FILE = "images.npz"


@final
class PixelCountWriter:
    """Counts pixels of one prediction after another.

    Args:
        num_labels: k.
    """

    def __init__(self, num_labels: int) -> None:
        self.num_labels = num_labels
        self.names: list[str] = []
        self.matrices: list[Int[Tensor, "k k+1"]] = []
        self.by_error_type = torch.zeros(len(WRONG), num_labels, num_labels + 1, dtype=torch.int64)
        self.wrong: list[list[int]] = []

    def add(
        self, name: str, prediction: Integer[Tensor, "H W"], truth: Integer[Tensor, "H W"]
    ) -> None:
        """Count the pixels of an image.

        Args:
            name: name of the image.
            prediction: labels; IGNORE: not labelled.
            truth: labels; IGNORE: unknown.

        Raises:
            InputError: as in `count_pixels`.
        """
        self.matrices.append(count_pixels(prediction, truth, self.num_labels))
        self.names.append(name)
        prediction, truth = prediction.long(), truth.long()
        types = error_types(prediction, truth).long()
        known = truth != IGNORE
        shape = (len(ErrorType), self.num_labels, self.num_labels + 1)
        column = torch.where(prediction == IGNORE, self.num_labels, prediction)
        cells = (types * shape[1] + truth) * shape[2] + column
        counted = torch.bincount(cells[known], minlength=math.prod(shape)).view(shape)[list(WRONG)]
        self.by_error_type += counted
        self.wrong.append(counted.sum((1, 2)).tolist())

    def matrix(self) -> Int[Tensor, "k k+1"]:
        """Confusion matrix of all images, as in `Confusion`."""
        zero = torch.zeros(self.num_labels, self.num_labels + 1, dtype=torch.int64)
        return torch.stack([zero, *self.matrices]).sum(0)

    def save(self, folder: Path) -> None:
        """Write `images.npz`; matrices are stored sparsely."""
        cells = [matrix.flatten().nonzero().flatten() for matrix in self.matrices]
        pixels = [m.flatten()[cell] for m, cell in zip(self.matrices, cells, strict=True)]
        none = torch.zeros(0, dtype=torch.int64)
        write_atomically(
            folder / PIXEL_COUNTS_FILE,
            lambda file: np.savez_compressed(
                file,
                names=np.array(self.names, dtype=np.str_),
                labels=np.array(self.num_labels),
                filled=np.array([len(cell) for cell in cells], dtype=np.int64),
                cells=torch.cat([none, *cells]).numpy().astype(np.int32),
                pixels=torch.cat([none, *pixels]).numpy(),
                by_error_type=self.by_error_type.numpy(),
                wrong=np.array(self.wrong, dtype=np.int64).reshape(-1, len(WRONG)),
            ),
        )


@dataclass(frozen=True)
class PixelCounts:
    """Contents of a file of `PixelCountWriter`.

    Args:
        names: names of the images.
        matrices: pixels of each image by true and predicted label; the last column is IGNORE.
        by_error_type: wrong pixels of all images, by error type (`WRONG`) and labels.
        wrong: wrong pixels of each image, by error type.
    """

    names: list[str]
    matrices: Int[np.ndarray, "n k k+1"]
    by_error_type: Int[np.ndarray, "e k k+1"]
    wrong: Int[np.ndarray, "n e"]


def load_pixel_counts(folder: Path) -> PixelCounts:
    """Load the pixel counts in the folder of an evaluation.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = folder / PIXEL_COUNTS_FILE
    try:
        with np.load(path, allow_pickle=False) as stored:
            names, labels = stored["names"].tolist(), int(stored["labels"])
            matrices = np.zeros((len(names), labels * (labels + 1)), np.int64)
            image = np.repeat(np.arange(len(names)), stored["filled"])
            matrices[image, stored["cells"]] = stored["pixels"]
            # files of version 0.1 call it by_cause
            name = "by_error_type" if "by_error_type" in stored else "by_cause"
            by_error_type, wrong = stored[name], stored["wrong"]
    except Exception as error:  # zipfile, zlib and numpy raise almost anything on damaged files
        raise InputError(
            f"{path} cannot be read as pixel counts ({error}); delete its folder and repeat the "
            "run."
        ) from error
    return PixelCounts(names, matrices.reshape(-1, labels, labels + 1), by_error_type, wrong)
