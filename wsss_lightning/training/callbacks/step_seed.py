"""Random numbers of a training step that depend on nothing before it."""

from typing import Any, final

import numpy as np
import pytorch_lightning as pl
import torch


@final
class StepSeed(pl.Callback):
    """Sets torch's random numbers, which dropout draws, anew for each batch.

    A training that goes on behind a kill has not drawn those of the steps before; so it draws the
    same as an unbroken one all the same. Each process draws its own.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        place = [self.seed, trainer.current_epoch, batch_idx, trainer.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]))
