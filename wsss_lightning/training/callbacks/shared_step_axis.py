"""One axis for all curves of a training."""

from typing import final

import pytorch_lightning as pl

STEP = "trainer/global_step"  # under which Lightning logs the optimiser's steps


@final
class SharedStepAxis(pl.Callback):
    """W&B draws figures of training and of validation over the same axis, the optimiser's steps.

    Loggers that know no axes are left as they are.
    """

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            define = getattr(getattr(logger, "experiment", None), "define_metric", None)
            if define is not None:
                define(STEP)
                for figures in ("train/*", "val/*"):
                    define(figures, step_metric=STEP, step_sync=True)
