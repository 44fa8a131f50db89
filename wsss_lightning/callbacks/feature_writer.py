"""Features to disk as they come, one file a batch."""

from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl

from wsss_lightning.data.features import load_features, save_features


@final
class FeatureWriter(pl.Callback):
    """Reads `predict_step`'s `name` and `feature` (b d), writes them below `folder`.

    Each file is whole or absent, so an interrupted prediction goes on behind the last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def done(self) -> set[str]:
        """Images that an interrupted prediction left."""
        return {name for part in self.folder.glob("part-*.npz") for name in load_features(part)[0]}

    def on_predict_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        names = outputs["name"]
        # no two batches hold the same image
        path = self.folder / f"part-{names[0]}.npz"
        save_features(path, names, outputs["feature"].float().cpu().numpy())
