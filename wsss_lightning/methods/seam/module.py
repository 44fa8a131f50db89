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
    """loss = classification + min_pooling_weight * min_pooling + er_weight * ER + ecr_weight * ECR.

    Each image is processed at two scales, and the CAMs of both must agree (sec. 3.4).
    Classification and ER train the CAM; ECR and min_pooling train the pixel correlation module, and
    no gradient passes between the two. Seeds are the refined maps.

    Args:
        net: builds a `SeamNet`; all other arguments are as in `TagMethod`.
        scale: scale of the small view, in (0, 1].
        min_pooling_weight: weight of a term that only the official code has; 0 leaves it out.
        er_weight: weight of the difference between the CAMs of both views.
        ecr_weight: weight of the difference between the CAM of one view and the refined map of the
            other.
        hard_fraction: ECR is averaged over this fraction of its values, the largest, in (0, 1].

    Raises:
        ValueError: `scale` or `hard_fraction` is out of range.

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
        for name, value, usual in (("scale", scale, 0.3), ("hard_fraction", hard_fraction, 0.2)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} is {value}, but must be in (0, 1] ({usual} in the paper)")
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
        logged = {f"train/{name}": value for name, value in losses.items()}
        self.log_dict({**logged, "train/loss": total}, prog_bar=True, batch_size=len(full))
        return total

    def losses(
        self,
        full: tuple[Float[Tensor, "b k h1 w1"], Float[Tensor, "b k h1 w1"]],
        small: tuple[Float[Tensor, "b k h2 w2"], Float[Tensor, "b k h2 w2"]],
        full_size: tuple[int, int],
        small_size: tuple[int, int],
        tags: Float[Tensor, "b c"],
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms of the loss by name, from the CAM and refined map of both views.

        As in the official code, all maps are enlarged to the size of their view. Absent classes
        contribute only to the classification, so they are not enlarged for the other terms.

        Args:
            full: CAM and refined map of the image, of any size.
            small: CAM and refined map of the small view, of any size.
            full_size: height and width of the image.
            small_size: height and width of the small view.
            tags: multi-hot.
        """
        c = tags.shape[1]
        classification = tag_loss(resized_mean(full[0][:, 1:], full_size), tags)
        classification = classification + tag_loss(resized_mean(small[0][:, 1:], small_size), tags)
        views, pooled = [], []
        for (cam, refined), size in ((full, full_size), (small, small_size)):
            large = []
            for maps in (cam, refined):
                chosen, present = gather_present(maps, tags)
                large.append(resize_to(chosen, size))
            pooled.append(min_pooling_loss((large[1] * present)[:, 1:]))
            views.append([resize_to(max_normalise(maps), small_size) * present for maps in large])
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
