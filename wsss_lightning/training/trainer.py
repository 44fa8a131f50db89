"""Arguments of `pl.Trainer`: those that change numbers, those that do not, and those refused.

Each stage is stored under a key. Whatever could change a number of the stage belongs to that key,
or a finished stage of another setting would be taken. So an argument counts unless `NEUTRAL` gives
the reason why it cannot change a number; one that Lightning adds later counts as well.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning_fabric.plugins import TorchCheckpointIO
from omegaconf import DictConfig, ListConfig, OmegaConf
from pytorch_lightning.callbacks import Checkpoint, StochasticWeightAveraging
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from wsss_lightning.cache.code_digest import CodeGraph, targets_in
from wsss_lightning.config.targets import check_targets
from wsss_lightning.errors import InputError
from wsss_lightning.training.distributed import PerStageDDP, silence_lightning

# arguments that change no number, and why
NEUTRAL: dict[str, str] = {
    "log_every_n_steps": "how often loggers write",
    "enable_progress_bar": "what the terminal shows",
    "enable_model_summary": "what the terminal shows",
    "enable_autolog_hparams": "what loggers write",
    "default_root_dir": "a folder; checkpoints and logs have folders of their own",
}

# arguments that change numbers, or that nobody has shown to change none
COUNTED = frozenset(
    {
        "accelerator",  # as resolved: rounding differs between a CPU and a GPU
        # as the number of processes: batch norms that are not synchronised see a share of a batch
        # each, and sums of gradients round differently. Which devices they are does not count
        "devices",
        "strategy",
        "sync_batchnorm",
        "precision",
        "callbacks",
        "plugins",
        "min_epochs",
        "max_steps",
        "min_steps",
        "limit_train_batches",
        "val_check_interval",  # curves of a training are results too
        "check_val_every_n_epoch",
        "num_sanity_val_steps",
        "accumulate_grad_batches",
        "gradient_clip_val",
        "gradient_clip_algorithm",
        "deterministic",
        "benchmark",
        "inference_mode",
        "profiler",  # a profile is only taken of a stage that is done
        "detect_anomaly",
        "model_registry",
    }
)

_QUICK = "fit.method.max_epochs=1 fit.segmenter.max_epochs=1 +trainer.limit_train_batches=2"
_WHOLE = (
    "scores are always those of all images of a split. For a quick run list fewer images "
    f"(data.dataset.lists), or train less: {_QUICK}"
)
# arguments that a run cannot take: the values that it accepts all the same, and what to do instead
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "fast_dev_run": (
        (None, False, 0),
        f"it keeps no trained network, which the next step needs. For a quick run use {_QUICK}",
    ),
    "barebones": (
        (None, False),
        f"it keeps no trained network, which the next step needs. For a quick run use {_QUICK}",
    ),
    "max_epochs": (
        (None,),
        "each network has a schedule of its own; set fit.method.max_epochs, "
        "fit.segmenter.max_epochs or refine.schedule.max_epochs",
    ),
    "max_time": (
        (None,),
        "the trained network would depend on the speed of the machine; bound the training by "
        "fit.method.max_epochs, fit.segmenter.max_epochs or +trainer.max_steps",
    ),
    "limit_val_batches": ((None, 1.0), _WHOLE),
    "limit_predict_batches": ((None, 1.0), _WHOLE),
    "limit_test_batches": ((None, 1.0), _WHOLE),
    "overfit_batches": (
        (None, 0, 0.0),
        f"it would validate on training images. To train on a few batches use {_QUICK}",
    ),
    "logger": ((None,), "loggers are a group of their own; choose logger=csv, wandb or another"),
    "enable_checkpointing": (
        (None, True),
        "the next step reads the checkpoint of a training; checkpoint_minutes says how often one "
        "is written",
    ),
    "use_distributed_sampler": (
        (None, False),
        "Lightning's sampler repeats images to fill batches; the samplers of a run share images "
        "out exactly. Leave it false",
    ),
    "reload_dataloaders_every_n_epochs": (
        (None, 0),
        "data do not change during a run. Leave it out",
    ),
    "num_nodes": (
        (None, 1),
        "a run uses one machine. Leave it out; several machines share the jobs of a sweep "
        "(hydra/launcher=slurm)",
    ),
}
# least value of a number
LEAST: dict[str, int] = {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1}
# of a training that would make no step
NO_STEP: dict[str, str] = {
    "limit_train_batches": "give the number of batches of an epoch (2), or a share of them (0.1)",
    "max_steps": "give the number of steps, or -1 for no bound",
}

# callbacks that a training cannot take, and why
NO_CALLBACKS: dict[type[pl.Callback], str] = {
    Checkpoint: "the run keeps the checkpoint of each training itself (checkpoint_minutes says how "
    "often one is written)",
    StochasticWeightAveraging: "it sets the averaged weights after the last checkpoint, from which "
    "the next step reads the network",
}


def check_trainer(node: DictConfig, schedules: Mapping[str, int]) -> str:
    """Check a trainer before any work is done, by building it.

    Args:
        node: configuration of a `pl.Trainer`.
        schedules: batch size of each network that will be trained, by its key.

    Returns:
        Digest of all arguments that may change a number and of the code of their `_target_`s,
        with the accelerator and the number of processes that this machine gives them.

    Raises:
        InputError: an argument is unknown, refused or out of range; this machine lacks the
            accelerator or the devices; or several processes cannot share a batch evenly.
    """
    check_targets(OmegaConf.create({"trainer": OmegaConf.to_container(node, resolve=True)}))
    _check_arguments(node)
    trainer = build_trainer(node, max_epochs=1)
    _check_processes(node, trainer)
    for key, batch_size in schedules.items():
        if batch_size % trainer.world_size:
            raise InputError(
                f"{key} is {batch_size}, but trainer.devices gives {trainer.world_size} processes, "
                f"which share a batch evenly; set {key} to a multiple of {trainer.world_size}, or "
                "change trainer.devices."
            )
    counted = arguments_that_count(settings(node))
    resolved = {
        **counted,
        "code": CodeGraph().digest(targets=targets_in(counted)),
        "accelerator": type(trainer.accelerator).__name__,
        "devices": trainer.world_size,
    }
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()[:12]


def arguments_that_count(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a trainer without those of `NEUTRAL`."""
    return {key: value for key, value in arguments.items() if key not in NEUTRAL}


def settings(node: DictConfig) -> dict[str, Any]:
    """Arguments as they are configured; nested nodes are mappings."""
    plain: Any = OmegaConf.to_container(node, resolve=True)
    return {str(key): value for key, value in plain.items()}


def build_trainer(
    node: DictConfig, own: list[pl.Callback] | None = None, **forced: Any
) -> pl.Trainer:
    """A trainer of the configuration.

    Callbacks of the configuration watch and change trainings; a trainer without `max_epochs`
    validates or predicts, and has none of them.

    Args:
        own: callbacks of the run.
        forced: arguments that the run sets itself.

    Raises:
        InputError: Lightning refuses the arguments, or this machine cannot run them.
    """
    silence_lightning()
    node = OmegaConf.create(settings(node))  # a copy that keys can be taken from
    configured = node.pop("callbacks", None)
    trains = "max_epochs" in forced
    usual: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": trains,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        # flags of PyTorch, which an earlier job of a sweep may have set
        "deterministic": False,
        "benchmark": False,
    }
    usual = {key: value for key, value in usual.items() if node.get(key) is None}
    try:
        added = instantiate(configured, _convert_="all") if configured and trains else []
        added = added if isinstance(added, list) else [added]
        for callback in added:
            for kind, reason in NO_CALLBACKS.items():
                if isinstance(callback, kind):
                    raise InputError(
                        f"trainer.callbacks has a {type(callback).__name__}, but {reason}; leave "
                        "it out."
                    )
        trainer = instantiate(node, _convert_="all")(
            callbacks=[*(own or []), *added], **{**usual, **forced}
        )
    except InputError:
        raise
    except _REFUSALS as error:
        cause = error.__cause__ or error
        raise InputError(
            f"trainer cannot be built on this machine: {cause} Change that key; trainer=auto takes "
            "what the machine has, trainer=cpu its CPU."
        ) from error
    return trainer


_REFUSALS = (
    MisconfigurationException,
    InstantiationException,
    ValueError,
    TypeError,
    RuntimeError,
    ImportError,
)


def _check_arguments(node: DictConfig) -> None:
    for key, value in node.items():
        key = str(key)
        if key in REFUSED:
            accepted, instead = REFUSED[key]
            # 1 is one batch, 1.0 all of them
            if not any(type(value) is type(one) and value == one for one in accepted):
                raise InputError(f"trainer.{key} is {_typed(value)}, but {instead}.")
        if key in LEAST and value is not None and not _at_least(value, LEAST[key]):
            raise InputError(
                f"trainer.{key} is {_typed(value)}; set a whole number of {LEAST[key]} or more."
            )
        if key in NO_STEP and value is not None and value == 0:
            raise InputError(
                f"trainer.{key} is {_typed(value)}, but nothing is learnt without a step; "
                f"{NO_STEP[key]}."
            )


def _at_least(value: Any, least: int) -> bool:
    # keys of a mapping (accumulation by epoch) are Lightning's own business
    return not isinstance(value, (int, float)) or (isinstance(value, int) and value >= least)


def _check_processes(node: DictConfig, trainer: pl.Trainer) -> None:
    """Several processes need our strategy: Lightning's starts the command line once more."""
    strategy, count = trainer.strategy, trainer.world_size
    on_cpu = type(trainer.accelerator).__name__ == "CPUAccelerator"
    group, devices = ("ddp_cpu" if on_cpu else "ddp"), _typed(node.get("devices"))
    if not isinstance(strategy, (SingleDeviceStrategy, PerStageDDP)):
        given = node.get("strategy")
        named = "" if given is None or given == "auto" else f", trainer.strategy is {_typed(given)}"
        raise InputError(
            f"trainer.devices is {devices}{named}; several processes are started by "
            f"trainer={group} trainer.devices={max(count, 2) if on_cpu else devices}, and one by "
            f"trainer={'cpu' if on_cpu else 'gpu'} (trainer.strategy=auto)."
        )
    if on_cpu and count > 1 and getattr(strategy, "_layer_sync", None) is not None:
        raise InputError(
            "trainer.sync_batchnorm is true, but PyTorch synchronises batch norms on GPUs only; "
            "set trainer.sync_batchnorm=false, or choose trainer=ddp."
        )
    writer = type(strategy.checkpoint_io)
    if writer is not TorchCheckpointIO:
        raise InputError(
            f"trainer.plugins has {writer.__name__}, but the run writes checkpoints itself, so "
            "that a kill never leaves a part of one; leave it out."
        )


def _typed(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, (DictConfig, ListConfig)):
        value = OmegaConf.to_container(value, resolve=True)
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)
