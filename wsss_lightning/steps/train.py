"""Training of a LightningModule, and loading of the trained module."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint

from wsss_lightning.data.module import DataModule
from wsss_lightning.data.transforms import TrainTransform
from wsss_lightning.errors import InputError
from wsss_lightning.methods.sc_cam.clusters import sub_tags
from wsss_lightning.methods.sc_cam.files import CLUSTERS, load_clusters
from wsss_lightning.steps.config_nodes import (
    crf_settings,
    remove_weights,
    set_statistics,
    settings_of,
)
from wsss_lightning.steps.datasets import data_module, datasets_of
from wsss_lightning.steps.runtime import (
    Runtime,
    build_loggers,
    build_trainer,
    max_steps,
    name_of,
)
from wsss_lightning.training.callbacks.dense_crf_metrics import DenseCRFMetrics
from wsss_lightning.training.callbacks.finish_loggers import FinishLoggers
from wsss_lightning.training.callbacks.non_finite_loss_guard import NonFiniteLossGuard
from wsss_lightning.training.callbacks.shared_step_axis import SharedStepAxis
from wsss_lightning.training.callbacks.single_value_norm import (
    SingleValueNorm,
    normalise_single_values,
)
from wsss_lightning.training.callbacks.step_seed import StepSeed
from wsss_lightning.training.callbacks.stop_after import StopAfter
from wsss_lightning.training.checkpoints import AtomicCheckpointIO, TimedCheckpoint, is_intact
from wsss_lightning.training.distributed import translate_worker_errors
from wsss_lightning.utils.console import warn
from wsss_lightning.utils.files import write_atomically, write_text

BLACK = (0.0, 0.0, 0.0)


def train(
    folder: Path,
    *,
    runtime: Runtime,
    module: DictConfig,
    data: DictConfig,
    schedule: DictConfig,
    target: str,
    masks: Path | None = None,
    clusters: Path | None = None,
    marginals: Mapping[str, Path] | None = None,
    encoder_from: Path | None = None,
    continue_from: Path | None = None,
    crf: DictConfig | None = None,
    epochs_before: int = 0,
    stop_epoch: int | None = None,
) -> None:
    """Train a module on the training split; write module.yaml, last.ckpt and CSV logs.

    An interrupted training continues from its last checkpoint. A schedule of 0 epochs stores the
    given network unchanged, without training or logs.

    Args:
        folder: to write to.
        runtime: trainer, loggers and processes.
        module: configuration of the LightningModule.
        data: configuration of the data set.
        schedule: number of epochs, batch size and augmentation.
        target: `tags` or `masks`: what the batches hold in addition to the images.
        masks: folder of pseudo masks that replace the true ones.
        clusters: folder of `cluster`: sub-categories to learn in addition to the tags.
        marginals: folders of `crf`, used by modules that learn from marginals instead of masks.
        encoder_from: folder of a trained module whose encoder this one starts from.
        continue_from: folder of a trained module of the same kind whose weights this one starts
            from, with a new schedule.
        crf: builds the callback (`crf_callback`) that logs the mIoU of the validation split with a
            CRF and without it.
        epochs_before: epochs that `continue_from` was trained for, so that images come in another
            order.
        stop_epoch: number of epochs after which training stops, although the learning rate decays
            over all epochs of the schedule; None: the end of the schedule.

    Raises:
        InputError: the module does not fit the pipeline, or a file of weights does not fit the
            module.
    """
    module = OmegaConf.create(settings_of(module))
    set_statistics(module)
    write_text(folder / "module.yaml", OmegaConf.to_yaml(module))
    model = _build(module, encoder_from, continue_from)
    last = folder / "last.ckpt"
    if schedule.max_epochs == 0:
        state = {"state_dict": model.state_dict()}
        write_atomically(last, lambda file: torch.save(state, file))
        return
    _check_sub_categories(model, clusters)
    if (long_side := runtime.validation_long_sides.get(target)) is not None:
        model.validate_at(long_side)
    seed = torch.initial_seed() + epochs_before
    datamodule = data_module(
        data,
        runtime,
        transform=_transform(schedule, model),
        batch_size=schedule.batch_size,
        target=target,
        masks=masks,
        sub_tags=None if clusters is None else load_sub_tags(clusters),
        scores=list((marginals or {}).values()) if getattr(model, "needs_marginals", False) else (),
        seed=seed % 2**32,
    )
    validated = _can_validate(data, target)
    callbacks = _callbacks(folder, seed, runtime.checkpoint_minutes, stop_epoch)
    if crf is not None and validated:
        # a target of the configuration, so that the key includes its code only where it is used
        build = instantiate(crf, _partial_=True, _recursive_=False)
        callbacks.insert(0, build(num_classes=data.num_classes, threads=runtime.workers or 1))
    trainer = build_trainer(
        runtime,
        name_of(folder),
        max_epochs=schedule.max_epochs,
        max_steps=max_steps(runtime, schedule.max_steps),
        logger=build_loggers(
            runtime, folder, {"module": settings_of(module), "schedule": settings_of(schedule)}
        ),
        callbacks=callbacks,
        limit_val_batches=None if validated else 0,
    )
    _fit(trainer, model, datamodule, last)


def crf_callback(parameters: DictConfig, num_classes: int, threads: int) -> DenseCRFMetrics:
    """Callback that logs the mIoU of a segmentation network with a CRF and without it.

    Args:
        parameters: a node of the group `crf`.
        num_classes: number of classes without background.
        threads: number of threads of the CRF.
    """
    kernels, engine = crf_settings(parameters)
    return DenseCRFMetrics(kernels, num_classes, engine, threads)


def load(trained: Path) -> Any:
    """Load the module that `train` stored in a folder, in evaluation mode."""
    return restore(OmegaConf.load(trained / "module.yaml"), trained / "last.ckpt")


def restore(module: Any, checkpoint: Path) -> Any:
    """Build a module and load its checkpoint, in evaluation mode.

    Args:
        module: configuration of the module; its initial weights are removed.
        checkpoint: file that `train` stored.
    """
    remove_weights(module)
    model = instantiate(module)
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model.load_state_dict(stored["state_dict"])
    return model.eval()


def replay(path: Path) -> torch.Tensor:
    """Loss of the step at which `NonFiniteLossGuard` stopped, recomputed on the CPU.

    For a debugger: call `backward` on the result under `torch.autograd.set_detect_anomaly(True)`.
    """
    stored = torch.load(path, map_location="cpu", weights_only=True)
    module = OmegaConf.create(stored["module"])
    remove_weights(module)
    model: Any = instantiate(module)
    model.load_state_dict(stored["state_dict"])
    normalise_single_values(model)
    torch.set_rng_state(stored["random"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*trainer. reference is not registered.*")
        return model.train().training_step(stored["batch"], 0)


def load_sub_tags(clusters: Path) -> dict[str, torch.Tensor]:
    """Multi-hot sub-categories (ck) of each clustered image, by name."""
    names, numbers, count = load_clusters(clusters / CLUSTERS)
    return dict(zip(names, sub_tags(numbers, count), strict=True))


def _build(module: DictConfig, encoder_from: Path | None, continue_from: Path | None) -> Any:
    model = instantiate(module)
    if encoder_from is not None:
        model.net.encoder.load_state_dict(load(encoder_from).net.encoder.state_dict())
    if continue_from is not None:
        model.load_state_dict(load(continue_from).state_dict())
    return model


def _check_sub_categories(model: Any, clusters: Path | None) -> None:
    if getattr(model, "needs_sub_tags", False) != (clusters is not None):
        raise InputError(
            f"{type(model).__name__} does not fit the pipeline: pipeline=sc_cam makes "
            "sub-categories and method=sc_cam learns them; choose both, as in experiment=sc_cam, "
            "or neither."
        )


def _can_validate(data: DictConfig, target: str) -> bool:
    """Whether there is a validation split with the target; its tags are always known."""
    if data.val is None:
        return False
    return target == "tags" or datasets_of(data)(data.val).has_masks()


def _transform(schedule: DictConfig, model: Any) -> TrainTransform:
    hsv = schedule.get("hsv_jitter")
    jitter = schedule.jitter or dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0)
    pads_black = getattr(model, "pads_black", False)
    return TrainTransform(
        crop_size=schedule.crop_size,
        long_side=schedule.long_side,
        scale=schedule.scale,
        scale_step=schedule.get("scale_step"),
        flip=schedule.flip,
        hsv=None if hsv is None else (hsv.hue, hsv.saturation, hsv.value),
        padding=BLACK if pads_black else model.net.backbone.statistics.mean,
        **jitter,
    )


def _callbacks(
    folder: Path, seed: int, checkpoint_minutes: float | None, stop_epoch: int | None
) -> list[pl.Callback]:
    callbacks: list[pl.Callback] = [
        StepSeed(seed),
        NonFiniteLossGuard(folder, seed),
        SingleValueNorm(),
        ModelCheckpoint(
            folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
        ),
        SharedStepAxis(),
        FinishLoggers(),
    ]
    if checkpoint_minutes is not None:
        callbacks.append(TimedCheckpoint(folder / "last.ckpt", checkpoint_minutes))
    if stop_epoch is not None:
        callbacks.append(StopAfter(stop_epoch))
    return callbacks


def _fit(trainer: pl.Trainer, model: Any, datamodule: DataModule, last: Path) -> None:
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    if last.is_file() and not is_intact(last):
        warn(f"{name_of(last.parent)}: last.ckpt is damaged; training starts again")
        last.unlink()
    with translate_worker_errors(trainer):
        trainer.fit(model, datamodule, ckpt_path=last if last.is_file() else None)
