import signal
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from facts import raises_naming
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import distributed
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException
from torch.utils.data import DataLoader
from torchmetrics import SumMetric
from torchmetrics.classification import MultilabelAveragePrecision

from wsss_lightning.data.module import SameSizeBatchSampler
from wsss_lightning.errors import InputError
from wsss_lightning.training.distributed import PerStageDDP, gather_states, translate_worker_errors


def trainer(*codes):
    """A trainer whose processes ended with these codes."""
    procs = [SimpleNamespace(exitcode=code, pid=100 + i) for i, code in enumerate(codes)]
    made = Mock(spec=pl.Trainer)
    made.strategy = SimpleNamespace(launcher=SimpleNamespace(procs=procs))
    made.world_size = len(codes)
    return made


def exited(rank):
    return ProcessExitedException("gone", rank, 100 + rank, -signal.SIGKILL)


def raised(text):
    return ProcessRaisedException(
        f"-- Process 0 terminated\nTraceback (most recent\n{text}", 0, 100
    )


@pytest.mark.parametrize(
    ("codes", "error", "facts"),
    [
        ((-15, -9), exited(1), ["process 1", 2, 101, "SIGKILL", "memory"]),
        ((3, -15), exited(0), ["process 0", 2, 100, 3]),
        # the other one noticed first
        (
            (1, -15),
            raised("RuntimeError: [gloo] Connection closed by peer [127.0.0.1]:5"),
            ["process 1", 2, 101, "SIGTERM"],
        ),
        (
            (1, -15),
            raised("wsss_lightning.errors.InputError: x.png is missing"),
            ["x.png is missing"],
        ),
        # an argument of the trainer that does not fit the data, in another process and in this one
        (
            (1, -15),
            raised("a.MisconfigurationException: 0.01 * 4 < 1"),
            ["0.01 * 4 < 1", "trainer"],
        ),
        ((), MisconfigurationException("0.01 * 4 < 1"), ["0.01 * 4 < 1", "trainer"]),
    ],
)
def test_the_failed_process_and_the_cause_are_named(codes, error, facts):
    with raises_naming(InputError, *facts), translate_worker_errors(trainer(*codes)):
        raise error


def test_a_defect_keeps_its_traceback():
    with raises_naming(RuntimeError, "ZeroDivisionError"), translate_worker_errors(trainer(1, -15)):
        raise raised("ZeroDivisionError: division by zero")


class RankModule(pl.LightningModule):
    """A batch norm with the input 1 in the first process and 3 in the second; nothing learns."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(1, momentum=1.0)
        self.count = SumMetric()
        self.count.update(torch.tensor(5.0))  # from an earlier step, so it must be reset

    def training_step(self, batch, batch_idx):
        value = torch.full((2, 1), 1.0 + 2 * self.global_rank)
        return self.norm(value).sum() * 0

    def validation_step(self, batch, batch_idx):
        self.count.update(torch.tensor(float(self.global_rank + 1)))

    def on_validation_epoch_end(self):
        self.log("mean", self.norm.running_mean[0])
        self.log("count", self.count.compute())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("validates", [True, False])
def test_statistics_are_averaged_and_counts_summed_over_processes(tmp_path, validates):
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=PerStageDDP("forkserver"),
        max_epochs=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[ModelCheckpoint(tmp_path, filename="last")],
    )
    data = DataLoader(torch.zeros(4, 1), batch_size=2)
    with translate_worker_errors(trainer):
        trainer.fit(RankModule(), data, data if validates else None)
    if validates:
        assert trainer.callback_metrics["mean"] == 2
        # each process takes one of the two batches
        assert trainer.callback_metrics["count"] == 3
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert stored["state_dict"]["norm.running_mean"].item() == 2


TAGS = torch.tensor([[1, 0], [0, 1], [1, 1]])
SCORES = torch.tensor([[0.9, 0.8], [0.2, 0.3], [0.1, 0.6]])


class ThreeImages(pl.LightningDataModule):
    """Three images of the same size, which form one batch."""

    def val_dataloader(self):
        rows = [{"score": s, "tags": t} for s, t in zip(SCORES, TAGS, strict=True)]
        return DataLoader(rows, batch_sampler=SameSizeBatchSampler([(1, 1)] * 3, batch_size=3))

    predict_dataloader = val_dataloader


class PrecisionModule(pl.LightningModule):
    """Average precision of given scores, a metric with list states; and hundreds of tensors."""

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.ParameterList(torch.zeros(1) for _ in range(300))
        self.precision = MultilabelAveragePrecision(2)

    def validation_step(self, batch, batch_idx):
        self.precision.update(batch["score"], batch["tags"])

    def on_validation_epoch_end(self):
        self.log("map", self.precision.compute())
        self.precision.reset()


def test_a_process_may_have_no_images_and_a_network_many_tensors():
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=PerStageDDP("forkserver"),
        logger=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    with translate_worker_errors(trainer):
        (metrics,) = trainer.validate(PrecisionModule(), ThreeImages(), verbose=False)
    alone = MultilabelAveragePrecision(2)
    alone.update(SCORES, TAGS)
    assert metrics["map"] == pytest.approx(alone.compute().item(), abs=0)


def test_states_of_processes_without_images_have_the_shape_and_type_of_the_others(monkeypatch):
    def gather(parts, state, group):
        parts[:] = [torch.tensor([]), torch.tensor([[1, 2]])]

    monkeypatch.setattr(distributed, "get_world_size", lambda group: 2)
    monkeypatch.setattr(distributed, "all_gather_object", gather)
    empty, whole = gather_states(torch.tensor([]))
    assert (empty.shape, empty.dtype) == ((0, 2), torch.int64)
    assert whole.tolist() == [[1, 2]]


FORKS = """
import logging, os, signal, sys
from wsss_lightning.training.distributed import block_sigchld_during_fork

def complains(number, frame):
    if frame.f_code.co_filename == logging.__file__:
        raise RuntimeError("a worker died")

if sys.argv[1:] == ["whole"]:
    block_sigchld_during_fork()
signal.signal(signal.SIGCHLD, complains)
for _ in range(25):
    if os.fork() == 0:
        os._exit(0)
assert signal.getsignal(signal.SIGCHLD) is complains
print(logging._lock._is_owned())
"""


def test_a_signal_during_a_fork_leaves_no_lock_held():  # without "whole" it does
    done = subprocess.run(
        [sys.executable, "-c", FORKS, "whole"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
