import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

from wsss_lightning.training.callbacks.finish_loggers import FinishLoggers


class _Run:
    """Records the exit codes of `finish`."""

    def __init__(self):
        self.codes = []

    def finish(self, exit_code):
        self.codes.append(exit_code)


class _Logger(CSVLogger):
    def __init__(self, folder):
        super().__init__(folder)
        self.run = _Run()

    @property
    def experiment(self):
        return self.run

    def log_metrics(self, metrics, step=None):
        pass

    def save(self):
        pass


class _Module(pl.LightningModule):
    def __init__(self, fails):
        super().__init__()
        self.fails = fails
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        if self.fails:
            raise ValueError("on purpose")
        return self.layer(batch).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def train(tmp_path, fails):
    logger = _Logger(tmp_path)
    trainer = pl.Trainer(
        logger=logger,
        callbacks=[FinishLoggers()],
        max_epochs=1,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    try:
        trainer.fit(_Module(fails), DataLoader(torch.zeros(2, 1)))
    finally:
        return logger.run.codes  # noqa: B012


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_is_finished_once_with_the_exit_code(tmp_path, fails):
    assert train(tmp_path, fails) == [int(fails)]
