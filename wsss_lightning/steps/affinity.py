"""Confident labels for learning affinities, and the random walk along them."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from wsss_lightning.cache.step import step
from wsss_lightning.config.parameter_errors import parameters_as_keys
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.scores import load_mask, load_score, save_mask
from wsss_lightning.data.stage_files import finished_images, image_file
from wsss_lightning.errors import InputError
from wsss_lightning.methods.random_walk import RandomWalkPropagator, RandomWalkSettings
from wsss_lightning.ops.affinity import confident_labels as agreed_labels
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.steps.config_nodes import settings_of
from wsss_lightning.steps.datasets import data_module, datasets_of
from wsss_lightning.steps.metrics_file import save_metrics
from wsss_lightning.steps.parallel import parallel_map
from wsss_lightning.steps.runtime import Runtime, name_of, predict_images
from wsss_lightning.steps.train import load
from wsss_lightning.training.callbacks.score_writer import ScoreWriter


def confident_labels(
    folder: Path,
    *,
    runtime: Runtime,
    low: Path,
    high: Path,
    data: DictConfig,
    split: str,
    prefer_class: bool,
) -> None:
    """Labels `<name>.png` on which two CRFs agree, 255 elsewhere (`ops.affinity`).

    metrics.json holds the shares of pixels labelled `background` and `foreground`.

    Args:
        folder: to write to.
        runtime: number of processes.
        low: marginals under a low background exponent, hence much background.
        high: marginals under a high background exponent.
        data: configuration of the data set.
        split: split whose images are read.
        prefer_class: as in `ops.affinity.confident_labels`.
    """
    dataset = datasets_of(data)(split=split, with_masks=False)
    done = finished_images(folder, ".png")
    remaining = [name for name in dataset.names if name not in done]
    work = partial(_label_image, folder=folder, low=low, high=high, prefer_class=prefer_class)
    parallel_map(work, remaining, runtime.workers, name_of(folder), threads=False)
    save_metrics(folder, _label_shares(folder, dataset))


@step(memory_keys=("refine.walk.batch_size",))
def propagate(
    folder: Path,
    *,
    runtime: Runtime,
    trained: Path,
    scores: Path,
    data: DictConfig,
    split: str,
    walk: DictConfig,
) -> None:
    """Scores of a split after a random walk along learned affinities: marginals (l H W).

    An interrupted stage continues with the remaining images.

    Args:
        folder: to write to.
        runtime: trainer and processes.
        trained: folder of a trained `AffinityModule`.
        scores: folder of CAM scores.
        data: configuration of the data set.
        split: split whose images are read.
        walk: the node `refine.walk` of the configuration.
    """
    settings, batch_size = random_walk_settings(walk)
    done = finished_images(folder, ".npz")
    images = data_module(data, runtime, eval_batch_size=batch_size, predict=split, skip=done)
    propagator = RandomWalkPropagator(load(trained), scores, settings)
    predict_images(runtime, folder, propagator, images, ScoreWriter(folder, bits=16))


def random_walk_settings(node: DictConfig) -> tuple[RandomWalkSettings, int]:
    """Settings of the random walk, and its batch size.

    Raises:
        InputError: a value is out of range.
    """
    settings = settings_of(node)
    batch_size = settings.pop("batch_size")
    if batch_size < 1:
        raise InputError(f"refine.walk.batch_size is {batch_size}, but must be 1 or more.")
    with parameters_as_keys(node):
        return RandomWalkSettings(**settings), batch_size


def _label_image(name: str, *, folder: Path, low: Path, high: Path, prefer_class: bool) -> None:
    (under_low, keys), (under_high, _) = (
        load_score(image_file(side, name, ".npz")) for side in (low, high)
    )
    both = torch.from_numpy(under_low), torch.from_numpy(under_high)
    positions = agreed_labels(*both, prefer_class).numpy()
    label_of = np.full(IGNORE + 1, IGNORE, np.uint8)
    label_of[: len(keys)] = keys
    save_mask(image_file(folder, name, ".png"), label_of[positions])


def _label_shares(folder: Path, dataset: VOCDataset) -> dict[str, float]:
    counts = np.zeros(IGNORE + 1, np.int64)
    for name in dataset.names:
        mask = load_mask(image_file(folder, name, ".png"))
        counts += np.bincount(mask.ravel(), minlength=IGNORE + 1)
    total = counts.sum()
    return {
        "background": float(counts[0] / total),
        "foreground": float(counts[1:IGNORE].sum() / total),
    }
