"""Stops a training before the end of its schedule."""

from typing import final

import pytorch_lightning as pl


@final
class StopAfter(pl.Callback):
    """Stops a fit after a number of epochs; reads and changes nothing else.

    The learning rate decays over `max_epochs` of the trainer, of which the training runs only the
    first part. SC-CAM takes its networks from epochs 30, 40 and 50 of schedules of 61 epochs.

    Args:
        epochs: 1 or more.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # a training that was killed after its last epoch resumes with nothing left to do
        trainer.should_stop = trainer.should_stop or trainer.current_epoch >= self.epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or trainer.current_epoch + 1 >= self.epochs
