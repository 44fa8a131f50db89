"""The `pl.Trainer` of the configuration, and the arguments that it accepts.

Every argument that could change a result belongs to the cache key of a run; otherwise a result of
other settings would be reused. An argument is part of the key unless `NEUTRAL` explains why it
cannot change a result, so that arguments of later Lightning versions are part of it too.
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
from wsss_lightning.config.targets import allowed_packages, check_targets
from wsss_lightning.errors import InputError
from wsss_lightning.training.distributed import PerStageDDP, silence_lightning

# arguments that change no result, and why
NEUTRAL: dict[str, str] = {
    "log_every_n_steps": "sets how often loggers write",
    "enable_progress_bar": "sets what the terminal shows",
    "enable_model_summary": "sets what the terminal shows",
    "enable_autolog_hparams": "sets what loggers write",
    "default_root_dir": "is unused: checkpoints and logs have their own folders",
}

# arguments that change results, or may do so
COUNTED = frozenset(
    {
        "accelerator",  # the one in use, even if chosen by "auto": CPUs and GPUs round differently
        # only the number of processes: each normalises its own part of a batch, unless batch norms
        # are synchronised, and sums of gradients round differently
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
        "val_check_interval",  # training curves are results too
        "check_val_every_n_epoch",
        "num_sanity_val_steps",
        "accumulate_grad_batches",
        "gradient_clip_val",
        "gradient_clip_algorithm",
        "deterministic",
        "benchmark",
        "inference_mode",
        "profiler",  # otherwise a cached stage would be reused without a profile
        "detect_anomaly",
        "model_registry",
    }
)

_QUICK = "fit.method.max_epochs=1 fit.segmenter.max_epochs=1 +trainer.limit_train_batches=2"
_WHOLE = (
    "scores are always computed on all images of a split. For a quick run list fewer images "
    f"(data.dataset.lists), or train less: {_QUICK}"
)
# refused arguments: the values that are accepted nevertheless, and what to do instead
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "fast_dev_run": (
        (None, False, 0),
        f"it saves no trained network for the next step. For a quick run use {_QUICK}",
    ),
    "barebones": (
        (None, False),
        f"it saves no trained network for the next step. For a quick run use {_QUICK}",
    ),
    "max_epochs": (
        (None,),
        "each network has its own schedule; set fit.method.max_epochs, fit.segmenter.max_epochs or "
        "refine.schedule.max_epochs",
    ),
    "max_time": (
        (None,),
        "the trained network would depend on the speed of the machine; limit the training with "
        "fit.method.max_epochs, fit.segmenter.max_epochs or +trainer.max_steps",
    ),
    "limit_val_batches": ((None, 1.0), _WHOLE),
    "limit_predict_batches": ((None, 1.0), _WHOLE),
    "limit_test_batches": ((None, 1.0), _WHOLE),
    "overfit_batches": (
        (None, 0, 0.0),
        f"it validates on training images. To train on a few batches use {_QUICK}",
    ),
    "logger": ((None,), "loggers have their own group; choose logger=csv, wandb or another"),
    "enable_checkpointing": (
        (None, True),
        "the next step reads the checkpoint of a training; checkpoint_minutes sets how often it is "
        "saved",
    ),
    "use_distributed_sampler": (
        (None, False),
        "Lightning's sampler repeats images to fill batches, while the samplers of this package "
        "use each image once. Leave it false",
    ),
    "reload_dataloaders_every_n_epochs": (
        (None, 0),
        "data do not change during a run. Remove it",
    ),
    "num_nodes": (
        (None, 1),
        "a run uses one machine. Remove it; several machines can share the jobs of a sweep "
        "(hydra/launcher=slurm)",
    ),
}
# smallest value of a number
LEAST: dict[str, int] = {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1}
# arguments that must not be 0, since a training needs a step: what to set instead
NO_STEP: dict[str, str] = {
    "limit_train_batches": "set the number of batches of an epoch (2), or a share of them (0.1)",
    "max_steps": "set the number of steps, or -1 for no limit",
}

# callbacks that a training refuses, and why
NO_CALLBACKS: dict[type[pl.Callback], str] = {
    Checkpoint: "each training already saves its checkpoint (checkpoint_minutes sets how often)",
    StochasticWeightAveraging: "it averages weights after the last checkpoint, which the next step "
    "reads",
}


def check_trainer(node: DictConfig, schedules: Mapping[str, int]) -> str:
    """Check the configuration of a trainer by building it.

    Args:
        node: configuration of a `pl.Trainer`.
        schedules: batch size of each network to train, by its configuration key.

    Returns:
        Digest of all arguments that may change a result, of the code of their `_target_`s, and of
        the accelerator and the number of processes on this machine.

    Raises:
        InputError: an argument is unknown, refused or out of range; this machine lacks the
            accelerator or the devices; or a batch cannot be divided evenly among the processes.
    """
    check_targets(OmegaConf.create({"trainer": OmegaConf.to_container(node, resolve=True)}))
    _check_arguments(node)
    trainer = build_trainer(node, max_epochs=1)
    _check_processes(node, trainer)
    for key, batch_size in schedules.items():
        if batch_size % trainer.world_size:
            raise InputError(
                f"{key} is {batch_size}, which cannot be divided evenly among the "
                f"{trainer.world_size} processes of trainer.devices; set {key} to a multiple of "
                f"{trainer.world_size}, or change trainer.devices."
            )
    counted = arguments_that_count(settings(node))
    resolved = {
        **counted,
        "code": CodeGraph(allowed_packages()).digest(targets=targets_in(counted)),
        "accelerator": type(trainer.accelerator).__name__,
        "devices": trainer.world_size,
    }
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()[:12]


def arguments_that_count(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a trainer that may change a result: all but those of `NEUTRAL`."""
    return {key: value for key, value in arguments.items() if key not in NEUTRAL}


def settings(node: DictConfig) -> dict[str, Any]:
    """Arguments of a trainer's configuration; nested nodes become dicts."""
    plain: Any = OmegaConf.to_container(node, resolve=True)
    return {str(key): value for key, value in plain.items()}


def build_trainer(
    node: DictConfig, callbacks: list[pl.Callback] | None = None, **forced: Any
) -> pl.Trainer:
    """Build the trainer of the configuration.

    Callbacks of the configuration apply to trainings only. A trainer without `max_epochs` validates
    or predicts, and has none of them.

    Args:
        node: configuration of a `pl.Trainer`.
        callbacks: further callbacks.
        forced: arguments that replace those of the configuration.

    Raises:
        InputError: Lightning rejects the arguments, or this machine cannot run them.
    """
    silence_lightning()
    node = OmegaConf.create(settings(node))  # a copy that can be changed
    configured = node.pop("callbacks", None)
    trains = "max_epochs" in forced
    defaults: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": trains,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        # flags of PyTorch that an earlier job of a sweep may have set
        "deterministic": False,
        "benchmark": False,
    }
    defaults = {key: value for key, value in defaults.items() if node.get(key) is None}
    try:
        added = _build_callbacks(configured) if trains else []
        return instantiate(node, _convert_="all")(
            callbacks=[*(callbacks or []), *added], **{**defaults, **forced}
        )
    except InputError:
        raise
    except _REFUSALS as error:
        cause = error.__cause__ or error
        raise InputError(
            f"trainer cannot be built on this machine: {cause} Change that key; trainer=auto uses "
            "a GPU if there is one, trainer=cpu the CPU."
        ) from error


def _build_callbacks(configured: Any) -> list[pl.Callback]:
    """Build one callback or a list of them.

    Raises:
        InputError: a callback is one of `NO_CALLBACKS`.
    """
    built = instantiate(configured, _convert_="all") if configured else []
    callbacks = built if isinstance(built, list) else [built]
    for callback in callbacks:
        for kind, reason in NO_CALLBACKS.items():
            if isinstance(callback, kind):
                raise InputError(
                    f"trainer.callbacks has a {type(callback).__name__}, but {reason}; remove it."
                )
    return callbacks


# what Lightning and Hydra raise when they reject an argument
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
            # types differ in meaning: 1 is one batch, 1.0 is all batches
            if not any(type(value) is type(one) and value == one for one in accepted):
                raise InputError(f"trainer.{key} is {_typed(value)}, but {instead}.")
        if key in LEAST and value is not None and not _at_least(value, LEAST[key]):
            raise InputError(
                f"trainer.{key} is {_typed(value)}, but must be a whole number, {LEAST[key]} or "
                "more."
            )
        if key in NO_STEP and value is not None and value == 0:
            raise InputError(
                f"trainer.{key} is {_typed(value)}, but a training needs at least one step; "
                f"{NO_STEP[key]}."
            )


def _at_least(value: Any, least: int) -> bool:
    # Lightning checks mappings (accumulation by epoch) itself
    return not isinstance(value, (int, float)) or (isinstance(value, int) and value >= least)


def _check_processes(node: DictConfig, trainer: pl.Trainer) -> None:
    """Check the strategy: several processes need `PerStageDDP`.

    Lightning's strategies run the command line again in each process.
    """
    strategy, count = trainer.strategy, trainer.world_size
    on_cpu = type(trainer.accelerator).__name__ == "CPUAccelerator"
    group, devices = ("ddp_cpu" if on_cpu else "ddp"), _typed(node.get("devices"))
    if not isinstance(strategy, (SingleDeviceStrategy, PerStageDDP)):
        given = node.get("strategy")
        other = "" if given is None or given == "auto" else f", trainer.strategy is {_typed(given)}"
        raise InputError(
            f"trainer.devices is {devices}{other}; for several processes set "
            f"trainer={group} trainer.devices={max(count, 2) if on_cpu else devices}, for one "
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
            f"trainer.plugins has {writer.__name__}, but a run needs its own writer of "
            "checkpoints, which never leaves an incomplete file; remove it."
        )


def _typed(value: Any) -> str:
    """A value in the notation of the command line."""
    if isinstance(value, (DictConfig, ListConfig)):
        value = OmegaConf.to_container(value, resolve=True)
    names = {None: "null", True: "true", False: "false"}
    return names[value] if value is None or isinstance(value, bool) else str(value)
