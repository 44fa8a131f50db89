"""Writes predicted CAMs of all classes to disk, one file for each image."""

from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl

from wsss_lightning.data.scores import save_cam
from wsss_lightning.data.stage_files import image_file


@final
class CamWriter(pl.Callback):
    """Reads `name` and `cam` (b c h w) of `predict_step` and writes `<name>.npz`; changes nothing.

    Each file is complete or absent, so that an interrupted prediction can be resumed.

    Args:
        folder: folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_predict_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        for name, cam in zip(outputs["name"], outputs["cam"], strict=True):
            save_cam(image_file(self.folder, name, ".npz"), cam)
