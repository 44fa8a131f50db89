import json

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from wsss_lightning.data.scores import load_mask, save_mask, save_score
from wsss_lightning.steps.boxes import box_labels
from wsss_lightning.steps.boxes import relabel as relabel_step
from wsss_lightning.steps.runtime import Runtime

NAMES = ["x0", "x1", "x2"]
BOX = "image,class,x0,y0,x1,y1\n" + "".join(f"{name},cat,2,3,7,9\n" for name in NAMES)
RULE = "wsss_lightning.methods.simple_does_it.boxes."
CRF = {"theta_alpha": 4, "theta_beta": 13, "theta_gamma": 1, "w1": 3, "w2": 1, "iterations": 2}


@pytest.fixture
def data(tmp_path):
    """Three images of noise with the box of a cat each; no masks."""
    root = tmp_path / "set"
    (root / "JPEGImages").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in NAMES:
        noise = rng.integers(0, 256, (10, 12, 3), np.uint8)
        Image.fromarray(noise).save(root / f"JPEGImages/{name}.png")
    (root / "train.txt").write_text("\n".join(NAMES))
    (root / "boxes.csv").write_text(BOX)
    reader = {
        "_target_": "wsss_lightning.data.dataset.VOCDataset",
        "_partial_": True,
        "root": str(root),
        "classes": ["cat"],
        "lists": {"train": "train.txt"},
        "tags": "boxes",
        "boxes": "boxes.csv",
        "mask_ids": None,
        "image_dir": "JPEGImages",
        "mask_dir": "SegmentationClass",
        "annotation_dir": "Annotations",
        "on_missing_labels": "error",
    }
    return OmegaConf.create({"dataset": reader})


def rule(name: str, **numbers):
    return OmegaConf.create({"_target_": RULE + name, "_partial_": True, **numbers})


def runtime(workers):
    return Runtime(OmegaConf.create({}), OmegaConf.create({}), workers)


def painted(folder, data, workers=0):
    folder.mkdir(exist_ok=True)
    box_labels(folder, runtime=runtime(workers), data=data, split="train", rule=rule("paint_boxes"))
    return folder


def relabelled(folder, data, predictions, initial, previous, chosen, workers=0):
    folder.mkdir(exist_ok=True)
    relabel_step(
        folder,
        runtime=runtime(workers),
        data=data,
        split="train",
        predictions=predictions,
        initial=initial,
        previous=previous,
        rule=chosen,
        crf=OmegaConf.create({**CRF, "engine": "auto"}),
    )
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture
def predictions(tmp_path):
    """The cat is taken to be in the left half."""
    folder = tmp_path / "predictions"
    folder.mkdir()
    cat = np.zeros((10, 12), np.float32)
    cat[:, :6] = 0.9
    for name in NAMES:
        save_score(folder / f"{name}.npz", np.stack([1 - cat, cat]), np.array([0, 1]), bits=16)
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_each_image_is_labelled_from_its_boxes(tmp_path, data, workers):
    folder = painted(tmp_path / "labels", data, workers)
    expected = np.zeros((10, 12), np.uint8)
    expected[3:9, 2:7] = 1
    for name in NAMES:
        assert (load_mask(folder / f"{name}.png") == expected).all()


def test_work_goes_on_behind_the_images_that_are_done(tmp_path, data):
    folder = tmp_path / "labels"
    folder.mkdir()
    done = np.full((10, 12), 1, np.uint8)
    save_mask(folder / "x1.png", done)
    painted(folder, data)
    assert (load_mask(folder / "x1.png") == done).all()
    assert not (load_mask(folder / "x2.png") == done).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_relabelling_tells_the_share_of_pixels_that_changed(tmp_path, data, predictions, workers):
    initial = painted(tmp_path / "initial", data)
    new = tmp_path / "new"
    metrics = relabelled(new, data, predictions, initial, initial, rule("naive"), workers)
    # predicted are columns 0..5 of 10 rows, painted 30 pixels, of which 24 are in both
    assert metrics == {"changed": pytest.approx((60 - 24 + 30 - 24) / 120)}
    again = relabelled(tmp_path / "again", data, predictions, initial, new, rule("naive"))
    assert again == {"changed": 0.0}


def test_post_processing_clips_to_the_boxes(tmp_path, data, predictions):
    initial = painted(tmp_path / "initial", data)
    chosen = rule("denoised", class_wise=True, fold=True, min_fill=0.5, label_confidence=0.7)
    relabelled(tmp_path / "new", data, predictions, initial, initial, chosen)
    for name in NAMES:
        label = load_mask(tmp_path / f"new/{name}.png")
        assert label.any()
        label[3:9, 2:7] = 0
        assert not label.any()
