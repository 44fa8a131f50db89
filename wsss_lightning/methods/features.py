"""What a trained network makes of whole images, for comparing them."""

from typing import Any, final

import pytorch_lightning as pl

from wsss_lightning.data.batch import Batch
from wsss_lightning.methods.base import TagMethod


@final
class PooledFeatures(pl.LightningModule):
    """Predicts `feature` (b d), the averaged deepest map of each image."""

    def __init__(self, method: TagMethod) -> None:
        super().__init__()
        self.method = method

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return {"name": batch["name"], "feature": self.method.pooled(batch["image"])}
