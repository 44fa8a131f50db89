"""Loggers end with the training that they watched."""

from typing import final

import pytorch_lightning as pl


@final
class FinishLoggers(pl.Callback):
    """Ends each logger's run, in the process that writes it, whether training ended well or not.

    W&B hands a live run on to the next logger otherwise, and loses it where a process just ends.
    """

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        self._end(trainer, failed=False)

    def on_exception(
        self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._end(trainer, failed=True)

    def _end(self, trainer: pl.Trainer, failed: bool) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.finalize("failed" if failed else "success")
            finish = getattr(getattr(logger, "experiment", None), "finish", None)
            if finish is not None:
                finish(exit_code=int(failed))
