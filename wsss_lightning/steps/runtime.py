"""Trainer, loggers and processes of steps, which do not affect their results."""

import multiprocessing
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig

from wsss_lightning.cache.stage_cache import current_stage
from wsss_lightning.data.module import DataModule
from wsss_lightning.steps.config_nodes import settings_of
from wsss_lightning.training.callbacks.coverage_check import CoverageCheck
from wsss_lightning.training.callbacks.progress import StageProgress
from wsss_lightning.training.distributed import block_sigchld_during_fork, translate_worker_errors
from wsss_lightning.training.trainer import build_trainer as trainer_of
from wsss_lightning.utils.console import console
from wsss_lightning.utils.files import write_text

WANDB_RUN = "wandb_run.txt"  # id of a training's W&B run


@dataclass(frozen=True)
class Runtime:
    """Trainer, loggers and processes of the steps of a run.

    Args:
        trainer: configuration of the `pl.Trainer`.
        loggers: configurations of loggers, by name.
        workers: processes that load data, or run the CRF.
        checkpoint_minutes: minutes of training between checkpoints within an epoch; None: only at
            the ends of epochs.
        validation_long_sides: longer side of validation images during training, in pixels, by
            target (`tags` or `masks`); absent or None keeps their size.
    """

    trainer: DictConfig
    loggers: DictConfig
    workers: int
    checkpoint_minutes: float | None = None
    validation_long_sides: Mapping[str, int | None] = field(default_factory=dict)


def build_trainer(
    runtime: Runtime, name: str, callbacks: Sequence[pl.Callback] = (), **arguments: Any
) -> pl.Trainer:
    """A trainer whose progress bar shows `name`.

    Args:
        runtime: configuration of the trainer.
        name: name of the stage.
        callbacks: further callbacks.
    """
    block_sigchld_during_fork()
    multiprocessing.set_forkserver_preload(["wsss_lightning.methods.segmentation.module"])
    own = [*callbacks, CoverageCheck()]
    if console.is_terminal and runtime.trainer.get("enable_progress_bar") is not False:
        own.append(StageProgress(name))
        arguments["enable_progress_bar"] = True
    return trainer_of(runtime.trainer, own, **arguments)


def predict_images(
    runtime: Runtime,
    folder: Path,
    module: pl.LightningModule,
    data: DataModule,
    writer: pl.Callback,
) -> None:
    """Predict a split, each image once over all processes; `writer` stores the predictions.

    Args:
        runtime: trainer and processes.
        folder: folder of the stage.
        module: module with `predict_step`.
        data: data module of the split.
        writer: callback that stores the predictions.
    """
    trainer = build_trainer(runtime, name_of(folder), callbacks=[writer])
    with translate_worker_errors(trainer):
        trainer.predict(module, data, return_predictions=False)


def build_loggers(runtime: Runtime, folder: Path, config: dict[str, Any]) -> list[Any]:
    """Loggers of a training; a resumed training continues its W&B run.

    Args:
        runtime: configurations of the loggers.
        folder: folder of the training.
        config: configuration of the training, for W&B.
    """
    loggers = []
    for name, node in runtime.loggers.items():
        arguments: dict[str, Any] = {"save_dir": folder}
        if name == "wandb":
            stored = folder / WANDB_RUN
            if not stored.is_file():
                write_text(stored, secrets.token_hex(4))
            stage = current_stage.get(name_of(folder))
            arguments |= {"version": stored.read_text(), "job_type": stage}
            arguments["config"] = {**settings_of(node.config), **config}
            arguments["name"] = f"{node.get('group') or node.project}/{stage}"
            # Lightning sets an environment variable, which a running session ignores
            arguments["mode"] = "offline" if node.get("offline") else None
        loggers.append(instantiate(node)(**arguments))
    return loggers


def max_steps(runtime: Runtime, of_schedule: int | None) -> int:
    """The smaller limit of schedule and trainer; -1: there is none."""
    limits = [of_schedule, runtime.trainer.get("max_steps")]
    return min((steps for steps in limits if steps is not None and steps >= 0), default=-1)


def gpus_of(runtime: Runtime) -> list[str]:
    """CUDA devices of the trainer, such as `cuda:0`."""
    trainer = trainer_of(runtime.trainer)
    if trainer.strategy.root_device.type != "cuda":
        return []
    return [f"cuda:{i}" for i in trainer.device_ids]


def name_of(folder: Path) -> str:
    """Name of the stage that writes a folder."""
    return folder.name.split("-")[0]
