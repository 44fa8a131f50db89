"""What a trained network makes of stored scores.

Letters: l labels of an image, H W an image.
"""

from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl
import torch

from wsss_lightning.data.batch import Batch
from wsss_lightning.data.scores import load_score, load_strided
from wsss_lightning.data.stage_files import image_file
from wsss_lightning.methods.affinity_base import AffinityModule, RandomWalkSettings
from wsss_lightning.ops.cam import normalise_over_labels


@final
class RandomWalkPropagator(pl.LightningModule):
    """Predicts `marginal`, of each image (l H W), and `keys`, the labels of its maps.

    Args:
        learner: trained.
        scores: folder of what `score` wrote.
        walk: how scores are spread.
    """

    def __init__(self, learner: AffinityModule, scores: Path, walk: RandomWalkSettings) -> None:
        super().__init__()
        self.learner, self.scores, self.walk = learner, scores, walk

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        image = batch["image"]
        scores, strided, keys = [], [], []
        for name in batch["name"]:
            path = image_file(self.scores, name, ".npz")
            score, labels = load_score(path)
            maps = torch.from_numpy(score).to(image)
            scores.append(maps if len(maps) else maps.new_zeros(0, *image.shape[-2:]))
            starts = load_strided(path)
            strided.append(None if starts is None else torch.from_numpy(starts).to(image))
            keys.append(torch.from_numpy(labels))
        refined = self.learner.refined(image, scores, self.walk, strided)
        return {
            "name": batch["name"],
            "marginal": [normalise_over_labels(score.float()).clamp(0, 1) for score in refined],
            "keys": [torch.cat([labels.new_zeros(1), labels]) for labels in keys],
        }
