import pytorch_lightning as pl
import torch
from torch import nn

from wsss_lightning.training.callbacks.step_seed import StepSeed


class RandomModule(pl.LightningModule):
    """Records a random number of each step, as dropout would draw it."""

    def __init__(self):
        super().__init__()
        self.layer, self.drawn = nn.Linear(1, 1), []

    def training_step(self, batch, batch_idx):
        self.drawn.append(torch.rand(()).item())
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def draw(folder, epochs: int, seed: int = 1, ckpt_path=None) -> list[float]:
    torch.manual_seed(len(list(folder.iterdir())))  # numbers drawn before must not matter
    trainer = pl.Trainer(
        max_epochs=epochs,
        callbacks=[StepSeed(seed)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    module = RandomModule()
    loader = torch.utils.data.DataLoader(torch.zeros(4, 1), batch_size=2)
    trainer.fit(module, loader, ckpt_path=ckpt_path)
    trainer.save_checkpoint(folder / f"{epochs}.ckpt")
    return module.drawn


def test_a_resumed_training_draws_the_numbers_of_an_uninterrupted_one(tmp_path):
    first = draw(tmp_path, 2)
    rest = draw(tmp_path, 4, ckpt_path=tmp_path / "2.ckpt")
    assert first + rest == draw(tmp_path, 4)
    assert len(set(first + rest)) == 8  # all steps draw different numbers


def test_another_seed_draws_other_numbers(tmp_path):
    assert not set(draw(tmp_path, 2, seed=1)) & set(draw(tmp_path, 2, seed=2))
