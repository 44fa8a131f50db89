"""Index masks with all that is difficult for polygons, and images to go with them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_lightning.data.scores import save_mask

CLASSES = ["cat", "hot dog", "Käse"]
# name and suffix of each image
IMAGES = {"a": ".jpg", "b.v2": ".JPG", "sub/a b": ".png", "sub/ümläut": ".jpg"}


def difficult_mask(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    """Holes, nested objects, one-pixel objects, diagonal contacts, and objects at all borders."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    mask[2:20, 3:30] = 1
    mask[6:16, 8:24] = 0  # a hole
    mask[9:13, 12:18] = 2  # an object in it
    mask[10, 14] = 3  # and one pixel in that
    mask[:6, width - 9 :] = 3  # in a corner
    mask[height - 1] = 2  # along a border
    mask[25:30, 5:9] = mask[30:34, 9:13] = 1  # touch at a corner
    mask[22:24, 40] = 1
    noise = rng.random(mask.shape) < 0.02
    mask[noise] = rng.integers(0, 4, noise.sum())
    return mask


def naive_fill(ring: np.ndarray, height: int, width: int) -> np.ndarray:
    """Even-odd rule for the centre of each pixel, by counting the edges to its right."""
    y, x = np.mgrid[:height, :width] + 0.5
    inside = np.zeros((height, width), bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (np.minimum(y0, y1) <= y) & (y < np.maximum(y0, y1))
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over labels."""
    labels = np.union1d(a, b)
    return float(
        np.mean([((a == i) & (b == i)).sum() / ((a == i) | (b == i)).sum() for i in labels])
    )


def write_masks(root: Path, ignored: bool = False) -> dict[str, np.ndarray]:
    """`images`, and `masks` with `classes.json`; returns the masks by name."""
    masks = {}
    for seed, (name, suffix) in enumerate(IMAGES.items()):
        mask = difficult_mask(seed, 40 + seed, 56)
        if ignored:
            mask[35:38, 20:50] = 255
        image = root / f"images/{name}{suffix}"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", mask.shape[::-1], "grey").save(image)
        save_mask(root / f"masks/{name}.png", mask)
        masks[name] = mask
    content = ["background", *CLASSES]
    (root / "masks/classes.json").write_text(json.dumps(content), encoding="utf-8")
    return masks
