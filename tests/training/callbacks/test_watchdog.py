import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from facts import assert_names, raises_naming
from torch import nn

from wsss_lightning.errors import InputError
from wsss_lightning.training.callbacks.watchdog import NonFiniteLossGuard, PseudoMaskAlarms

TAGS = torch.tensor([1.0, 0.0])


class Learner(pl.LightningModule):
    """Its loss is the batch's value times a weight."""

    def __init__(self, lr):
        super().__init__()
        self.weight, self.lr = nn.Parameter(torch.ones(1)), lr

    def training_step(self, batch, batch_idx):
        return (self.weight * batch["value"]).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)


def fit(folder, values, lr=0.0):
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
    module = Learner(lr)
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    try:
        trainer.fit(module, loader)
    finally:
        kept.append(module)
    return trainer


kept = []


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_stops_the_training_with_the_names_of_its_images(tmp_path, bad):
    with pytest.raises(InputError) as told:
        fit(tmp_path, [1.0, bad, 1.0])
    for part in (f"the loss is {bad} in epoch 0, step 1", "images x1", "all weights were finite"):
        assert part in str(told.value)
    assert kept[-1].weight.item() == 1
    repro = torch.load(tmp_path / "repro.pt", weights_only=True)
    assert repro["batch"]["name"] == ["x1"]
    assert repro["batch"]["value"].tolist() == pytest.approx([bad], nan_ok=True)
    assert (repro["epoch"], repro["step"], repro["seed"]) == (0, 1, 3)
    assert repro["module"] == "_target_: x"
    assert repro["state_dict"]["weight"].item() == 1


def test_where_weights_were_lost_the_step_before_is_named(tmp_path):
    with pytest.raises(InputError) as told:
        fit(tmp_path, [1e30, 1.0, 1.0], lr=1e30)  # the gradient is finite, the weight is not
    assert_names(told.value, "weight", "x0")


def test_a_checkpoint_of_lost_weights_is_never_written(tmp_path):
    with raises_naming(InputError, "weight", "x0"):
        fit(tmp_path, [1e30], lr=1e30)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_usual_training_is_left_alone(tmp_path):
    assert fit(tmp_path, [1.0, 2.0, 3.0], lr=0.1).global_step == 3
    assert not (tmp_path / "repro.pt").exists()


# pseudo masks


def alarms(*masks, tags=TAGS, predicted=False):
    watch = PseudoMaskAlarms(["cat", "dog"], predicted)
    for i, mask in enumerate(masks):
        watch.update(f"x{i}", np.array(mask, np.uint8), tags)
    return " | ".join(watch.alarms())


GOOD = [[0, 0, 0, 1]]
EMPTY = [[0, 0, 0, 0]]


def test_good_masks_raise_no_alarm():
    assert alarms(*[GOOD] * 20) == ""


def test_ignored_pixels_are_no_label():
    assert alarms(*[[[0, 1, 255, 255]]] * 5) == ""
    assert_names(alarms([[255, 255]]), "no pixel")


@pytest.mark.parametrize("mask", [EMPTY, [[1, 1, 1, 1]], [[1, 255, 255, 255]]])
def test_masks_of_one_label_are_counted_and_named(mask):
    told = alarms(*[GOOD] * 8, mask, mask)
    assert_names(told, 2, 10, "x8, x9")


def test_few_masks_of_one_label_are_usual():
    assert alarms(*[GOOD] * 9, EMPTY) == ""


def test_images_without_tags_are_background():
    assert "one label" not in alarms(*[EMPTY] * 5, tags=torch.zeros(2))


@pytest.mark.parametrize(
    ("background", "alarmed"),
    [(0.0, True), (0.04, True), (0.06, False), (0.96, False), (0.98, True)],
)
def test_a_share_of_background_that_no_data_has_is_told(background, alarmed):
    count = round(100 * background)
    mask = [[0] * count + [1] * (100 - count)]
    assert (f"{100 * background:.1f} %" in alarms(mask)) == alarmed


def test_classes_that_are_tagged_and_in_no_mask_are_named():
    both = torch.ones(2)
    assert_names(alarms(*[GOOD] * 3, tags=both), "dog")
    assert alarms(*[GOOD] * 3) == ""


@pytest.mark.parametrize(("mask", "share"), [(EMPTY, "100.0 %"), ([[1, 1, 1, 1]], "0.0 %")])
def test_predictions_of_nothing_or_of_objects_alone_raise_an_alarm(mask, share):
    told = alarms(*[mask] * 5, predicted=True)
    assert_names(told, "background", share)
    assert "score" not in told
    # single images of one label are no fault of a network
    assert alarms(*[EMPTY] * 3, *[GOOD] * 6, predicted=True) == ""
