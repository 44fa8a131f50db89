"""Write synthetic finished runs: `results.json` and pixel counts, without images."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wsss_lightning.evaluation.error_analysis import WRONG
from wsss_lightning.evaluation.pixel_counts import PIXEL_COUNTS_FILE
from wsss_lightning.report.verdict import dataset_miou
from wsss_lightning.results.schema import (
    Annotation,
    Protocol,
    Results,
    SeedProtocol,
    Splits,
    write_results,
)
from wsss_lightning.steps.labels import StepInfo

STEPS = (("seeds", "train"), ("crf", "train"), ("pseudo", "train"), ("segmentation", "val"))


def write_runs(
    folder: Path,
    skills: Mapping[str, float],
    seeds: int,
    images: int,
    classes: int = 20,
    pixels: int = 10_000,
    steps: tuple[tuple[str, str], ...] = STEPS,
) -> None:
    """Write one run for every method and seed.

    Args:
        skills: by method, in logits; the higher, the more pixels are right.
        seeds: number of runs of each method.
        images: number of images in every split.
        classes: c.
        pixels: number of pixels of an image.
        steps: scored steps with their split.
    """
    world = np.random.default_rng(0)
    labels = classes + 1
    other = world.integers(1, labels, images)  # the one class in an image
    size = world.integers(pixels // 10, pixels // 2, images)
    ease = world.standard_normal((images, 2))
    names = [f"image_{i:05d}" for i in range(images)]
    for name, skill in skills.items():
        for seed in range(seeds):
            rng = np.random.default_rng([*name.encode(), seed])
            run = folder / f"{name}_{seed}"
            scores = {}
            for step, split in steps:
                luck = 0.05 * rng.standard_normal() + 0.3 * rng.standard_normal((images, 2))
                right = 1 / (1 + np.exp(-(skill + ease + luck)))
                found = rng.binomial(np.stack([pixels - size, size], 1), right)
                cells = np.stack(
                    [np.zeros(images, int), other, other * (labels + 1), other * (labels + 2)], 1
                )
                wrong = np.stack([pixels - size, size], 1) - found
                counts = np.stack([found[:, 0], wrong[:, 0], wrong[:, 1], found[:, 1]], 1)
                scores |= _write(run / f"{step}_miou" / split, names, labels, cells, counts)
            _results(run, name, seed, scores, images, classes)


def _write(
    folder: Path, names: list[str], labels: int, cells: np.ndarray, counts: np.ndarray
) -> dict[str, float]:
    folder.mkdir(parents=True)
    by_error_type = np.zeros((len(WRONG), labels, labels + 1), np.int64)
    # false positives in background, and missed parts
    np.add.at(by_error_type[4].reshape(-1), cells[:, 1], counts[:, 1])
    np.add.at(by_error_type[3].reshape(-1), cells[:, 2], counts[:, 2])
    wrong = np.zeros((len(names), len(WRONG)), np.int64)
    wrong[:, 4], wrong[:, 3] = counts[:, 1], counts[:, 2]
    np.savez_compressed(
        folder / PIXEL_COUNTS_FILE,
        names=np.array(names),
        labels=np.array(labels),
        filled=np.full(len(names), 4),
        cells=cells.ravel().astype(np.int32),
        pixels=counts.ravel(),
        by_error_type=by_error_type,
        wrong=wrong,
    )
    matrix = np.zeros(labels * (labels + 1))
    np.add.at(matrix, cells.ravel(), counts.ravel())
    matrix = matrix.reshape(1, labels, labels + 1)
    square = matrix[0, :, :labels]
    true, named, right = matrix[0].sum(1), square.sum(0), square.diagonal()
    step, split = folder.parent.name.removesuffix("_miou"), folder.name
    shown = true > 0
    ious = right[shown] / (true + named - right)[shown]
    titles = np.array(["background", *(f"class_{c}" for c in range(1, labels))])[shown]
    scores = {f"{step}/{split}/miou": float(dataset_miou(matrix)[0])}
    return scores | {
        f"{step}/{split}/iou_{title}": float(value)
        for title, value in zip(titles, ious, strict=True)
    }


def _results(
    run: Path, name: str, seed: int, scores: dict[str, float], images: int, classes: int
) -> None:
    experiment, *overrides = name.split(" ")
    results = Results(
        experiment=experiment,
        data="made_up",
        data_digest="a-b-c",
        seed=seed,
        supervision="tags",
        scores=scores,
        protocol=Protocol(
            splits=Splits("train", "val"),
            train_masks_used_for=["scoring"],
            true_masks_digest="c",
            seeds=SeedProtocol("given", [1.0], False, {"miou": "fixed"}),
        ),
        annotation=Annotation(
            images=images,
            tag_questions=images * classes,
            boxes=0,
            masks=0,
            objects_outlined=0,
            held_out_masks=images // 10,
        ),
        overrides=[f"experiment={experiment}", f"seed={seed}", *overrides],
        dataset={
            "_target_": "wsss_lightning.data.dataset.VOCDataset",
            "_partial_": True,
            "root": str(run.parent / "absent"),
            "classes": [f"class_{c}" for c in range(1, classes + 1)],
            "lists": {"train": "train.txt", "val": "val.txt"},
            "tags": "masks",
            "mask_ids": None,
            "image_dir": "images",
            "mask_dir": "masks",
            "annotation_dir": "xml",
            "on_missing_labels": "error",
        },
        seconds={"classifier": 60.0},
        versions={"code": "0"},
        steps={"none": StepInfo("seeds without refinement", 11), "crf": StepInfo("CRF", 12)},
    )
    write_results(run, results)
