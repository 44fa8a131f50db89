"""Random numbers of a training step that do not depend on earlier steps."""

from typing import Any, final

import numpy as np
import pytorch_lightning as pl
import torch


@final
class StepSeed(pl.Callback):
    """Seeds torch's random numbers, which dropout draws, before each training batch.

    A resumed training has not drawn the random numbers of the steps before. With this callback it
    draws the same ones as an uninterrupted training. Each process has its own.

    Args:
        seed: seed of the training.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        entropy = [self.seed, trainer.current_epoch, batch_idx, trainer.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))
