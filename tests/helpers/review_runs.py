"""A finished run to review, made without training: photos, masks, score maps and quality."""

import csv
from pathlib import Path

import numpy as np
from commands import COLOURS, SPLITS, VOC_IDS, write_voc
from example_results import example_results
from PIL import Image

from wsss_lightning.data.scores import save_mask, save_score
from wsss_lightning.results.schema import write_results
from wsss_lightning.steps.labels import StepInfo

CLASSES = list(VOC_IDS)
NAMES = [f"train_{i}" for i in range(SPLITS["train"])]
# by name of the image; the others have none
QUALITY = {"train_0": 0.9, "train_1": 0.2, "train_2": 0.5, "train_3": 0.4}


def dataset_node(root: Path) -> dict:
    return {
        "_target_": "wsss_lightning.data.dataset.VOCDataset",
        "_partial_": True,
        "root": str(root),
        "classes": CLASSES,
        "lists": {split: f"ImageSets/Segmentation/{split}.txt" for split in SPLITS},
        "tags": "tags.csv",
        "mask_ids": {0: "background", **{number: name for name, number in VOC_IDS.items()}},
        "image_dir": "JPEGImages",
        "mask_dir": "SegmentationClass",
        "annotation_dir": "Annotations",
        "on_missing_labels": "error",
    }


def write_run(folder: Path, with_quality: bool = True) -> Path:
    """A run on the data set of `write_voc`; its pseudo masks are where the colours are."""
    root = write_voc(folder / "voc")
    run = folder / "runs/cam"
    results = example_results(
        data="pets", dataset=dataset_node(root), steps={"crf": StepInfo("CRF", 12)}
    )
    write_results(run, results)
    for split, count in SPLITS.items():
        masks = run / ("pseudo" if split == "train" else f"crf_masks/{split}")
        for i in range(count):
            name = f"{split}_{i}"
            pixels = np.asarray(Image.open(root / f"JPEGImages/{name}.jpg")).astype(int)
            distance = [np.abs(pixels - colour).sum(-1) for colour in COLOURS.values()]
            mask = np.where(np.min(distance, 0) < 150, np.argmin(distance, 0) + 1, 0)
            labels = np.unique(mask[mask > 0])
            scores = np.stack([(mask == label) * 0.8 for label in labels]).astype(np.float32)
            save_mask(masks / f"{name}.png", mask.astype(np.uint8))
            save_mask(run / f"predictions/{split}/{name}.png", mask.astype(np.uint8))
            save_score(run / f"seeds/{split}/{name}.npz", scores, labels, bits=8)
    if with_quality:
        write_quality(run / "quality/quality.csv")
    return run


def write_quality(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "class", "quality", "entropy"])
        for name, quality in QUALITY.items():
            writer.writerow([name, "", quality, 0.1])
            writer.writerow([name, CLASSES[NAMES.index(name) % 3], quality, 0.1])
