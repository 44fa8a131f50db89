"""Alarms about masks that are probably wrong.

Letters: c classes, H W an image.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.utils.text import shorten

MAX_SINGLE_LABEL = 0.1
"""Share of images whose masks may have a single label."""

BACKGROUND_RANGE = (0.05, 0.97)
"""Shares of background in data sets of objects; VOC has 0.73, COCO about 0.65."""


class PseudoMaskAlarms:
    """Counts the labels of masks, one image after the other, and reports unlikely counts.

    Args:
        classes: names of labels 1 and above.
        predicted: whether the masks are predictions of a segmentation network. Predictions of a
            single label are common, so they raise no alarm.
    """

    def __init__(self, classes: Sequence[str], predicted: bool = False) -> None:
        self.classes, self.predicted = classes, predicted
        self.counts = np.zeros(IGNORE + 1, np.int64)
        self.tagged = np.zeros(len(classes), np.int64)
        self.single_label: list[str] = []
        self.images = 0

    def update(self, name: str, mask: UInt8[np.ndarray, "H W"], tags: Tensor) -> None:
        """Count the mask of an image.

        Args:
            name: name of the image.
            mask: labels, IGNORE included.
            tags: (c), multi-hot.
        """
        counts = np.bincount(mask.ravel(), minlength=IGNORE + 1)
        self.counts += counts
        present = tags.numpy().astype(bool)
        self.tagged += present
        self.images += 1
        # without tags, a mask of pure background is correct
        if present.any() and np.count_nonzero(counts[:IGNORE]) < 2:
            self.single_label.append(name)

    def alarms(self) -> list[str]:
        """Messages about all masks together; empty if they look right."""
        messages = []
        if not self.predicted and len(self.single_label) > MAX_SINGLE_LABEL * self.images:
            messages.append(
                f"{len(self.single_label)} of {self.images} masks are empty or have a single "
                f"label, although their images have tags ({shorten(self.single_label)})"
            )
        labelled = self.counts[:IGNORE].sum()
        if labelled == 0:
            return [*messages, "no pixel has a label"]
        share = self.counts[0] / labelled
        low, high = BACKGROUND_RANGE
        if not low <= share <= high:
            pixels = "predicted pixels" if self.predicted else "pixels"
            hint = "previews and losses of the training" if self.predicted else "background score"
            messages.append(
                f"background has {100 * share:.1f} % of the {pixels}, which is unusual; check the "
                f"{hint}"
            )
        missing = [
            name
            for i, name in enumerate(self.classes)
            if self.tagged[i] and self.counts[i + 1] == 0
        ]
        if missing:
            kind = "prediction" if self.predicted else "mask"
            messages.append(f"no {kind} shows {shorten(missing)}, although images have these tags")
        return messages
