import io

import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from wsss_lightning.training.callbacks import progress
from wsss_lightning.training.callbacks.progress import StageProgress
from wsss_lightning.utils.console import track


class Toy(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.net(batch).mean()

    def validation_step(self, batch, batch_idx):
        self.net(batch)

    def predict_step(self, batch, batch_idx):
        return self.net(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_tracking_changes_nothing_and_is_silent_without_a_terminal(capsys):
    assert list(track(iter("abc"), 3, "crf")) == list("abc")
    assert capsys.readouterr().out == ""


def test_tracking_names_its_stage_on_a_terminal(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=out, force_terminal=True, width=100))
    assert list(track(iter("abc"), 3, "crf")) == list("abc")
    assert "crf" in out.getvalue()
    assert "/3" in out.getvalue()


def test_every_bar_is_led_by_its_stage():
    bar = StageProgress("seeds")
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[bar],
    )
    loader = DataLoader(torch.rand(4, 2), batch_size=2)
    trainer.fit(Toy(), loader, loader)
    trainer.predict(Toy(), loader, return_predictions=False)
    assert bar._get_train_description(1).split() == ["seeds", "epoch", "1/2"]
    assert bar.validation_description == "seeds validation"
    assert bar.predict_description == "seeds images"
