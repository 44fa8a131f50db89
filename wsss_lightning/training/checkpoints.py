"""Checkpoints of a training: atomic writes, checks, and saves within an epoch."""

import time
import zipfile
from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO

from wsss_lightning.utils.files import write_atomically


@final
class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in the same folder, then renames it.

    Lightning writes to the system's temporary folder and copies the file if that is on another
    disk. A kill during the copy leaves an incomplete checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: torch.save(checkpoint, file))


def is_intact(path: Path) -> bool:
    """Whether a file of `torch.save` is complete and matches its checksums."""
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, ValueError):
        return False


@final
class TimedCheckpoint(pl.Callback):
    """Saves a checkpoint within an epoch, some minutes after the last one.

    Otherwise a kill could lose an epoch of hours. Checkpoints are saved at the end of a step; the
    data module resumes its order of images from there.

    Args:
        path: path of the checkpoint, which is replaced.
        minutes: between checkpoints; 0 saves after every step.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self.path, self.minutes = path, minutes
        self.last = time.monotonic()
        self.step = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.last = time.monotonic()  # the end of an epoch saves a checkpoint too

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        # a checkpoint cannot hold accumulated gradients; the end of an epoch saves its own
        skipped = trainer.global_step == self.step or trainer.is_last_batch
        due = time.monotonic() - self.last >= 60 * self.minutes
        if trainer.world_size > 1:  # clocks differ, but all processes must save the same step
            due = trainer.strategy.broadcast(due)
        if due and not skipped:
            trainer.save_checkpoint(self.path)
            self.last = time.monotonic()
