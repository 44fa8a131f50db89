"""The prediction for one image.

Letters: k labels with background first, H W the image.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from wsss_lightning.data.scores import save_mask
from wsss_lightning.data.stage_files import image_file
from wsss_lightning.figures.overlays import mask_overlay
from wsss_lightning.predict.model_info import BACKGROUND
from wsss_lightning.utils.files import write_atomically


@final
@dataclass(frozen=True, eq=False)
class Prediction:
    """Labels of the pixels of one image.

    Args:
        name: path of the image below the given folder without suffix, or `image_<position>`.
        mask: label of each pixel: 0 background, i for `classes[i - 1]`.
        probabilities: of each label, sum 1 over k; None if they were not requested. After a CRF,
            `mask` is their maximum up to 1/200, the precision in which a run stores them.
        classes: names of labels 1, 2, ..., without background.
        image: the image, RGB.
    """

    name: str
    mask: UInt8[np.ndarray, "H W"]
    probabilities: Float32[np.ndarray, "k H W"] | None
    classes: list[str]
    image: UInt8[np.ndarray, "H W 3"]

    @property
    def areas(self) -> dict[str, float]:
        """Share of the pixels of each label, background first; their sum is 1."""
        return areas_of(self.mask, self.classes)

    @property
    def present(self) -> list[str]:
        """Classes that the mask shows, the largest first."""
        shares = {name: self.areas[name] for name in self.classes if self.areas[name] > 0}
        return sorted(shares, key=lambda name: -shares[name])

    def overlay(self) -> Image.Image:
        """The image under the colours of its labels; background stays clear."""
        return Image.fromarray(mask_overlay(self.image, self.mask))

    def save(
        self, folder: str | Path, overlay: bool = False, probabilities: bool = False
    ) -> list[Path]:
        """Write `<name>.png`, the mask as index image with the palette of VOC, and more on request.

        Args:
            folder: to write to.
            overlay: also write `<name>_overlay.jpg`.
            probabilities: also write `<name>.npz` (`save_probabilities`).

        Returns:
            The paths of the files.

        Raises:
            ValueError: probabilities are to be written, but were not requested.
        """
        paths = [image_file(Path(folder), self.name, ".png")]
        save_mask(paths[0], self.mask)
        if overlay:
            paths.append(image_file(Path(folder), self.name, "_overlay.jpg"))
            save_overlay(paths[-1], self)
        if probabilities:
            paths.append(image_file(Path(folder), self.name, ".npz"))
            save_probabilities(paths[-1], self)
        return paths


def areas_of(mask: UInt8[np.ndarray, "H W"], classes: list[str]) -> dict[str, float]:
    """Share of the pixels of each label, background first."""
    counts = np.bincount(mask.ravel(), minlength=len(classes) + 1)
    return {name: float(counts[i] / mask.size) for i, name in enumerate([BACKGROUND, *classes])}


def save_overlay(path: Path, prediction: Prediction) -> None:
    """Write the overlay as JPEG."""
    picture = prediction.overlay()
    write_atomically(path, lambda file: picture.save(file, format="JPEG", quality=90))


def save_probabilities(path: Path, prediction: Prediction) -> None:
    """Write `probabilities` (k H W, float16, error below 0.0005) and `labels` (k names) as .npz.

    Raises:
        ValueError: the prediction has no probabilities.
    """
    if prediction.probabilities is None:
        raise ValueError("the prediction has no probabilities; request them from Predictor")
    half = prediction.probabilities.astype(np.float16)
    labels = np.array([BACKGROUND, *prediction.classes])
    write_atomically(
        path, lambda file: np.savez_compressed(file, probabilities=half, labels=labels)
    )
