"""CAM scores and tag predictions of a trained classifier."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from wsss_lightning.cache.step import step
from wsss_lightning.data.stage_files import finished_images
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.methods.cam_predictor import CamPredictor
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.methods.class_cams import ClassCams
from wsss_lightning.steps.config_nodes import settings_of
from wsss_lightning.steps.datasets import data_module
from wsss_lightning.steps.metrics_file import save_metrics
from wsss_lightning.steps.runtime import Runtime, build_trainer, name_of, predict_images
from wsss_lightning.steps.train import load
from wsss_lightning.training.callbacks.cam_writer import CamWriter
from wsss_lightning.training.callbacks.score_writer import ScoreWriter
from wsss_lightning.training.distributed import translate_worker_errors


@step(memory_keys=("cam.batch_size", "cam.scales", "cam.long_side"))
def cams(
    folder: Path,
    *,
    runtime: Runtime,
    trained: Path,
    data: DictConfig,
    split: str,
    settings: DictConfig,
) -> None:
    """CAM scores of a split: `<name>.npz` with the present classes of each image.

    An interrupted stage continues with the remaining images.

    Args:
        folder: to write to.
        runtime: trainer and processes.
        trained: folder of a trained `TagMethod`.
        data: configuration of the data set.
        split: split whose images are read.
        settings: the node `cam` of the configuration.

    Raises:
        TypeError: the trained module has no CAMs.
    """
    method: Any = load(trained)
    if not isinstance(method, TagMethod):
        raise TypeError(f"{type(method).__name__} learns from masks and has no CAMs")
    arguments = settings_of(settings)
    bits, batch_size = arguments.pop("storage_bits"), arguments.pop("batch_size")
    cam_settings = CamSettings(**arguments, stride=method.net.backbone.output_stride)
    done = finished_images(folder, ".npz")
    images = data_module(data, runtime, eval_batch_size=batch_size, predict=split, skip=done)
    predictor = CamPredictor(method, cam_settings)
    predict_images(runtime, folder, predictor, images, ScoreWriter(folder, bits))


@step(memory_keys=("cam.batch_size", "cam.scales", "cam.long_side"))
def class_cams(
    folder: Path,
    *,
    runtime: Runtime,
    trained: Path,
    data: DictConfig,
    split: str,
    settings: DictConfig,
) -> None:
    """Raw CAMs of all classes at the largest scale, without mirror images: `<name>.npz`.

    An interrupted stage continues with the remaining images.

    Args:
        folder: to write to.
        runtime: trainer and processes.
        trained: folder of a trained `TagMethod`.
        data: configuration of the data set.
        split: split whose images are read.
        settings: the node `cam` of the configuration.
    """
    method: Any = load(trained)
    cam_settings = CamSettings(
        scales=tuple(settings.scales),
        long_side=settings.long_side,
        alignment=settings.alignment,
        stride=method.net.backbone.output_stride,
    )
    done = finished_images(folder, ".npz")
    images = data_module(
        data, runtime, eval_batch_size=settings.batch_size, predict=split, skip=done
    )
    predictor = ClassCams(method, cam_settings)
    predict_images(runtime, folder, predictor, images, CamWriter(folder))


@step(memory_keys=("cam.long_side",))
def validate_tags(
    folder: Path, *, runtime: Runtime, trained: Path, data: DictConfig, long_side: int | None
) -> None:
    """Mean average precision and F1 of the tags of the validation split, into metrics.json.

    Args:
        folder: to write to.
        runtime: trainer and processes.
        trained: folder of a trained `TagMethod`.
        data: configuration of the data set.
        long_side: longer side of the images, in pixels; None keeps their size.
    """
    method = load(trained)
    method.validate_at(long_side)
    trainer = build_trainer(runtime, name_of(folder))
    with translate_worker_errors(trainer):
        (metrics,) = trainer.validate(method, data_module(data, runtime), verbose=False)
    save_metrics(folder, {key.removeprefix("val/"): value for key, value in metrics.items()})
