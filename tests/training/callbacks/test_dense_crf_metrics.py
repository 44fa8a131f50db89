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
from wsss_lightning.training.callbacks.dense_crf_metrics import DenseCRFMetrics

PARAMETERS = CRFParameters(8, 13, 1, w1=6, w2=1, iterations=5)


class EchoModule(pl.LightningModule):
    """A module whose output is computed from the batch by a given function."""

    def __init__(self, form=lambda batch: {"marginal": batch["marginal"]}):
        super().__init__()
        self.net, self.form = nn.Identity(), form

    def validation_step(self, batch, batch_idx):
        return self.form(batch)

    def test_step(self, batch, batch_idx):
        return self.form(batch)


class OutputRecorder(pl.Callback):
    def __init__(self):
        self.marginals = []

    def on_validation_batch_end(self, trainer, module, outputs, *_):
        self.marginals.append(outputs["marginal"])


def noisy_batches(count=3, size=24):
    """Images of coloured squares with their masks, and noisy marginals."""
    batches = []
    for i in range(count):
        random = np.random.RandomState(i)
        mask = np.zeros((2, size, size), np.int64)
        mask[:, 4 + i : 16, 6:18] = 1
        image = torch.full((2, 3, size, size), 0.2)
        image[:, 0][torch.from_numpy(mask) == 1] = 0.9
        noisy = np.clip(0.5 + 0.25 * (2 * mask - 1) + 0.4 * random.randn(*mask.shape), 0.05, 0.95)
        one = torch.from_numpy(noisy).float()
        marginal = torch.stack([1 - one, one, torch.zeros_like(one)], dim=1)
        mask[:, 0] = 255
        batches.append({"image": image, "mask": torch.from_numpy(mask), "marginal": marginal})
    return batches


def evaluate(module, batches, *callbacks, run="validate", **arguments):
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=list(callbacks),
        **arguments,
    )
    loader = DataLoader(batches, batch_size=None)
    (metrics,) = getattr(trainer, run)(module, loader, verbose=False)
    return metrics


def compute_miou(batches):
    without, refined = Confusion(3), Confusion(3)
    for batch in batches:
        for image, marginal, mask in zip(
            batch["image"], batch["marginal"], batch["mask"], strict=True
        ):
            pixels = (image * 255).round().byte().permute(1, 2, 0)
            result = mean_field(pixels, unary_from_scores(marginal[:2]), PARAMETERS)
            without.update(marginal.argmax(0), mask)
            refined.update(result.argmax(0), mask)
    return miou(without.compute()), miou(refined.compute())


@pytest.mark.parametrize(("run", "stage"), [("validate", "val"), ("test", "test")])
def test_miou_with_and_without_crf_covers_the_whole_split(run, stage):
    batches = noisy_batches()
    metrics = evaluate(EchoModule(), batches, DenseCRFMetrics(PARAMETERS, num_classes=2), run=run)
    without, refined = compute_miou(batches)
    assert refined > without + 0.05  # the CRF removes the noise
    assert metrics[f"{stage}/miou_without_crf"] == pytest.approx(without, abs=1e-6)
    assert metrics[f"{stage}/miou_crf"] == pytest.approx(refined, abs=1e-6)


def test_metrics_are_reset_between_epochs():
    callback, batches = DenseCRFMetrics(PARAMETERS, num_classes=2), noisy_batches()
    first = evaluate(EchoModule(), batches, callback)
    assert evaluate(EchoModule(), batches, callback) == first


def test_later_callbacks_receive_the_refined_marginals():
    recorder = OutputRecorder()
    evaluate(
        EchoModule(),
        noisy_batches(1),
        DenseCRFMetrics(PARAMETERS, num_classes=2, threads=2),
        recorder,
    )
    (marginals,) = recorder.marginals
    assert marginals.shape == (2, 3, 24, 24)
    assert not marginals[:, 2].any()  # a label that is nowhere likely stays out
    torch.testing.assert_close(marginals.sum(1), torch.ones(2, 24, 24), atol=1e-5, rtol=0)


def test_outputs_may_be_a_tensor_or_have_another_key():
    batches = noisy_batches(1)
    expected = evaluate(EchoModule(), batches, DenseCRFMetrics(PARAMETERS, num_classes=2))
    plain = EchoModule(lambda batch: batch["marginal"])
    assert evaluate(plain, batches, DenseCRFMetrics(PARAMETERS, num_classes=2)) == expected
    named = EchoModule(lambda batch: {"probability": batch["marginal"]})
    callback = DenseCRFMetrics(PARAMETERS, num_classes=2, output="probability")
    assert evaluate(named, batches, callback) == expected


@pytest.mark.parametrize(
    ("form", "facts"),
    [
        (lambda batch: None, ["NoneType", "DenseCRFMetrics", "(b k H W)"]),
        (lambda batch: {"loss": torch.zeros(())}, ["loss", "marginal="]),
    ],
)
def test_a_step_without_probabilities_is_refused(form, facts):
    with raises_naming(InputError, *facts):
        evaluate(EchoModule(form), noisy_batches(1), DenseCRFMetrics(PARAMETERS, num_classes=2))


@pytest.mark.long
def test_several_processes_have_the_metrics_of_a_single_one(tmp_path):
    """Each process has its own images, and the logged metrics cover all of them."""
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, script, Path(__file__).parent, root / "tests/helpers"],
        capture_output=True,
        text=True,
        cwd=root,
        timeout=300,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("found")]
    assert done.returncode == 0, done.stderr
    without, refined = compute_miou(noisy_batches(4))
    assert len(lines) == 2  # both processes hold the sum
    for line in lines:
        assert [float(v) for v in line.split()[1:]] == pytest.approx([without, refined], abs=1e-6)


TWO_PROCESSES = """
import sys

sys.path[:0] = sys.argv[1:]
from pytorch_lightning.strategies import DDPStrategy
from test_dense_crf_metrics import *


class Shard(EchoModule):
    def val_dataloader(self):
        rank = self.trainer.global_rank
        return DataLoader(noisy_batches(4)[rank::2], batch_size=None)


if __name__ == "__main__":
    module = Shard()
    module.unused = nn.Linear(1, 1)
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy=DDPStrategy(start_method="popen"), logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, callbacks=[DenseCRFMetrics(PARAMETERS, num_classes=2)],
    )
    trainer.validate(module, verbose=False)
    found = trainer.callback_metrics
    line = f"found {found['val/miou_without_crf'].item()} {found['val/miou_crf'].item()}"
    print(line + chr(10), end="", flush=True)
"""
