"""SEAM: self-supervised equivariant attention.

Letters: b images, c classes, k = c + 1 with background first, h w a map, H W an image.
"""

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from wsss_lightning.data.batch import Batch
from wsss_lightning.errors import InputError
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.ops.cam import gather_present, max_normalise
from wsss_lightning.ops.losses import (
    cross_refinement_loss,
    equivariance_loss,
    min_pooling_loss,
    tag_loss,
)
from wsss_lightning.ops.resize import resize, resize_to, resized_mean


@final
class SEAM(TagMethod):
    """One network sees an image at two scales; its maps must agree once brought to one size.

    loss = classification + min_pooling_weight * min_pooling + er_weight * ER + ecr_weight * ECR
    (sec. 3.4). The cam learns from classification and ER, the pixel correlation module from ECR and
    min_pooling; they share no gradient. What is scored is the refined map.

    Args:
        net, num_classes, optimizer, head_lr_multiplier, bias_lr_multiplier, decay_biases, poly_power: as of
            TagMethod.
        scale: of the second view, in (0, 1).
        min_pooling_weight: of a term that is in the official code only; 0 leaves it out.
        er_weight: of the difference between the two views' cams.
        ecr_weight: of the difference between one view's cam and the other's refined map.
        hard_fraction: of all values, on which the latter is averaged: the hardest.

    Source: Wang et al. 2020; `train_SEAM.py` of the official code.
    """

    enlarges_cam = True

    def __init__(
        self,
        net: Callable[..., nn.Module],
        num_classes: int,
        optimizer: Callable[..., Optimizer],
        head_lr_multiplier: float,
        poly_power: float,
        scale: float,
        min_pooling_weight: float,
        er_weight: float,
        ecr_weight: float,
        hard_fraction: float,
        bias_lr_multiplier: float = 2.0,
        decay_biases: bool = False,
    ) -> None:
        for key, value, usual in (("scale", scale, 0.3), ("hard_fraction", hard_fraction, 0.2)):
            if not 0 < value <= 1:
                raise InputError(
                    f"method.{key} is {value}, but it lies above 0 and is at most 1; set it there "
                    f"(the paper's is {usual})."
                )
        super().__init__(
            net,
            num_classes,
            optimizer,
            head_lr_multiplier,
            poly_power,
            bias_lr_multiplier,
            decay_biases,
        )
        self.scale, self.hard_fraction = scale, hard_fraction
        self.min_pooling_weight = min_pooling_weight
        self.er_weight, self.ecr_weight = er_weight, ecr_weight

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c"]:
        return resized_mean(self.net.cam(image)[:, 1:], _size(image))

    def cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        _, refined = self.net(image)
        return refined[:, 1:]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        full, small = batch["image"], resize(batch["image"], self.scale)
        losses = self.losses(
            self.net(full), self.net(small), _size(full), _size(small), batch["tags"]
        )
        total = torch.stack(list(losses.values())).sum()
        told = {f"train/{name}": value for name, value in losses.items()}
        self.log_dict({**told, "train/loss": total}, prog_bar=True, batch_size=len(full))
        return total

    def losses(
        self,
        full: tuple[Float[Tensor, "b k h1 w1"], Float[Tensor, "b k h1 w1"]],
        small: tuple[Float[Tensor, "b k h2 w2"], Float[Tensor, "b k h2 w2"]],
        full_size: tuple[int, int],
        small_size: tuple[int, int],
        tags: Float[Tensor, "b c"],
    ) -> dict[str, Float[Tensor, ""]]:
        """Terms of the loss, weighted, from the (cam, refined) maps of both views.

        All terms are of maps as large as their view's image, as the official code has them. Absent
        classes are worth nothing in all but the first, so the others are not enlarged.

        Args:
            full: maps of the image, at any size.
            small: maps of the small view, likewise.
            full_size: height and width of the image.
            small_size: of the small view.
            tags: multi-hot.
        """
        c = tags.shape[1]
        classification = tag_loss(resized_mean(full[0][:, 1:], full_size), tags)
        classification = classification + tag_loss(resized_mean(small[0][:, 1:], small_size), tags)
        views, pooled = [], []
        for (cam, refined), size in ((full, full_size), (small, small_size)):
            large = []
            for maps in (cam, refined):
                chosen, here = gather_present(maps, tags)
                large.append(resize_to(chosen, size))
            pooled.append(min_pooling_loss((large[1] * here)[:, 1:]))
            views.append([resize_to(max_normalise(maps), small_size) * here for maps in large])
        (cam, refined), (cam_small, refined_small) = views
        hardest = (self.hard_fraction, c + 1)
        ecr = cross_refinement_loss(cam_small, refined, *hardest)
        ecr = ecr + cross_refinement_loss(cam, refined_small, *hardest)
        return {
            "classification": classification / 2,
            "min_pooling": self.min_pooling_weight * (pooled[0] + pooled[1]) / 2,
            "er": self.er_weight * equivariance_loss(cam[:, 1:], cam_small[:, 1:], c),
            "ecr": self.ecr_weight * ecr,
        }


def _size(image: Float[Tensor, "b 3 H W"]) -> tuple[int, int]:
    return (image.shape[-2], image.shape[-1])
