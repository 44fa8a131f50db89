import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from wsss_lightning.training.callbacks.progress import StageProgress


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


def test_descriptions_of_progress_bars_start_with_the_stage():
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
