"""Prediction of tags with a trained classifier.

Letters: b images, c classes, H W an image.
"""

from typing import Any, final

import pytorch_lightning as pl
from jaxtyping import Float
from torch import Tensor

from wsss_lightning.data.batch import Batch
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.methods.cam_settings import CamSettings


@final
class TagPredictor(pl.LightningModule):
    """Predicts `probability` (b c) of every class for each image.

    Args:
        method: a trained classifier.
        settings: size of the images.
    """

    def __init__(self, method: TagMethod, settings: CamSettings) -> None:
        super().__init__()
        self.method, self.settings = method, settings

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return {"name": batch["name"], "probability": self.probabilities(batch["image"])}

    def probabilities(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c"]:
        """Probability of every class, in [0, 1], independent of those of the others."""
        return self.method(self.settings.view(image)).sigmoid()
