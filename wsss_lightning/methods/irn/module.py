"""IRN: boundaries between classes, learnt from pairs of pixels, stop the walk.

Letters: b images, k labels with background first, n offsets, h w a map, H W an image.
"""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float, Int
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as images

from wsss_lightning.data.batch import Batch
from wsss_lightning.methods.affinity_base import (
    AffinityModule,
    RandomWalkSettings,
    cell_means,
    propagate,
)
from wsss_lightning.ops.affinity import Offset, path_affinity, paths
from wsss_lightning.ops.cam import with_constant_background, with_power_background


@final
class IRNModule(AffinityModule):
    """The boundary branch of IRN: a pair is alike if no boundary lies on the way.

    The displacement field, which tells instances of a class apart, is left out: it does not change
    semantic labels.

    Args:
        net, optimizer, head_lr_multiplier, bias_lr_multiplier, decay_biases, power, radius, border: as
            of AffinityModule; `net` is a `BoundaryNet`.

    Source: Ahn et al. 2019 (IRN); `step/train_irn.py` and `step/make_sem_seg_labels.py` of the
    official code.
    """

    prefers_class = True

    def offsets(self, radius: int) -> list[Offset]:
        return [path[0] for path in paths(radius)]

    def affinities(
        self, image: Float[Tensor, "b 3 H W"], radius: int, border: str
    ) -> Float[Tensor, "b n h w"]:
        return path_affinity(self.net(image).float().sigmoid(), radius, border)

    def cells(self, batch: Batch, size: tuple[int, int]) -> Int[Tensor, "b h w"]:
        nearest = InterpolationMode.NEAREST_EXACT
        return images.resize_image(batch["mask"], list(size), interpolation=nearest)

    def refined(
        self,
        image: Float[Tensor, "b 3 H W"],
        scores: Sequence[Float[Tensor, "_ H W"]],
        walk: RandomWalkSettings,
        strided: Sequence[Float[Tensor, "_ h w"] | None] | None = None,
    ) -> list[Float[Tensor, "_ H W"]]:
        """What is on a boundary does not start; classes end divided by their common maximum.

        The walk starts from strided CAMs, as that of the official code. Where seeds hold none, it
        starts from the mean score of each cell's pixels, of which those outside the image are none.
        """
        logit = (self.net(image) + self.net(image.flip(-1)).flip(-1)).float() / 2
        boundary = logit.sigmoid()
        affinity = path_affinity(boundary, walk.radius, walk.border)
        size, offsets = (image.shape[-2], image.shape[-1]), self.offsets(walk.radius)
        found = []
        for i, score in enumerate(scores):
            start = None if strided is None else strided[i]
            if start is None:
                start = cell_means(score, self.net.stride, outside_is_zero=False)
            start = start * (1 - boundary[i])
            spread = propagate(start, affinity[i : i + 1], offsets, walk, self.net.stride, size)
            if spread.numel():
                spread = spread / spread.max().clamp(min=1e-5)
            if walk.background_power is not None:
                found.append(with_power_background(spread, walk.background_power))
            elif walk.background_score is not None:
                found.append(with_constant_background(spread, walk.background_score))
        return found
