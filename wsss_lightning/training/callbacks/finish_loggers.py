"""Finishes loggers when a training ends."""

from typing import final

import pytorch_lightning as pl


@final
class FinishLoggers(pl.Callback):
    """Finishes every logger at the end of a training, whether it succeeded or failed.

    Reads the trainer's loggers in the main process. Otherwise W&B would pass a live run on to the
    next logger, or lose it when the process ends.
    """

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        self._finish(trainer, failed=False)

    def on_exception(
        self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._finish(trainer, failed=True)

    def _finish(self, trainer: pl.Trainer, failed: bool) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.finalize("failed" if failed else "success")
            finish = getattr(getattr(logger, "experiment", None), "finish", None)
            if finish is not None:
                finish(exit_code=int(failed))
