"""The steps of refinement by affinities: sure labels, and the walk.

Letters: l labels of an image, H W an image.
"""

from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from omegaconf import DictConfig

from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.scores import load_mask, load_score, save_mask
from wsss_lightning.data.stage_files import finished_images, image_file
from wsss_lightning.errors import InputError
from wsss_lightning.methods.affinity_base import RandomWalkSettings
from wsss_lightning.methods.random_walk import RandomWalkPropagator
from wsss_lightning.ops.affinity import confident_labels
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.stages import Stages, load, name_of, parallel_map, settings_of
from wsss_lightning.training.callbacks.score_writer import ScoreWriter
from wsss_lightning.utils.files import write_json


@final
class AffinityStages(Stages):
    """Stages of affinities, beside those that all refiners share."""

    def confident(
        self,
        folder: Path,
        *,
        low: Path,
        high: Path,
        data: DictConfig,
        split: str,
        prefer_class: bool,
    ) -> None:
        """Labels `<name>.png` on which two refinements agree, 255 elsewhere (`confident_labels`).

        metrics.json tells which share of all pixels is labelled `background` and `foreground`.

        Args:
            low: marginals under much background.
            high: marginals under little background.
            prefer_class: as of `confident_labels`.
        """
        reader = datasets_of(data)(split=split, with_masks=False)
        done = finished_images(folder, ".png")
        left = [name for name in reader.names if name not in done]
        work = partial(_confident, folder=folder, low=low, high=high, prefer_class=prefer_class)
        parallel_map(work, left, self.workers, name_of(folder), threads=False)
        write_json(folder / "metrics.json", _shares(folder, reader))

    def walk(
        self,
        folder: Path,
        *,
        trained: Path,
        scores: Path,
        data: DictConfig,
        split: str,
        walk: DictConfig,
    ) -> None:
        """Scores of a split, spread along what `trained` finds alike: marginals (l H W).

        An interrupted stage goes on with the images that are left.
        """
        how, batch_size = random_walk_settings(walk)
        learner: Any = load(trained)
        done = finished_images(folder, ".npz")
        datamodule = self._data(data, eval_batch_size=batch_size, predict=split, skip=done)
        self.write(
            folder,
            RandomWalkPropagator(learner, scores, how),
            datamodule,
            ScoreWriter(folder, bits=16),
        )


def random_walk_settings(node: DictConfig) -> tuple[RandomWalkSettings, int]:
    """How scores walk, checked, and how many images are taken at once.

    Raises:
        InputError: a value has no meaning.
    """
    settings = settings_of(node)
    batch_size = settings.pop("batch_size")
    if batch_size < 1:
        raise InputError(f"refine.walk.batch_size is {batch_size}; set 1 or more.")
    return RandomWalkSettings(**settings), batch_size


def _confident(name: str, *, folder: Path, low: Path, high: Path, prefer_class: bool) -> None:
    (careful, keys), (bold, _) = (load_score(image_file(f, name, ".npz")) for f in (low, high))
    both = torch.from_numpy(careful), torch.from_numpy(bold)
    label = confident_labels(*both, prefer_class).numpy()
    # positions become labels; 255 stays what it is
    names = np.full(IGNORE + 1, IGNORE, np.uint8)
    names[: len(keys)] = keys
    save_mask(image_file(folder, name, ".png"), names[label])


def _shares(folder: Path, reader: VOCDataset) -> dict[str, float]:
    counts = np.zeros(IGNORE + 1, np.int64)
    for name in reader.names:
        mask = load_mask(image_file(folder, name, ".png"))
        counts += np.bincount(mask.ravel(), minlength=IGNORE + 1)
    total = counts.sum()
    return {
        "background": float(counts[0] / total),
        "foreground": float(counts[1:IGNORE].sum() / total),
    }
