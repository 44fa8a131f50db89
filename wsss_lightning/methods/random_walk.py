"""Random walk of CAM scores along learned affinities.

Letters: b images, k labels with background first, l labels of an image, n offsets, h w a map,
H W an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from wsss_lightning.data.batch import Batch
from wsss_lightning.data.scores import load_score, load_strided
from wsss_lightning.data.stage_files import image_file
from wsss_lightning.ops.affinity import BORDERS, Offset
from wsss_lightning.ops.cam import normalise_over_labels
from wsss_lightning.ops.random_walk import random_walk


@dataclass(frozen=True)
class RandomWalkSettings:
    """How scores are propagated along affinities; independent of how affinities were trained.

    Args:
        radius: pairs of cells are closer than this distance; 2 or more.
        border: `padded` or `window`, as in `ops.affinity.pairs`.
        beta: exponent of affinities; 0 or more.
        steps: number of steps of the walk; 0 or more.
        background_power: the background score is (1 - max) ** power; None: a constant.
        background_score: the constant, compared with the propagated scores of the classes.

    Raises:
        ValueError: a value is out of range, or not exactly one background is given.
    """

    radius: int
    border: str
    beta: float
    steps: int
    background_power: float | None
    background_score: float | None

    def __post_init__(self) -> None:
        if (self.background_power is None) == (self.background_score is None):
            raise ValueError(
                f"background_power is {self.background_power} and background_score is "
                f"{self.background_score}, but exactly one of them must be null"
            )
        if self.border not in BORDERS:
            raise ValueError(f"border is {self.border}, but must be {' or '.join(BORDERS)}")
        for name, minimum, usual in (("radius", 2, 5), ("beta", 0, 8), ("steps", 0, 256)):
            if getattr(self, name) < minimum:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, but must be >= {minimum} (PSA: {usual})"
                )


def cell_means(
    maps: Float[Tensor, "k H W"], stride: int, outside_is_zero: bool
) -> Float[Tensor, "k h w"]:
    """Mean over the pixels of each cell of `stride` x `stride` pixels.

    Args:
        maps: scores of an image.
        stride: side of a cell, in pixels.
        outside_is_zero: whether pixels beyond the image count as zeros in the cells at its border;
            otherwise they are left out.
    """
    height, width = maps.shape[-2:]
    if len(maps) == 0:
        return maps.new_zeros(0, -(-height // stride), -(-width // stride))
    if outside_is_zero:
        maps = F.pad(maps, (0, -width % stride, 0, -height % stride))
    return F.avg_pool2d(maps[None], stride, ceil_mode=True)[0]


def propagate(
    start: Float[Tensor, "k h w"],
    affinity: Float[Tensor, "1 n h w"],
    offsets: Sequence[Offset],
    settings: RandomWalkSettings,
    stride: int,
    size: tuple[int, int],
) -> Float[Tensor, "k H W"]:
    """Walk from the scores of cells, and enlarge the result to the image.

    Args:
        start: scores of the cells, each `stride` pixels wide.
        affinity: affinity of the pairs of cells.
        offsets: offsets of those pairs.
        settings: settings of the walk.
        stride: side of a cell, in pixels.
        size: height and width of the image, which cells at its border may exceed.
    """
    if len(start) == 0:
        return start.new_zeros(0, *size)
    # rounding errors would accumulate over the steps
    with torch.autocast(start.device.type, enabled=False):
        scores = random_walk(start[None], affinity, offsets, settings.beta, settings.steps)
    full = F.interpolate(scores, scale_factor=stride, mode="bilinear", align_corners=False)
    return full[0, :, : size[0], : size[1]]


@final
class RandomWalkPropagator(pl.LightningModule):
    """Predicts `marginal` (l H W) of each image, and `keys`, the labels of its maps.

    Args:
        module: a trained `AffinityModule`.
        scores: folder of CAM scores.
        settings: settings of the walk.
    """

    def __init__(self, module: Any, scores: Path, settings: RandomWalkSettings) -> None:
        super().__init__()
        self.module, self.scores, self.settings = module, scores, settings

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        image = batch["image"]
        scores, strided, keys = [], [], []
        for name in batch["name"]:
            path = image_file(self.scores, name, ".npz")
            score, labels = load_score(path)
            maps = torch.from_numpy(score).to(image)
            scores.append(maps if len(maps) else maps.new_zeros(0, *image.shape[-2:]))
            strided_cams = load_strided(path)
            strided.append(
                None if strided_cams is None else torch.from_numpy(strided_cams).to(image)
            )
            keys.append(torch.from_numpy(labels))
        propagated = self.module.propagate_scores(image, scores, self.settings, strided)
        return {
            "name": batch["name"],
            "marginal": [normalise_over_labels(score.float()).clamp(0, 1) for score in propagated],
            "keys": [torch.cat([labels.new_zeros(1), labels]) for labels in keys],
        }
