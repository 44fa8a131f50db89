"""What a trained network makes of images, for comparing them."""

from typing import Any, final

import pytorch_lightning as pl

from wsss_lightning.data.batch import Batch
from wsss_lightning.methods.base import TagMethod


@final
class PooledFeatures(pl.LightningModule):
    """Predicts `feature` (b p d), the averaged deepest map of each image, beside its `tags`.

    Args:
        method: trained.
        peak: as of `TagMethod.pooled`.
    """

    def __init__(self, method: TagMethod, peak: float | None) -> None:
        super().__init__()
        self.method, self.peak = method, peak

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        feature = self.method.pooled(batch["image"], self.peak)
        return {"name": batch["name"], "tags": batch["tags"], "feature": feature}
