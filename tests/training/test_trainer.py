"""Arguments of the trainer that are part of the cache key, and those that are refused."""

import inspect

import pytest
import pytorch_lightning as pl
import torch
from facts import assert_names, raises_naming
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, GradientAccumulationScheduler

from wsss_lightning.config.folder import conf_folder
from wsss_lightning.errors import InputError
from wsss_lightning.training.trainer import (
    COUNTED,
    NEUTRAL,
    REFUSED,
    build_trainer,
    check_trainer,
)

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def trainer(name="cpu", **arguments):
    """The node of `conf/trainer/<name>.yaml`, with further arguments."""
    folder = conf_folder() / "trainer"
    node = OmegaConf.load(folder / f"{name}.yaml")
    for parent in node.pop("defaults", []):
        node = OmegaConf.merge(trainer(parent), node)
    return OmegaConf.merge(node, arguments)


def digest(name="cpu", **arguments):
    return check_trainer(trainer(name, **arguments), {})


def test_every_argument_of_the_trainer_is_classified_once():
    arguments = set(inspect.signature(pl.Trainer.__init__).parameters) - {"self"}
    assert COUNTED | set(NEUTRAL) | set(REFUSED) == arguments
    assert len(COUNTED) + len(NEUTRAL) + len(REFUSED) == len(arguments)


EARLY = {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "train/loss"}
STEPS = {"_target_": "pytorch_lightning.callbacks.GradientAccumulationScheduler"}
AVERAGED = {"_target_": "pytorch_lightning.callbacks.StochasticWeightAveraging"}
CHANGES_RESULTS = [
    {"precision": "bf16-mixed"},
    {"precision": "64-true"},
    {"gradient_clip_val": 0.5},
    {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"},
    {"accumulate_grad_batches": 2},
    {"limit_train_batches": 1},
    {"limit_train_batches": 0.5},
    {"max_steps": 3},
    {"check_val_every_n_epoch": 1},
    {"deterministic": True},
    {"detect_anomaly": True},
    {"callbacks": [EARLY]},
    {"callbacks": [{**EARLY, "patience": 9}]},
    {"callbacks": EARLY},
    {"plugins": [{"_target_": "pytorch_lightning.plugins.layer_sync.TorchSyncBatchNorm"}]},
]


@pytest.fixture(autouse=True)
def _flags():
    """A trainer sets PyTorch's flags."""
    yield
    torch.use_deterministic_algorithms(False)


def test_only_arguments_that_may_change_results_are_part_of_the_digest():
    plain = digest()
    digests = [plain, *(digest(**arguments) for arguments in CHANGES_RESULTS), digest("ddp_cpu")]
    digests.append(digest("ddp_cpu", devices=3))
    assert len(set(digests)) == len(digests)
    shown = {"log_every_n_steps": 1, "enable_progress_bar": True, "default_root_dir": "elsewhere"}
    assert digest(**shown) == plain


@NO_GPU
def test_the_digest_has_the_accelerator_that_is_used():
    assert digest("auto") == digest("cpu")


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({"fast_dev_run": True}, ["trainer.fast_dev_run", "true", "+trainer.limit_train_batches="]),
        ({"fast_dev_run": 3}, ["trainer.fast_dev_run", 3]),
        ({"barebones": True}, ["trainer.barebones", "true"]),
        ({"max_epochs": 2}, ["trainer.max_epochs", 2, "fit.segmenter.max_epochs"]),
        ({"max_time": "00:01:00:00"}, ["trainer.max_time", "00:01:00:00", "+trainer.max_steps"]),
        # an int counts batches
        ({"limit_val_batches": 1}, ["trainer.limit_val_batches", 1, "data.dataset.lists"]),
        ({"limit_predict_batches": 0.5}, ["trainer.limit_predict_batches", 0.5]),
        ({"limit_test_batches": 2}, ["trainer.limit_test_batches", 2]),
        ({"limit_train_batches": 0}, ["trainer.limit_train_batches", 0]),
        ({"max_steps": 0}, ["trainer.max_steps", 0, -1]),
        ({"overfit_batches": 2}, ["trainer.overfit_batches", 2]),
        ({"logger": True}, ["trainer.logger", "true", "logger=csv"]),
        ({"enable_checkpointing": False}, ["trainer.enable_checkpointing", "false"]),
        ({"use_distributed_sampler": True}, ["trainer.use_distributed_sampler", "true"]),
        ({"reload_dataloaders_every_n_epochs": 1}, ["reload_dataloaders_every_n_epochs", 1]),
        ({"num_nodes": 2}, ["trainer.num_nodes", 2]),
        ({"accumulate_grad_batches": 0}, ["trainer.accumulate_grad_batches", 0, 1]),
        ({"check_val_every_n_epoch": 0}, ["trainer.check_val_every_n_epoch", 0, 1]),
        ({"gradient_clip_algorithm": "mean"}, ["trainer", "gradient_clip_algorithm", "mean"]),
        ({"gradient_clip": 1}, ["trainer.gradient_clip", "gradient_clip_val"]),
        ({"devices": 2}, ["trainer.devices", 2, "trainer=ddp_cpu trainer.devices=2"]),
        ({"devices": 2, "strategy": "ddp"}, ["trainer.strategy", "ddp", "trainer=ddp_cpu"]),
        ({"strategy": "ddp_spawn"}, ["trainer.strategy", "ddp_spawn", "trainer=cpu"]),
        ({"devices": 0}, ["trainer", "devices", "0"]),
        (
            {"callbacks": [{"_target_": "pytorch_lightning.callbacks.ModelCheckpoint"}]},
            ["trainer.callbacks", "ModelCheckpoint", "checkpoint_minutes"],
        ),
        (
            {"callbacks": [{**AVERAGED, "swa_lrs": 0.1}]},
            ["trainer.callbacks", "StochasticWeightAveraging"],
        ),
        (
            {"plugins": [{"_target_": "pytorch_lightning.plugins.io.AsyncCheckpointIO"}]},
            ["trainer.plugins", "AsyncCheckpointIO"],
        ),
    ],
    ids=str,
)
def test_an_unsuitable_argument_is_refused_with_an_alternative(arguments, facts):
    with pytest.raises(InputError) as caught:
        check_trainer(trainer(**arguments), {})
    assert_names(caught.value, *facts)


def test_explicit_defaults_are_accepted():
    digest(fast_dev_run=False, limit_val_batches=1.0, overfit_batches=0.0, max_epochs=None)


@NO_GPU
@pytest.mark.parametrize(
    "words",
    [
        ("gpu", {}),
        ("ddp", {}),
        ("cpu", {"accelerator": "mps"}),
        ("cpu", {"accelerator": "gpuu"}),  # Lightning lists the names it knows in any order
    ],
)
def test_a_device_that_the_machine_lacks_is_refused_with_an_alternative(words):
    name, arguments = words
    with pytest.raises(InputError) as caught:
        digest(name, **arguments)
    assert "trainer=auto" in str(caught.value)
    assert "trainer=cpu" in str(caught.value)


@pytest.mark.parametrize("arguments", [{"sync_batchnorm": True}, CHANGES_RESULTS[-1]])
def test_batch_norms_are_synchronised_on_gpus_only(arguments):
    with raises_naming(InputError, "trainer.sync_batchnorm", "trainer=ddp"):
        digest("ddp_cpu", **arguments)


def test_a_batch_size_that_processes_do_not_divide_is_refused():
    sizes = {"fit.method.batch_size": 9, "fit.segmenter.batch_size": 8}
    with raises_naming(InputError, "fit.segmenter.batch_size", 8, 3):
        check_trainer(trainer("ddp_cpu", devices=3), sizes)


def test_flags_of_an_earlier_job_are_reset():
    build_trainer(trainer("deterministic", accelerator="cpu"))
    assert torch.are_deterministic_algorithms_enabled()
    build_trainer(trainer())
    assert not torch.are_deterministic_algorithms_enabled()


def test_callbacks_of_the_configuration_apply_only_to_trainings():
    node = trainer(callbacks=[EARLY, {**STEPS, "scheduling": {0: 2}}])

    def kinds(**forced):
        return {type(callback) for callback in build_trainer(node, **forced).callbacks}

    added = {EarlyStopping, GradientAccumulationScheduler}
    assert added <= kinds(max_epochs=1)
    assert not added & kinds()
