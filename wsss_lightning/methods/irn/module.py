"""IRN: class boundaries, learned from pairs of pixels, limit the random walk.

Letters: b images, k labels with background first, n offsets, h w a map, H W an image.
"""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float, Int
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as images

from wsss_lightning.data.batch import Batch
from wsss_lightning.methods.affinity_base import AffinityModule
from wsss_lightning.methods.random_walk import RandomWalkSettings, cell_means, propagate
from wsss_lightning.ops.affinity import Offset, path_affinity, paths
from wsss_lightning.ops.cam import with_constant_background, with_power_background


@final
class IRNModule(AffinityModule):
    """The boundary branch of IRN: two pixels have a high affinity if no boundary separates them.

    The displacement field, which separates instances of a class, is left out: it does not change
    semantic labels.

    Args:
        net: builds a `BoundaryNet`; all other arguments are as in `AffinityModule`.

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

    def downsample_labels(self, batch: Batch, size: tuple[int, int]) -> Int[Tensor, "b h w"]:
        nearest = InterpolationMode.NEAREST_EXACT
        return images.resize_image(batch["mask"], list(size), interpolation=nearest)

    def propagate_scores(
        self,
        image: Float[Tensor, "b 3 H W"],
        scores: Sequence[Float[Tensor, "_ H W"]],
        settings: RandomWalkSettings,
        strided: Sequence[Float[Tensor, "_ h w"] | None] | None = None,
    ) -> list[Float[Tensor, "_ H W"]]:
        """Scores after the random walk, divided by the maximum over all classes of an image.

        Cells on a boundary start at zero. The walk starts from the strided CAMs, as in the official
        code; where they were not stored, from the mean score of each cell's pixels.
        """
        logit = (self.net(image) + self.net(image.flip(-1)).flip(-1)).float() / 2
        boundary = logit.sigmoid()
        affinity = path_affinity(boundary, settings.radius, settings.border)
        size, offsets = (image.shape[-2], image.shape[-1]), self.offsets(settings.radius)
        stride = self.net.stride
        propagated = []
        for i, score in enumerate(scores):
            start = None if strided is None else strided[i]
            if start is None:
                start = cell_means(score, stride, outside_is_zero=False)
            start = start * (1 - boundary[i])
            result = propagate(start, affinity[i : i + 1], offsets, settings, stride, size)
            if result.numel():
                result = result / result.max().clamp(min=1e-5)
            if settings.background_power is not None:
                propagated.append(with_power_background(result, settings.background_power))
            elif settings.background_score is not None:
                propagated.append(with_constant_background(result, settings.background_score))
        return propagated
