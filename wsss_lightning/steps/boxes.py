"""Labels from boxes, and their refinement by a network's predictions."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from wsss_lightning.cache.stage_cache import ALARMS
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.scores import dense, load_mask, load_score, save_mask
from wsss_lightning.data.stage_files import finished_images, image_file
from wsss_lightning.densecrf.api import mean_field
from wsss_lightning.methods.simple_does_it.boxes import Prediction, Refine
from wsss_lightning.steps.config_nodes import crf_settings
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.metrics_file import save_metrics
from wsss_lightning.steps.parallel import parallel_map
from wsss_lightning.steps.runtime import Runtime
from wsss_lightning.training.callbacks.pseudo_mask_alarms import PseudoMaskAlarms
from wsss_lightning.utils.files import write_json


def box_labels(
    folder: Path, *, runtime: Runtime, data: DictConfig, split: str, rule: DictConfig
) -> None:
    """Labels `<name>.png` of every image, made from its boxes.

    Args:
        folder: to write to.
        runtime: number of processes.
        data: configuration of the data set.
        split: split whose images are read.
        rule: a node of the group `box_labels`.
    """
    dataset = datasets_of(data)(split=split, with_masks=False, with_boxes=True)
    work = partial(_label_image, folder=folder, dataset=dataset, rule=instantiate(rule))
    parallel_map(work, _unfinished(folder, dataset), runtime.workers, "labels", threads=False)
    alarms = PseudoMaskAlarms(dataset.classes)
    for i, name in enumerate(dataset.names):
        alarms.update(name, load_mask(image_file(folder, name, ".png")), dataset.tags[i])
    write_json(folder / ALARMS, alarms.alarms())


def relabel(
    folder: Path,
    *,
    runtime: Runtime,
    data: DictConfig,
    split: str,
    predictions: Path,
    initial: Path,
    previous: Path,
    rule: DictConfig,
    crf: DictConfig,
) -> None:
    """Labels of the next round, from a network's marginals.

    metrics.json holds the share of pixels that `changed` since the previous round.

    Args:
        folder: to write to.
        runtime: number of processes.
        data: configuration of the data set.
        split: split whose images are read.
        predictions: folder of the network's marginals.
        initial: folder of the labels of round 0.
        previous: folder of the labels of the previous round.
        rule: a node of the group `relabel`.
        crf: a node of the group `crf`, which the rule may use.
    """
    dataset = datasets_of(data)(split=split, with_masks=False, with_boxes=True)
    parameters, engine = crf_settings(crf)
    work = partial(
        _relabel_image,
        folder=folder,
        dataset=dataset,
        predictions=predictions,
        initial=initial,
        rule=instantiate(rule),
        refine=partial(mean_field, parameters=parameters, engine=engine),
    )
    parallel_map(work, _unfinished(folder, dataset), runtime.workers, "relabel", threads=False)
    changed = total = 0
    alarms = PseudoMaskAlarms(dataset.classes)
    for i, name in enumerate(dataset.names):
        new, old = (load_mask(image_file(f, name, ".png")) for f in (folder, previous))
        changed, total = changed + int((new != old).sum()), total + new.size
        alarms.update(name, new, dataset.tags[i])
    save_metrics(folder, {"changed": changed / total})
    write_json(folder / ALARMS, alarms.alarms())


def _unfinished(folder: Path, dataset: VOCDataset) -> list[int]:
    done = finished_images(folder, ".png")
    return [i for i, name in enumerate(dataset.names) if name not in done]


def _image(dataset: VOCDataset, i: int) -> torch.Tensor:
    return torch.from_numpy(np.array(dataset.image(i)))


def _label_image(i: int, *, folder: Path, dataset: VOCDataset, rule: Any) -> None:
    boxes = torch.from_numpy(dataset.boxes(i))
    path = image_file(folder, dataset.names[i], ".png")
    save_mask(path, rule(boxes, _image(dataset, i)).numpy())


def _relabel_image(
    i: int,
    *,
    folder: Path,
    dataset: VOCDataset,
    predictions: Path,
    initial: Path,
    rule: Any,
    refine: Refine,
) -> None:
    name = dataset.names[i]
    marginal, labels = load_score(image_file(predictions, name, ".npz"))
    prediction = Prediction(
        image=_image(dataset, i),
        marginal=torch.from_numpy(dense(marginal, labels, dataset.num_classes + 1)),
        boxes=torch.from_numpy(dataset.boxes(i)),
        initial=torch.from_numpy(load_mask(image_file(initial, name, ".png"))),
    )
    save_mask(image_file(folder, name, ".png"), rule(prediction, refine).numpy())
