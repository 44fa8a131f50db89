import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from facts import raises_naming
from torch import nn
from torch.utils.data import DataLoader

from wsss_lightning.densecrf.api import mean_field
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.densecrf.unary import unary_from_scores
from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.metrics import Confusion, miou
from wsss_lightning.training.callbacks.dense_crf import DenseCRF

PARAMETERS = CRFParameters(8, 13, 1, w1=6, w2=1, iterations=5)


class Says(pl.LightningModule):
    """Puts out what the batch holds, in the form that is asked for."""

    def __init__(self, form=lambda batch: {"marginal": batch["marginal"]}):
        super().__init__()
        self.net, self.form = nn.Identity(), form

    def validation_step(self, batch, batch_idx):
        return self.form(batch)

    def test_step(self, batch, batch_idx):
        return self.form(batch)


class Listens(pl.Callback):
    def __init__(self):
        self.heard = []

    def on_validation_batch_end(self, trainer, module, outputs, *_):
        self.heard.append(outputs["marginal"])


def noisy_batches(count=3, size=24):
    """Squares of another colour, marginals that see them through noise."""
    batches = []
    for i in range(count):
        random = np.random.RandomState(i)
        mask = np.zeros((2, size, size), np.int64)
        mask[:, 4 + i : 16, 6:18] = 1
        image = torch.full((2, 3, size, size), 0.2)
        image[:, 0][torch.from_numpy(mask) == 1] = 0.9
        seen = np.clip(0.5 + 0.25 * (2 * mask - 1) + 0.4 * random.randn(*mask.shape), 0.05, 0.95)
        one = torch.from_numpy(seen).float()
        marginal = torch.stack([1 - one, one, torch.zeros_like(one)], dim=1)
        mask[:, 0] = 255
        batches.append({"image": image, "mask": torch.from_numpy(mask), "marginal": marginal})
    return batches


def watch(module, batches, *callbacks, run="validate", **how):
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=list(callbacks),
        **how,
    )
    loader = DataLoader(batches, batch_size=None)
    (metrics,) = getattr(trainer, run)(module, loader, verbose=False)
    return metrics


def by_hand(batches):
    without, refined = Confusion(3), Confusion(3)
    for batch in batches:
        for image, marginal, mask in zip(
            batch["image"], batch["marginal"], batch["mask"], strict=True
        ):
            pixels = (image * 255).round().byte().permute(1, 2, 0)
            found = mean_field(pixels, unary_from_scores(marginal[:2]), PARAMETERS)
            without.update(marginal.argmax(0), mask)
            refined.update(found.argmax(0), mask)
    return miou(without.compute()), miou(refined.compute())


@pytest.mark.parametrize(("run", "stage"), [("validate", "val"), ("test", "test")])
def test_miou_with_and_without_are_those_of_the_whole_split(run, stage):
    batches = noisy_batches()
    metrics = watch(Says(), batches, DenseCRF(PARAMETERS, num_classes=2), run=run)
    without, refined = by_hand(batches)
    assert refined > without + 0.05  # the CRF removes the noise
    assert metrics[f"{stage}/miou_without_crf"] == pytest.approx(without, abs=1e-6)
    assert metrics[f"{stage}/miou_crf"] == pytest.approx(refined, abs=1e-6)


def test_several_epochs_do_not_add_up():
    callback, batches = DenseCRF(PARAMETERS, num_classes=2), noisy_batches()
    first = watch(Says(), batches, callback)
    assert watch(Says(), batches, callback) == first


def test_callbacks_behind_it_see_the_refined_marginals():
    listener = Listens()
    watch(Says(), noisy_batches(1), DenseCRF(PARAMETERS, num_classes=2, threads=2), listener)
    (heard,) = listener.heard
    assert heard.shape == (2, 3, 24, 24)
    assert not heard[:, 2].any()  # a label that is nowhere likely stays out
    torch.testing.assert_close(heard.sum(1), torch.ones(2, 24, 24), atol=1e-5, rtol=0)


def test_a_plain_tensor_or_another_key_serve_too():
    batches = noisy_batches(1)
    expected = watch(Says(), batches, DenseCRF(PARAMETERS, num_classes=2))
    plain = Says(lambda batch: batch["marginal"])
    assert watch(plain, batches, DenseCRF(PARAMETERS, num_classes=2)) == expected
    named = Says(lambda batch: {"probability": batch["marginal"]})
    callback = DenseCRF(PARAMETERS, num_classes=2, output="probability")
    assert watch(named, batches, callback) == expected


@pytest.mark.parametrize(
    ("form", "facts"),
    [
        (lambda batch: None, ["NoneType", "DenseCRF", "(b k H W)"]),
        (lambda batch: {"loss": torch.zeros(())}, ["loss", "marginal="]),
    ],
)
def test_a_step_without_probabilities_is_told_what_to_return(form, facts):
    with raises_naming(InputError, *facts):
        watch(Says(form), noisy_batches(1), DenseCRF(PARAMETERS, num_classes=2))


@pytest.mark.long
def test_several_processes_count_what_one_does(tmp_path):
    """Each process sees its own images; the logged figure is that of all of them."""
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, script, Path(__file__).parent],
        capture_output=True,
        text=True,
        cwd=root,
        timeout=300,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("found")]
    assert done.returncode == 0, done.stderr
    without, refined = by_hand(noisy_batches(4))
    assert len(told) == 2  # both processes hold the sum
    for line in told:
        assert [float(v) for v in line.split()[1:]] == pytest.approx([without, refined], abs=1e-6)


TWO_PROCESSES = """
import sys

sys.path.insert(0, sys.argv[1])
from pytorch_lightning.strategies import DDPStrategy
from test_dense_crf import *


class Shard(Says):
    def val_dataloader(self):
        rank = self.trainer.global_rank
        return DataLoader(noisy_batches(4)[rank::2], batch_size=None)


if __name__ == "__main__":
    module = Shard()
    module.unused = nn.Linear(1, 1)
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy=DDPStrategy(start_method="popen"), logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, callbacks=[DenseCRF(PARAMETERS, num_classes=2)],
    )
    trainer.validate(module, verbose=False)
    found = trainer.callback_metrics
    line = f"found {found['val/miou_without_crf'].item()} {found['val/miou_crf'].item()}"
    print(line + chr(10), end="", flush=True)
"""
