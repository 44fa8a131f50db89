import pytest
import pytorch_lightning as pl
import torch
from facts import raises_naming
from torch.utils.data import DataLoader

from wsss_lightning.training.callbacks.coverage_check import CoverageCheck

NAMES = [f"x{i}" for i in range(5)]


class _Data(pl.LightningDataModule):
    """Declares five images and loads the given ones."""

    def __init__(self, names):
        super().__init__()
        self.names = names
        self.expected_names = {"val": NAMES, "predict": NAMES}

    def _loader(self):
        return DataLoader([{"name": name} for name in self.names], batch_size=2)

    val_dataloader = predict_dataloader = _loader


class _Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def validation_step(self, batch, batch_idx):
        pass

    def predict_step(self, batch, batch_idx):
        return batch["name"]


def run(use, names, **arguments):
    trainer = pl.Trainer(
        callbacks=[CoverageCheck()],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        **arguments,
    )
    getattr(trainer, use)(_Module(), _Data(names))


@pytest.mark.parametrize("use", ["validate", "predict"])
def test_images_that_are_covered_once_pass(use):
    run(use, NAMES[::-1])


@pytest.mark.parametrize("use", ["validate", "predict"])
@pytest.mark.parametrize(
    ("names", "facts"),
    [
        (NAMES[:3], [3, 5, "x3, x4"]),
        ([*NAMES, "x0"], [6, 5, "x0"]),
        (["x9"] * 5, [5, "x0, x1, x2", 2, "x9"]),
    ],
)
def test_missing_or_repeated_images_raise_an_error(use, names, facts):
    with raises_naming(RuntimeError, *facts):
        run(use, names)


def test_a_restricted_validation_is_not_checked():
    run("validate", NAMES, limit_val_batches=1)
