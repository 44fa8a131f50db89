"""Learning which pixels belong together, from labels that are sure, and walking along that.

Letters: b images, d channels, k labels with background first, n offsets, h w a map, H W an image.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer

from wsss_lightning.data.batch import Batch
from wsss_lightning.errors import InputError
from wsss_lightning.methods.base import configure_training
from wsss_lightning.ops.affinity import (
    BORDERS,
    Offset,
    affinity_loss,
    confident_cells,
    feature_affinity,
    half_disc,
    pair_labels,
)
from wsss_lightning.ops.cam import with_constant_background, with_power_background
from wsss_lightning.ops.random_walk import random_walk


@dataclass(frozen=True)
class RandomWalkSettings:
    """How scores are spread along affinities; no part of how affinities are learnt.

    Args:
        radius: pairs nearer than so many cells, 2 or more.
        border: `padded` or `window`, as of `functional.affinity.pairs`.
        beta: exponent of affinities.
        steps: of the walk.
        background_power: the background takes part in the walk as (1 - max) ** power; None: it is a
            constant that is compared with what the walk made of the classes.
        background_score: that constant.

    Raises:
        InputError: a value has no meaning, or the background is given twice or not at all.
    """

    radius: int
    border: str
    beta: float
    steps: int
    background_power: float | None
    background_score: float | None

    def __post_init__(self) -> None:
        if (self.background_power is None) == (self.background_score is None):
            raise InputError(
                f"refine.walk.background_power is {self.background_power} and background_score is "
                f"{self.background_score}; set one of them, the other to null."
            )
        if self.border not in BORDERS:
            raise InputError(f"refine.walk.border is {self.border}; set {' or '.join(BORDERS)}.")
        least = {"radius": 2, "beta": 0, "steps": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise InputError(
                    f"refine.walk.{name} is {getattr(self, name)}; set {low} or more (radius 5, "
                    "beta 8 and 256 steps are PSA's)."
                )


class AffinityModule(pl.LightningModule, ABC):
    """A network whose affinities of near pixels learn from confident labels; IGNORE is left out.

    loss = 1/4 background pairs + 1/4 pairs of a class + 1/2 unlike pairs

    Args:
        net: the network; it has an `encoder`, all else counts as head, and a `stride`.
        optimizer: builds the optimiser from parameter groups; a partial that knows its `lr` and
            `weight_decay`.
        head_lr_multiplier: learning rate of the head in units of the encoder's.
        poly_power: exponent of the polynomial decay of the learning rate.
        radius: pairs nearer than so many cells, 2 or more.
        border: `padded` or `window`, as of `functional.affinity.pairs`.
        bias_lr_multiplier: learning rate of biases in units of that of weights; 2 is PSA's.
        decay_biases: whether weight decay applies to biases.
    """

    net: Any
    wants_marginals = False  # whether it learns from both marginals instead of confident masks
    prefers_class = False  # as of `functional.affinity.confident_labels`
    pads_black = False  # whether crops of small images are padded with black or the mean colour

    def __init__(
        self,
        net: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        head_lr_multiplier: float,
        poly_power: float,
        radius: int,
        border: str,
        bias_lr_multiplier: float = 2.0,
        decay_biases: bool = False,
    ) -> None:
        if radius < 2 or border not in BORDERS:
            raise InputError(
                f"refine.module.radius is {radius} and refine.module.border is {border}; set a "
                f"radius of 2 or more (5 is PSA's, 10 IRN's), and {' or '.join(BORDERS)}."
            )
        super().__init__()
        self.net = net()
        self.optimizer, self.head_lr_multiplier, self.poly_power = (
            optimizer,
            head_lr_multiplier,
            poly_power,
        )
        self.bias_lr_multiplier, self.decay_biases = bias_lr_multiplier, decay_biases
        self.radius, self.border = radius, border

    @abstractmethod
    def offsets(self, radius: int) -> list[Offset]:
        """Of the pairs whose affinities `affinities` gives."""

    @abstractmethod
    def affinities(
        self, image: Float[Tensor, "b 3 H W"], radius: int, border: str
    ) -> Float[Tensor, "b n h w"]:
        """How surely the pixels of each pair show the same, in [0, 1]."""

    @abstractmethod
    def cells(self, batch: Batch, size: tuple[int, int]) -> Int[Tensor, "b h w"]:
        """Labels at the size of the map; only equality, background and IGNORE matter."""

    @abstractmethod
    def refined(
        self,
        image: Float[Tensor, "b 3 H W"],
        scores: Sequence[Float[Tensor, "_ H W"]],
        walk: RandomWalkSettings,
        strided: Sequence[Float[Tensor, "_ h w"] | None] | None = None,
    ) -> list[Float[Tensor, "_ H W"]]:
        """Scores behind the walk, of the background and of each class of an image's own.

        Args:
            strided: strided CAMs of the same classes, where seeds hold them; IRN's walk starts from
                these instead of `scores`.
        """

    @final
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        affinity = self.affinities(batch["image"], self.radius, self.border)
        cells = self.cells(batch, (affinity.shape[-2], affinity.shape[-1]))
        labels = pair_labels(cells, self.offsets(self.radius), self.border)
        terms = affinity_loss(affinity.float(), labels)
        total = torch.stack(list(terms.values())).sum()
        told = {f"train/{name}": value for name, value in terms.items()} | {"train/loss": total}
        self.log_dict(told, prog_bar=True, batch_size=len(cells))
        return total

    @final
    def configure_optimizers(self) -> Any:
        return configure_training(self)


@final
class AffinityNetModule(AffinityModule):
    """AffinityNet: affinities of features, and a walk that background takes part in.

    Args:
        net, optimizer, head_lr_multiplier, bias_lr_multiplier, decay_biases, poly_power, radius, border: as
            of AffinityModule; `net` is an `AffinityNet`.

    Source: Ahn & Kwak 2018 (AffinityNet); `train_aff.py` and `infer_aff.py` of the official code.
    """

    wants_marginals = True
    pads_black = True  # train_aff.py crops images before it normalises them

    def offsets(self, radius: int) -> list[Offset]:
        return half_disc(radius)

    def affinities(
        self, image: Float[Tensor, "b 3 H W"], radius: int, border: str
    ) -> Float[Tensor, "b n h w"]:
        return feature_affinity(self.net(image).float(), radius, border)

    def cells(self, batch: Batch, size: tuple[int, int]) -> Int[Tensor, "b h w"]:
        """Positions of labels among those of an image: `score` holds its marginals, low and high.

        Marginals are averaged over a cell before labels are decided, as in the official code.
        """
        sides = (score.chunk(2) for score in batch["score"])
        return torch.stack([confident_cells(low, high, self.net.stride) for low, high in sides])

    def refined(
        self,
        image: Float[Tensor, "b 3 H W"],
        scores: Sequence[Float[Tensor, "_ H W"]],
        walk: RandomWalkSettings,
        strided: Sequence[Float[Tensor, "_ h w"] | None] | None = None,
    ) -> list[Float[Tensor, "_ H W"]]:
        """A constant background joins behind the walk, which is then of the classes alone.

        Cells average `scores` over their pixels, and pixels outside the image count as zero, as in
        the official code.
        """
        affinity = self.affinities(image, walk.radius, walk.border)
        found = []
        for own, score in zip(affinity.split(1), scores, strict=True):
            maps = (
                score
                if walk.background_power is None
                else with_power_background(score, walk.background_power)
            )
            stride, size = self.net.stride, (maps.shape[-2], maps.shape[-1])
            start = cell_means(maps, stride, outside_is_zero=True)
            spread = propagate(start, own, self.offsets(walk.radius), walk, stride, size)
            if walk.background_score is not None:
                spread = with_constant_background(spread, walk.background_score)
            found.append(spread)
        return found


def cell_means(
    maps: Float[Tensor, "k H W"], stride: int, outside_is_zero: bool
) -> Float[Tensor, "k h w"]:
    """Mean of the pixels in each cell of `stride` pixels, on its border of those in the image.

    Args:
        outside_is_zero: pixels outside the image count too, as zeros.
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
    walk: RandomWalkSettings,
    stride: int,
    size: tuple[int, int],
) -> Float[Tensor, "k H W"]:
    """Maps of cells, walked and enlarged to the image.

    Args:
        start: scores of the cells, each of `stride` pixels.
        affinity: of the pairs of cells.
        offsets: of those pairs.
        walk: how scores are spread.
        stride: pixels of the image a cell.
        size: height and width of the image, which cells on its border may exceed.
    """
    if len(start) == 0:
        return start.new_zeros(0, *size)
    with torch.autocast(start.device.type, enabled=False):  # rounding would add up over the steps
        spread = random_walk(start[None], affinity, offsets, walk.beta, walk.steps)
    full = F.interpolate(spread, scale_factor=stride, mode="bilinear", align_corners=False)
    return full[0, :, : size[0], : size[1]]
