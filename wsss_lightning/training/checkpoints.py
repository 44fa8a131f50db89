"""Checkpoints of a training: whole files, amid an epoch too."""

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
    """Writes beside the file and renames.

    Lightning's own writer goes by the temporary folder, from where a file is copied if that lies
    on another disk: a kill amid that leaves a part of a checkpoint under its name.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: torch.save(checkpoint, file))


def is_intact(path: Path) -> bool:
    """Whether all parts of a file of `torch.save` have the checksums that it was written with."""
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, ValueError):
        return False


@final
class TimedCheckpoint(pl.Callback):
    """Saves a checkpoint when so many minutes have passed since the last one.

    Epochs of hours would be lost otherwise. It is that of the end of a step, from which the data
    module's order of images goes on.

    Args:
        path: the file, which is replaced.
        minutes: 0 saves after every step.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self.path, self.minutes = path, minutes
        self.last = time.monotonic()
        self.step = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.last = time.monotonic()  # the end of an epoch saves as well

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        # gradients that wait for further batches are in no checkpoint; the epoch's end has its own
        between = trainer.global_step == self.step or trainer.is_last_batch
        due = time.monotonic() - self.last >= 60 * self.minutes
        if trainer.world_size > 1:  # clocks differ, and all must save the same step
            due = trainer.strategy.broadcast(due)
        if due and not between:
            trainer.save_checkpoint(self.path)
            self.last = time.monotonic()
