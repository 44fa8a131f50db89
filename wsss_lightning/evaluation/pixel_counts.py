"""Pixels of every image by true and predicted label, and why they are wrong, in one file.

From this, comparisons of runs draw images anew without reading a mask again.

Letters: n images, k labels with background first, e causes of mistakes, m cells that are not zero.
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
from wsss_lightning.evaluation.error_analysis import WRONG, ErrorType, causes
from wsss_lightning.evaluation.metrics import count_pixels
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.utils.files import write_atomically

TALLY = "images.npz"


@final
class PixelCountWriter:
    """Counts one prediction after the other.

    Args:
        num_labels: k.
    """

    def __init__(self, num_labels: int) -> None:
        self.num_labels = num_labels
        self.names: list[str] = []
        self.matrices: list[Int[Tensor, "k k+1"]] = []
        self.by_cause = torch.zeros(len(WRONG), num_labels, num_labels + 1, dtype=torch.int64)
        self.wrong: list[list[int]] = []

    def add(
        self, name: str, prediction: Integer[Tensor, "H W"], truth: Integer[Tensor, "H W"]
    ) -> None:
        """Count the pixels of an image.

        Raises:
            InputError: as of `count_pixels`.
        """
        self.matrices.append(count_pixels(prediction, truth, self.num_labels))
        self.names.append(name)
        prediction, truth = prediction.long(), truth.long()
        why = causes(prediction, truth).long()
        known = truth != IGNORE
        shape = (len(ErrorType), self.num_labels, self.num_labels + 1)
        column = torch.where(prediction == IGNORE, self.num_labels, prediction)
        cells = (why * shape[1] + truth) * shape[2] + column
        counted = torch.bincount(cells[known], minlength=math.prod(shape)).view(shape)[list(WRONG)]
        self.by_cause += counted
        self.wrong.append(counted.sum((1, 2)).tolist())

    def matrix(self) -> Int[Tensor, "k k+1"]:
        """Of all images, as of `Confusion`."""
        zero = torch.zeros(self.num_labels, self.num_labels + 1, dtype=torch.int64)
        return torch.stack([zero, *self.matrices]).sum(0)

    def save(self, folder: Path) -> None:
        """Write `images.npz`."""
        cells = [matrix.flatten().nonzero().flatten() for matrix in self.matrices]
        pixels = [m.flatten()[cell] for m, cell in zip(self.matrices, cells, strict=True)]
        none = torch.zeros(0, dtype=torch.int64)
        write_atomically(
            folder / TALLY,
            lambda file: np.savez_compressed(
                file,
                names=np.array(self.names, dtype=np.str_),
                labels=np.array(self.num_labels),
                filled=np.array([len(cell) for cell in cells], dtype=np.int64),
                cells=torch.cat([none, *cells]).numpy().astype(np.int32),
                pixels=torch.cat([none, *pixels]).numpy(),
                by_cause=self.by_cause.numpy(),
                wrong=np.array(self.wrong, dtype=np.int64).reshape(-1, len(WRONG)),
            ),
        )


@dataclass(frozen=True)
class PixelCounts:
    """What `PixelCountWriter` left.

    Args:
        names: of the images.
        matrices: pixels of each by true and predicted label, the last column IGNORE.
        by_cause: wrong pixels of all images, by cause (`anatomy.WRONG`) and labels.
        wrong: wrong pixels of each image, by cause.
    """

    names: list[str]
    matrices: Int[np.ndarray, "n k k+1"]
    by_cause: Int[np.ndarray, "e k k+1"]
    wrong: Int[np.ndarray, "n e"]


def load_pixel_counts(folder: Path) -> PixelCounts:
    """Of an evaluation's folder.

    Raises:
        InputError: the file is absent or damaged.
    """
    path = folder / TALLY
    try:
        with np.load(path, allow_pickle=False) as stored:
            names, labels = stored["names"].tolist(), int(stored["labels"])
            matrices = np.zeros((len(names), labels * (labels + 1)), np.int64)
            image = np.repeat(np.arange(len(names)), stored["filled"])
            matrices[image, stored["cells"]] = stored["pixels"]
            by_cause, wrong = stored["by_cause"], stored["wrong"]
    except Exception as error:  # damage can raise almost anything from zipfile, zlib and numpy
        raise InputError(
            f"{path} cannot be read as counts of pixels ({error}); delete its folder and repeat "
            "the run, which counts them again."
        ) from error
    return PixelCounts(names, matrices.reshape(-1, labels, labels + 1), by_cause, wrong)
