"""Image features of a trained classifier, by which SC-CAM clusters the images of a class.

Letters: b images, c classes, p = 1 or c features of an image, d channels, h w a map, H W an image.
"""

from typing import Any, final

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor

from wsss_lightning.data.batch import Batch
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.methods.cam_settings import CamSettings


@final
class PooledFeatures(pl.LightningModule):
    """Predicts `feature` (b p d), the averaged deepest map of each image, and its `tags`.

    Args:
        method: a trained classifier.
        settings: size of the images.
        peak: in [0, 1]. None averages over the whole image, so p is 1, as in the official code.
            Otherwise p is c: the average for each class over the cells where its CAM is at least
            min + peak * (max - min).
    """

    def __init__(self, method: TagMethod, settings: CamSettings, peak: float | None) -> None:
        super().__init__()
        self.method, self.settings, self.peak = method, settings, peak

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return {
            "name": batch["name"],
            "tags": batch["tags"],
            "feature": self.pooled(batch["image"]),
        }

    def pooled(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b p d"]:
        """The averaged deepest map of each image."""
        view = self.settings.view(image)
        features = self.method.net.features(view)
        if self.peak is None:
            return features.mean((-2, -1)).unsqueeze(1)
        cam = self.method.cam(view)
        low, high = cam.amin((-2, -1), keepdim=True), cam.amax((-2, -1), keepdim=True)
        # lerp ends exactly at the maximum, so that a peak of 1 selects a cell
        cells = (cam >= torch.lerp(low, high, self.peak)).to(features)
        return torch.einsum("bdhw,bphw->bpd", features, cells) / cells.sum((-2, -1)).unsqueeze(-1)
