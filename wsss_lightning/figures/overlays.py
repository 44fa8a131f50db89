"""Images overlaid with masks or score maps.

Letters: H W an image.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from wsss_lightning.ops.masks import IGNORE, voc_palette

OPACITY = 0.65  # of masks
UNSURE = (230, 0, 38)  # colour of pixels with a low probability


def label_colours() -> UInt8[np.ndarray, "256 3"]:
    """RGB colour of each label 0 to 255, as in VOC."""
    return np.frombuffer(voc_palette(), np.uint8).reshape(-1, 3)


def mask_overlay(
    image: UInt8[np.ndarray, "H W 3"], mask: UInt8[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """Blend an image with the colours of its labels; background stays clear."""
    colours = label_colours().astype(np.float32)
    share = np.where(mask == 0, 0.0, OPACITY)[..., None]
    return ((1 - share) * image + share * colours[mask]).round().astype(np.uint8)


def heat_overlay(
    image: UInt8[np.ndarray, "H W 3"], score: Float[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """Blend a grey version of an image with a heat map.

    Args:
        image: RGB.
        score: in [0, 1]; 0 is blue, 0.5 green, 1 red.
    """
    heat = np.stack(
        [np.clip(1.5 - np.abs(4 * score - peak), 0, 1) for peak in (3.0, 2.0, 1.0)], axis=-1
    )
    grey = image.mean(-1, keepdims=True)
    return (0.5 * grey + 0.5 * 255 * heat).round().clip(0, 255).astype(np.uint8)


def confidence_overlay(
    image: UInt8[np.ndarray, "H W 3"], confidence: Float[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """A grey version of an image in which uncertain pixels are red.

    Args:
        image: RGB.
        confidence: probability of the most probable label, in [0, 1]; 1 is grey, 0.5 and less red.
    """
    grey = image.mean(-1, keepdims=True)
    share = np.clip(2 * (1 - confidence), 0, 1)[..., None]
    return ((1 - share) * grey + share * np.array(UNSURE)).round().astype(np.uint8)


def class_legend(
    masks: Sequence[UInt8[np.ndarray, "_ _"]], classes: Sequence[str]
) -> dict[str, int]:
    """Labels that occur in any of the masks, by class name, without background."""
    labels = sorted(set().union(*(set(np.unique(mask).tolist()) for mask in masks)))
    names = ["background", *classes]
    return {"ignored" if i == IGNORE else names[i]: i for i in labels if i != 0}
