"""Base class of networks that learn affinities between pixels from confident labels.

Letters: b images, k labels with background first, n offsets, h w a map, H W an image.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer

from wsss_lightning.data.batch import Batch
from wsss_lightning.methods.base import NetworkModule
from wsss_lightning.methods.random_walk import RandomWalkSettings
from wsss_lightning.ops.affinity import BORDERS, Offset, affinity_loss, pair_labels


class AffinityModule(NetworkModule, ABC):
    """Affinities of nearby pixels, learned from confident labels; IGNORE is left out.

    loss = 1/4 background pairs + 1/4 pairs of one class + 1/2 pairs of different labels

    Args:
        net: the network. It has an `encoder` and a `stride`; all other parameters count as head.
        optimizer: builds the optimiser from parameter groups: a partial with `lr` and
            `weight_decay`.
        head_lr_multiplier: learning rate of the head divided by that of the encoder.
        poly_power: exponent of the polynomial decay of the learning rate.
        radius: pairs of cells are closer than this distance; 2 or more.
        border: `padded` or `window`, as in `ops.affinity.pairs`.
        bias_lr_multiplier: learning rate of biases divided by that of weights; 2 in PSA.
        decay_biases: whether weight decay applies to biases.

    Raises:
        ValueError: `radius` or `border` is out of range.
    """

    needs_marginals = False  # whether training labels are decided from both CRFs' marginals
    prefers_class = False  # as in `ops.affinity.confident_labels`
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
        if radius < 2:
            raise ValueError(f"radius is {radius}, but must be >= 2 (PSA: 5, IRN: 10)")
        if border not in BORDERS:
            raise ValueError(f"border is {border}, but must be {' or '.join(BORDERS)}")
        super().__init__(
            net(), optimizer, head_lr_multiplier, poly_power, bias_lr_multiplier, decay_biases
        )
        self.radius, self.border = radius, border

    @abstractmethod
    def offsets(self, radius: int) -> list[Offset]:
        """Offsets of the pairs of `affinities`."""

    @abstractmethod
    def affinities(
        self, image: Float[Tensor, "b 3 H W"], radius: int, border: str
    ) -> Float[Tensor, "b n h w"]:
        """Affinity of each pair of cells, in [0, 1]; 1: both show the same label.

        Args:
            image: RGB in [0, 1].
            radius: distance below which pairs are considered, in cells.
            border: as in `ops.affinity.pairs`.
        """

    @abstractmethod
    def downsample_labels(self, batch: Batch, size: tuple[int, int]) -> Int[Tensor, "b h w"]:
        """Labels of the cells; only equality, background and IGNORE matter."""

    @abstractmethod
    def propagate_scores(
        self,
        image: Float[Tensor, "b 3 H W"],
        scores: Sequence[Float[Tensor, "_ H W"]],
        settings: RandomWalkSettings,
        strided: Sequence[Float[Tensor, "_ h w"] | None] | None = None,
    ) -> list[Float[Tensor, "_ H W"]]:
        """Scores after the random walk: background and the classes of each image.

        Args:
            image: RGB in [0, 1].
            scores: CAM scores of each image's classes, in [0, 1].
            settings: settings of the walk.
            strided: IRN's strided CAMs of the same classes, where they were stored; IRN's walk
                starts from these instead of `scores`.
        """

    @final
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        affinity = self.affinities(batch["image"], self.radius, self.border)
        labels = self.downsample_labels(batch, (affinity.shape[-2], affinity.shape[-1]))
        pairs = pair_labels(labels, self.offsets(self.radius), self.border)
        terms = affinity_loss(affinity.float(), pairs)
        total = torch.stack(list(terms.values())).sum()
        losses = {f"train/{name}": value for name, value in terms.items()}
        self.log_dict(losses | {"train/loss": total}, prog_bar=True, batch_size=len(labels))
        return total
