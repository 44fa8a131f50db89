"""Probabilities of tags of a trained classifier."""

from pathlib import Path

from omegaconf import DictConfig

from wsss_lightning.cache.step import step
from wsss_lightning.data.tag_probabilities import PROBABILITIES_FILE, save_probabilities
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.methods.tag_predictor import TagPredictor
from wsss_lightning.steps.datasets import data_module, datasets_of
from wsss_lightning.steps.runtime import Runtime, predict_images
from wsss_lightning.steps.train import load
from wsss_lightning.training.callbacks.probability_writer import ProbabilityWriter


@step(memory_keys=("cam.batch_size", "cam.long_side"))
def tag_probabilities(
    folder: Path,
    *,
    runtime: Runtime,
    trained: Path,
    data: DictConfig,
    split: str,
    long_side: int | None,
    batch_size: int,
) -> None:
    """Probability of every class for every image of a split, in probabilities.csv.

    Images are resized as in `validate_tags`. An interrupted stage continues with the remaining
    images.

    Args:
        folder: to write to.
        runtime: trainer and processes.
        trained: folder of a trained `TagMethod`.
        data: configuration of the data set.
        split: split whose images are read.
        long_side: longer side of the images, in pixels; None keeps their size.
        batch_size: number of images of a batch.
    """
    predictor = TagPredictor(load(trained), CamSettings(long_side=long_side))
    writer = ProbabilityWriter(folder)
    images = data_module(
        data, runtime, eval_batch_size=batch_size, predict=split, skip=set(writer.written())
    )
    predict_images(runtime, folder, predictor, images, writer)
    dataset = datasets_of(data)(split, with_masks=False)
    written = writer.written()
    in_order = {name: written[name] for name in dataset.names}
    save_probabilities(folder / PROBABILITIES_FILE, dataset.classes, in_order)
    writer.remove_parts()
