"""Writes predicted features to disk, one file for each batch."""

import hashlib
from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl
import torch

from wsss_lightning.methods.sc_cam.clusters import ABSENT
from wsss_lightning.methods.sc_cam.files import Features, load_features, save_features


@final
class FeatureWriter(pl.Callback):
    """Reads `name`, `tags` (b c) and `feature` (b p d) of `predict_step` and writes them to files.

    An image has either a single feature, or one for each class, of which those of its tags are
    written. Each file is complete or absent, so that an interrupted prediction can be resumed.

    Args:
        folder: folder of the files `part-*.npz`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def done(self) -> set[str]:
        """Names of the images that an interrupted prediction has written."""
        parts = self.folder.glob("part-*.npz")
        return {name for part in parts for name in load_features(part).names}

    def on_predict_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        names, feature = outputs["name"], outputs["feature"].float().cpu()
        is_single = feature.shape[1] == 1 < outputs["tags"].shape[1]
        written = torch.ones(len(names), 1) if is_single else outputs["tags"].cpu()
        i, c = torch.nonzero(written, as_tuple=True)
        classes = torch.full_like(c, ABSENT) if is_single else c
        rows = Features([names[k] for k in i], classes.numpy(), feature[i, c].numpy())
        # batches have no image in common, so the name of the first identifies a batch
        digest = hashlib.sha256(names[0].encode()).hexdigest()[:16]
        save_features(self.folder / f"part-{digest}.npz", rows)
