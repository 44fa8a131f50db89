"""DenseCRF of stored scores, and backgrounds without a CRF."""

from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.scores import load_score, save_score
from wsss_lightning.data.stage_files import finished_images, image_file
from wsss_lightning.densecrf.api import mean_field_batch
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.densecrf.pydensecrf_engine import EngineError
from wsss_lightning.densecrf.refinement_damage import refinement_damage
from wsss_lightning.densecrf.unary import unary_from_labels, unary_from_scores
from wsss_lightning.ops.cam import (
    normalise_over_labels,
    with_constant_background,
    with_power_background,
)
from wsss_lightning.steps.config_nodes import crf_settings
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.parallel import parallel_map
from wsss_lightning.steps.runtime import Runtime, gpus_of, name_of
from wsss_lightning.utils.console import track, warn
from wsss_lightning.utils.files import write_json, write_text

GPU_BATCH = 8  # images per batch of the CRF on a GPU
KEPT = "kept"  # folder below a step: reasons why scores of images were kept unchanged


def constant_background(
    folder: Path, *, scores: Path, data: DictConfig, split: str, background_score: float
) -> None:
    """Seeds with a constant background score, as marginals (k H W); no refinement.

    Args:
        folder: to write to.
        scores: folder of CAM scores.
        data: configuration of the data set.
        split: split whose images are read.
        background_score: in [0, 1].
    """
    dataset = datasets_of(data)(split, with_masks=False)
    for i in track(range(len(dataset)), len(dataset), name_of(folder)):
        score, labels = _labelled_scores(scores, dataset, i)
        full = with_constant_background(torch.from_numpy(score), background_score)
        path = image_file(folder, dataset.names[i], ".npz")
        save_score(path, normalise_over_labels(full), labels, bits=16)


def crf(
    folder: Path,
    *,
    runtime: Runtime,
    scores: Path,
    data: DictConfig,
    split: str,
    parameters: DictConfig,
    background_power: float | None,
    background_score: float | None,
    area_factor: float | None = None,
    gt_prob: float | None = None,
    bits: int = 8,
) -> None:
    """DenseCRF of every image's scores: marginals (k H W) of the present labels.

    Images are distributed over processes, or in batches over GPUs; an interrupted stage continues
    with the remaining images. An image keeps its scores if `area_factor` rejects its
    refinement or the engine crashes; metrics.json holds the share of such images.

    Args:
        folder: to write to.
        runtime: number of processes.
        scores: folder of CAM scores, or of marginals if both backgrounds are None.
        data: configuration of the data set.
        split: split whose images are read.
        parameters: a node of the group `crf`.
        background_power: the background score is (1 - max) ** power.
        background_score: constant background score.
        area_factor: as in `densecrf.refinement_damage`; None accepts every refinement.
        gt_prob: the unary holds only the most probable label, with this probability, as
            in IRN's `crf_inference_label`; None: the scores themselves.
        bits: number of bits of stored marginals, 8 or 16; with 8, probabilities that differ by less
            than 1/200 may become equal.
    """
    settings, engine = crf_settings(parameters)
    dataset = datasets_of(data)(split, with_masks=False)
    done = finished_images(folder, ".npz")
    remaining = [i for i, name in enumerate(dataset.names) if name not in done]
    devices = gpus_of(runtime) if engine in ("auto", "torch") else []
    work = partial(
        _refine_images,
        folder=folder,
        scores=scores,
        dataset=dataset,
        parameters=settings,
        engine=engine,
        background_power=background_power,
        background_score=background_score,
        area_factor=area_factor,
        gt_prob=gt_prob,
        bits=bits,
    )
    size = GPU_BATCH if devices else 1
    batches = [remaining[i : i + size] for i in range(0, len(remaining), size)]
    # in turn: batches of one size take about the same time
    placed = list(zip(batches, cycle(devices or ["cpu"]), strict=False))
    workers = max(runtime.workers, len(devices))
    parallel_map(work, placed, workers, name_of(folder), threads=bool(devices))
    _summarise_kept(folder, len(dataset), area_factor)


def _summarise_kept(folder: Path, count: int, area_factor: float | None) -> None:
    """Write and print how many images keep their scores, and why."""
    reasons = folder / KEPT
    kept = {
        name: image_file(reasons, name, ".txt").read_text()
        for name in finished_images(reasons, ".txt")
    }
    if area_factor is not None or kept:
        shares = {
            f"kept_{reason}": sum(one == reason for one in kept.values()) / count
            for reason in ("lost", "area", "crash")
        }
        write_json(folder / "metrics.json", {"kept": len(kept) / count, **shares})
    if kept:
        warn(
            f"{len(kept)} of {count} images keep their scores without CRF "
            f"(reasons: {folder.with_suffix('')}/{KEPT})"
        )


def _labelled_scores(scores: Path, dataset: VOCDataset, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of an image at its size, and the labels of background and of each map."""
    score, labels = load_score(image_file(scores, dataset.names[i], ".npz"))
    if len(score) == 0:
        score = np.zeros((0, *dataset.image_size(i)), np.float32)
    return score, np.concatenate([[0], labels]).astype(np.int64)


def _refine_images(
    placed: tuple[list[int], str],
    *,
    folder: Path,
    scores: Path,
    dataset: VOCDataset,
    parameters: CRFParameters,
    engine: str,
    background_power: float | None,
    background_score: float | None,
    area_factor: float | None,
    gt_prob: float | None,
    bits: int,
) -> None:
    """Refine a batch of images on a device, and store the marginals."""
    batch, device = placed
    full, labels_of = [], []
    for i in batch:
        if background_power is None and background_score is None:
            # marginals of a network include their background
            score, labels = load_score(image_file(scores, dataset.names[i], ".npz"))
            full.append(torch.from_numpy(score))
        else:
            score, labels = _labelled_scores(scores, dataset, i)
            maps = torch.from_numpy(score)
            if background_power is not None:
                full.append(with_power_background(maps, background_power))
            elif background_score is not None:
                full.append(with_constant_background(maps, background_score))
        labels_of.append(labels)
    images = [torch.from_numpy(np.array(dataset.image(i))) for i in batch]
    unaries = [_unary(score.to(device), gt_prob) for score in full]
    crashed = False
    try:
        refined = mean_field_batch(images, unaries, parameters, engine)
    except EngineError:
        refined, crashed = full, True
    for i, before, after, labels in zip(batch, full, refined, labels_of, strict=True):
        name, reason = dataset.names[i], "crash" if crashed else None
        if area_factor is not None and not crashed:
            reason = refinement_damage(before.argmax(0), after.cpu().argmax(0), area_factor)
        if reason is not None:
            after = normalise_over_labels(before)
            write_text(image_file(folder / KEPT, name, ".txt"), reason)
        save_score(image_file(folder, name, ".npz"), after.clamp(0, 1), labels, bits)


def _unary(score: torch.Tensor, gt_prob: float | None) -> torch.Tensor:
    if gt_prob is None or len(score) == 1:  # a single label is certain
        return unary_from_scores(score)
    return unary_from_labels(score.argmax(0), len(score), gt_prob)
