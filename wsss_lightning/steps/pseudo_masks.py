"""Pseudo masks from marginals."""

from pathlib import Path

import torch
from omegaconf import DictConfig

from wsss_lightning.cache.stage_cache import ALARMS
from wsss_lightning.data.scores import dense, load_score, save_mask
from wsss_lightning.data.stage_files import image_file
from wsss_lightning.ops.masks import pseudo_mask
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.runtime import name_of
from wsss_lightning.training.callbacks.pseudo_mask_alarms import PseudoMaskAlarms
from wsss_lightning.utils.console import track
from wsss_lightning.utils.files import write_json


def pseudo_masks(
    folder: Path, *, scores: Path, data: DictConfig, split: str, confidence: float
) -> None:
    """Pseudo masks `<name>.png`: the most probable label, 255 where it is not confident.

    Args:
        folder: to write to.
        scores: folder of marginals.
        data: configuration of the data set.
        split: split whose images are read.
        confidence: smallest probability of a label, in [0, 1].
    """
    dataset = datasets_of(data)(split, with_masks=False)
    alarms = PseudoMaskAlarms(dataset.classes)
    for i in track(range(len(dataset)), len(dataset), name_of(folder)):
        name = dataset.names[i]
        marginal, labels = load_score(image_file(scores, name, ".npz"))
        full = torch.from_numpy(dense(marginal, labels, dataset.num_classes + 1))
        mask = pseudo_mask(full, confidence).numpy()
        alarms.update(name, mask, dataset.tags[i])
        save_mask(image_file(folder, name, ".png"), mask)
    write_json(folder / ALARMS, alarms.alarms())
