"""Predictions of a trained segmentation network."""

from pathlib import Path

from omegaconf import DictConfig

from wsss_lightning.cache.stage_cache import ALARMS
from wsss_lightning.cache.step import step
from wsss_lightning.data.scores import load_mask
from wsss_lightning.data.stage_files import finished_images, image_file
from wsss_lightning.methods.segmentation.predictor import SegmentationPredictor, TestSettings
from wsss_lightning.steps.datasets import data_module, datasets_of
from wsss_lightning.steps.runtime import Runtime, predict_images
from wsss_lightning.steps.train import load
from wsss_lightning.training.callbacks.pseudo_mask_alarms import PseudoMaskAlarms
from wsss_lightning.training.callbacks.score_writer import ScoreWriter
from wsss_lightning.utils.files import write_json


@step(memory_keys=("test.batch_size", "test.scales"))
def predict(
    folder: Path,
    *,
    runtime: Runtime,
    trained: Path,
    data: DictConfig,
    split: str,
    settings: DictConfig,
) -> None:
    """Predicted masks `<name>.png` of a split; marginals too if a CRF follows.

    Args:
        folder: to write to.
        runtime: trainer and processes.
        trained: folder of a trained `Segmenter`.
        data: configuration of the data set.
        split: split whose images are read.
        settings: the node `test` of the configuration.
    """
    test = TestSettings(tuple(settings.scales), settings.flip, settings.long_side)
    done = finished_images(folder, ".png")
    images = data_module(
        data, runtime, eval_batch_size=settings.batch_size, predict=split, skip=done
    )
    writer = ScoreWriter(folder, bits=16, keep_marginals=settings.crf)
    predict_images(runtime, folder, SegmentationPredictor(load(trained), test), images, writer)
    dataset = datasets_of(data)(split, with_masks=False)
    alarms = PseudoMaskAlarms(dataset.classes, predicted=True)
    for i, name in enumerate(dataset.names):
        alarms.update(name, load_mask(image_file(folder, name, ".png")), dataset.tags[i])
    write_json(folder / ALARMS, alarms.alarms())
