"""Prediction of the raw CAMs of all classes, those without a tag too.

Letters: b images, c classes, h w a map, H W an image.
"""

from typing import Any, final

import pytorch_lightning as pl

from wsss_lightning.data.batch import Batch
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.methods.cam_settings import CamSettings


@final
class ClassCams(pl.LightningModule):
    """Predicts `name` and `cam` (b c h w), unbounded, of each image at its largest scale.

    The largest scale has the most cells, and therefore the sharpest maps.

    Args:
        method: a trained classifier.
        settings: scales of the images.
    """

    def __init__(self, method: TagMethod, settings: CamSettings) -> None:
        super().__init__()
        self.method, self.settings = method, settings

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        view = self.settings.view(batch["image"], max(self.settings.scales))
        return {"name": batch["name"], "cam": self.method.cam(view)}
