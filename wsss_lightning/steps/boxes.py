"""The steps of learning from boxes: first labels, relabelling, and how labels fare over rounds.

Letters: k labels with background first, H W an image.
"""

from collections.abc import Mapping, Sequence
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
from wsss_lightning.figures.charts import line_chart, save_chart
from wsss_lightning.methods.simple_does_it.boxes import Prediction, Refine
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.stages import crf_settings, parallel_map
from wsss_lightning.training.callbacks.watchdog import PseudoMaskAlarms
from wsss_lightning.utils.files import write_json

Points = Mapping[str, Sequence[Sequence[float]]]


class BoxStages:
    """Stages of boxes; images are shared out over processes.

    Args:
        workers: processes; no part of what a stage's result is.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def box_labels(self, folder: Path, *, data: DictConfig, split: str, rule: DictConfig) -> None:
        """Labels `<name>.png` of every image, made from its boxes by a rule (`conf/box_labels`)."""
        reader = datasets_of(data)(split=split, with_masks=False, with_boxes=True)
        work = partial(_label, folder=folder, reader=reader, rule=instantiate(rule))
        parallel_map(work, _left(folder, reader), self.workers, "labels", threads=False)
        watch = PseudoMaskAlarms(reader.classes)
        for i, name in enumerate(reader.names):
            watch.update(name, load_mask(image_file(folder, name, ".png")), reader.tags[i])
        write_json(folder / ALARMS, watch.alarms())

    def relabel(
        self,
        folder: Path,
        *,
        data: DictConfig,
        split: str,
        predictions: Path,
        initial: Path,
        previous: Path,
        rule: DictConfig,
        crf: DictConfig,
    ) -> None:
        """Labels of the next round, from marginals by a rule (`conf/relabel`).

        metrics.json tells which share of all pixels `changed`, compared with the round before.

        Args:
            initial: labels of round 0.
            previous: labels of the round before.
        """
        reader = datasets_of(data)(split=split, with_masks=False, with_boxes=True)
        parameters, engine = crf_settings(crf)
        work = partial(
            _relabel,
            folder=folder,
            reader=reader,
            predictions=predictions,
            initial=initial,
            rule=instantiate(rule),
            refine=partial(mean_field, parameters=parameters, engine=engine),
        )
        parallel_map(work, _left(folder, reader), self.workers, "relabel", threads=False)
        changed = total = 0
        watch = PseudoMaskAlarms(reader.classes)
        for i, name in enumerate(reader.names):
            new, old = (load_mask(image_file(f, name, ".png")) for f in (folder, previous))
            changed, total = changed + int((new != old).sum()), total + new.size
            watch.update(name, new, reader.tags[i])
        write_json(folder / "metrics.json", {"changed": changed / total})
        write_json(folder / ALARMS, watch.alarms())

    def curve(self, folder: Path, *, points: Points, title: str) -> None:
        """A chart of figures in 0..1 over rounds."""
        chart = line_chart(points, "round", "mIoU (%)", whole=True)
        chart.suptitle(title, fontsize=11)
        save_chart(chart, folder / "rounds.png")


def _left(folder: Path, reader: VOCDataset) -> list[int]:
    done = finished_images(folder, ".png")
    return [i for i, name in enumerate(reader.names) if name not in done]


def _image(reader: VOCDataset, i: int) -> torch.Tensor:
    return torch.from_numpy(np.array(reader.image(i)))


def _label(i: int, *, folder: Path, reader: VOCDataset, rule: Any) -> None:
    boxes = torch.from_numpy(reader.boxes(i))
    path = image_file(folder, reader.names[i], ".png")
    save_mask(path, rule(boxes, _image(reader, i)).numpy())


def _relabel(
    i: int,
    *,
    folder: Path,
    reader: VOCDataset,
    predictions: Path,
    initial: Path,
    rule: Any,
    refine: Refine,
) -> None:
    name = reader.names[i]
    marginal, keys = load_score(image_file(predictions, name, ".npz"))
    seen = Prediction(
        image=_image(reader, i),
        marginal=torch.from_numpy(dense(marginal, keys, reader.num_classes + 1)),
        boxes=torch.from_numpy(reader.boxes(i)),
        initial=torch.from_numpy(load_mask(image_file(initial, name, ".png"))),
    )
    save_mask(image_file(folder, name, ".png"), rule(seen, refine).numpy())
