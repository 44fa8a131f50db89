"""Features to disk as they come, one file a batch."""

import hashlib
from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl
import torch

from wsss_lightning.methods.sc_cam.clusters import ABSENT
from wsss_lightning.methods.sc_cam.files import Features, load_features, save_features


@final
class FeatureWriter(pl.Callback):
    """Reads `predict_step`'s `name`, `tags` (b c) and `feature` (b p d), writes below `folder`.

    Of each image the one row is stored, or those of its classes.
    Each file is whole or absent, so an interrupted prediction goes on behind the last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def done(self) -> set[str]:
        """Images that an interrupted prediction left."""
        parts = self.folder.glob("part-*.npz")
        return {name for part in parts for name in load_features(part).names}

    def on_predict_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        names, feature = outputs["name"], outputs["feature"].float().cpu()
        whole = feature.shape[1] == 1 < outputs["tags"].shape[1]
        stored = torch.ones(len(names), 1) if whole else outputs["tags"].cpu()
        i, c = torch.nonzero(stored, as_tuple=True)
        owners = torch.full_like(c, ABSENT) if whole else c
        rows = Features([names[k] for k in i], owners.numpy(), feature[i, c].numpy())
        # no two batches hold the same image
        digest = hashlib.sha256(names[0].encode()).hexdigest()[:16]
        save_features(self.folder / f"part-{digest}.npz", rows)
