import pytorch_lightning as pl
import torch
from facts import raises_naming
from torch import nn
from torch.utils.data import DataLoader

from wsss_lightning.training.callbacks.single_value_norm import SingleValueNorm


class PooledNorm(pl.LightningModule):
    """A batch norm after global average pooling, as in DeepLab's image pooling."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(2)
        self.norm.running_mean.fill_(1.0)
        self.norm.running_var.fill_(4.0)
        self.outputs = []

    def training_step(self, batch, batch_idx):
        pooled = batch.mean((-2, -1), keepdim=True)
        self.outputs.append(self.norm(pooled))
        return self.outputs[-1].sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


def trained(images, batch_size, callbacks):
    module = PooledNorm()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    trainer.fit(module, DataLoader(images, batch_size=batch_size))
    return module


def test_a_single_value_is_normalised_by_unchanged_running_statistics():
    module = trained(torch.full((1, 2, 3, 3), 5.0), 1, [SingleValueNorm()])
    expected = torch.full((1, 2, 1, 1), (5.0 - 1.0) / (4.0 + module.norm.eps) ** 0.5)
    torch.testing.assert_close(module.outputs[0], expected)
    assert module.norm.running_mean.tolist() == [1.0, 1.0]
    assert module.norm.running_var.tolist() == [4.0, 4.0]


def test_two_values_are_normalised_as_without_the_callback():
    images = torch.rand(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    plain, hooked = (trained(images, 2, callbacks) for callbacks in ([], [SingleValueNorm()]))
    assert torch.equal(torch.cat(plain.outputs), torch.cat(hooked.outputs))
    assert torch.equal(plain.norm.running_mean, hooked.norm.running_mean)
    assert torch.equal(plain.norm.running_var, hooked.norm.running_var)


def test_the_norm_is_restored_after_a_training():
    module = trained(torch.zeros(1, 2, 3, 3), 1, [SingleValueNorm()])
    module.train()
    with raises_naming(ValueError, 1):
        module.norm(torch.zeros(1, 2, 1, 1))
