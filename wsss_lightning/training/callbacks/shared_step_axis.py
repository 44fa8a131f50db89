"""One x-axis for all curves of a training in W&B."""

from typing import final

import pytorch_lightning as pl

STEP = "trainer/global_step"  # Lightning's name of the number of optimiser steps


@final
class SharedStepAxis(pl.Callback):
    """Plots the metrics of training and validation in W&B over the number of optimiser steps.

    Reads the trainer's loggers in the main process; loggers without axes are left unchanged.
    """

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            define = getattr(getattr(logger, "experiment", None), "define_metric", None)
            if define is not None:
                define(STEP)
                for metrics in ("train/*", "val/*"):
                    define(metrics, step_metric=STEP, step_sync=True)
