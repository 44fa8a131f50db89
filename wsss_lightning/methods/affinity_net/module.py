"""AffinityNet: affinities of features, along which CAM scores are propagated.

Letters: b images, k labels with background first, n offsets, h w a map, H W an image.
"""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wsss_lightning.data.batch import Batch
from wsss_lightning.methods.affinity_base import AffinityModule
from wsss_lightning.methods.random_walk import RandomWalkSettings, cell_means, propagate
from wsss_lightning.ops.affinity import Offset, confident_cells, feature_affinity, half_disc
from wsss_lightning.ops.cam import with_constant_background, with_power_background


@final
class AffinityNetModule(AffinityModule):
    """AffinityNet: affinities of features, and a random walk that includes the background.

    Args:
        net: builds an `AffinityNet`; all other arguments are as in `AffinityModule`.

    Source: Ahn & Kwak 2018 (AffinityNet); `train_aff.py` and `infer_aff.py` of the official code.
    """

    needs_marginals = True
    pads_black = True  # train_aff.py crops images before it normalises them

    def offsets(self, radius: int) -> list[Offset]:
        return half_disc(radius)

    def affinities(
        self, image: Float[Tensor, "b 3 H W"], radius: int, border: str
    ) -> Float[Tensor, "b n h w"]:
        return feature_affinity(self.net(image).float(), radius, border)

    def downsample_labels(self, batch: Batch, size: tuple[int, int]) -> Int[Tensor, "b h w"]:
        """Labels by their position among those of an image, from the marginals in `score`.

        `score` holds the marginals under a low and a high background exponent, one after the other.
        They are averaged over each cell before labels are decided, as in the official code.
        """
        sides = (score.chunk(2) for score in batch["score"])
        return torch.stack([confident_cells(low, high, self.net.stride) for low, high in sides])

    def propagate_scores(
        self,
        image: Float[Tensor, "b 3 H W"],
        scores: Sequence[Float[Tensor, "_ H W"]],
        settings: RandomWalkSettings,
        strided: Sequence[Float[Tensor, "_ h w"] | None] | None = None,
    ) -> list[Float[Tensor, "_ H W"]]:
        """Scores after the random walk; a constant background is added after it.

        Cells average `scores` over their pixels, and pixels beyond the image count as zero, as in
        the official code.
        """
        affinity = self.affinities(image, settings.radius, settings.border)
        propagated = []
        for pairs, score in zip(affinity.split(1), scores, strict=True):
            maps = (
                score
                if settings.background_power is None
                else with_power_background(score, settings.background_power)
            )
            stride, size = self.net.stride, (maps.shape[-2], maps.shape[-1])
            start = cell_means(maps, stride, outside_is_zero=True)
            offsets = self.offsets(settings.radius)
            result = propagate(start, pairs, offsets, settings, stride, size)
            if settings.background_score is not None:
                result = with_constant_background(result, settings.background_score)
            propagated.append(result)
        return propagated
