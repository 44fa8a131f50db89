import pytest
import pytorch_lightning as pl
import torch
from facts import assert_names_none, raises_naming
from torch import nn

from wsss_lightning.errors import InputError
from wsss_lightning.training.callbacks.non_finite_loss_guard import NonFiniteLossGuard


class Learner(pl.LightningModule):
    """loss = weight * value of the batch"""

    def __init__(self, lr):
        super().__init__()
        self.weight, self.lr = nn.Parameter(torch.ones(1)), lr

    def training_step(self, batch, batch_idx):
        return (self.weight * batch["value"]).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)


def fit(folder, values, module):
    folder.mkdir(exist_ok=True)
    (folder / "module.yaml").write_text("_target_: x")
    batches = [{"value": torch.tensor([v]), "name": [f"x{i}"]} for i, v in enumerate(values)]
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[NonFiniteLossGuard(folder, seed=3)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
    return trainer


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_non_finite_loss_stops_the_training_and_names_its_images(tmp_path, bad):
    with raises_naming(InputError, bad, "epoch 0", "step 1", "x1", "finite", "repro.pt") as error:
        fit(tmp_path, [1.0, bad, 1.0], module := Learner(lr=0.0))
    assert_names_none(error.value, "x0", "x2", "weight")
    assert module.weight.item() == 1
    repro = torch.load(tmp_path / "repro.pt", weights_only=True)
    assert repro["batch"]["name"] == ["x1"]
    assert repro["batch"]["value"].tolist() == pytest.approx([bad], nan_ok=True)
    assert (repro["epoch"], repro["step"], repro["seed"]) == (0, 1, 3)
    assert repro["module"] == "_target_: x"
    assert repro["state_dict"]["weight"].item() == 1


def test_non_finite_weights_are_named_with_the_images_of_the_step_before(tmp_path):
    with raises_naming(InputError, "weight", "x0", "x1"):
        # the first gradient is finite, the updated weight is not
        fit(tmp_path, [1e30, 1.0, 1.0], Learner(lr=1e30))


def test_a_checkpoint_of_non_finite_weights_is_never_written(tmp_path):
    with raises_naming(InputError, "weight", "x0"):
        fit(tmp_path, [1e30], Learner(lr=1e30))
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_training_with_finite_losses_is_not_stopped(tmp_path):
    assert fit(tmp_path, [1.0, 2.0, 3.0], Learner(lr=0.1)).global_step == 3
    assert not (tmp_path / "repro.pt").exists()
