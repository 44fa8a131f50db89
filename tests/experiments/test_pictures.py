"""The pictures of the documentation."""

import importlib.util
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsss_lightning.data.scores import save_mask, save_score

SCRIPT = Path(__file__).parents[2] / "experiments/pictures.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="experiments/ is not in the sdist")


@pytest.fixture
def pictures(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("pictures_of_docs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "IMAGES", tmp_path / "images")
    return module


@pytest.fixture
def finished(tmp_path) -> tuple[Path, Path]:
    """A data set of ten images, and a run on it."""
    root, run = tmp_path / "data", tmp_path / "run"
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages", "SegmentationClass"):
        (root / folder).mkdir(parents=True)
    (run / "hydra").mkdir(parents=True)
    (run / "hydra/config.yaml").write_text("seeds: {background_score: 0.5}")
    for i in range(10):
        image = rng.integers(0, 256, (32, 40, 3)).astype(np.uint8)
        Image.fromarray(image).save(root / f"JPEGImages/{i}.jpg")
        mask = np.zeros((32, 40), np.uint8)
        mask[8:24, 8:32] = 1
        save_mask(root / f"SegmentationClass/{i}.png", mask)
        for step in ("pseudo", "predictions/train"):
            save_mask(run / step / f"{i}.png", np.roll(mask, i, axis=1))
        score = mask[None].astype(np.float32)
        save_score(run / f"seeds/train/{i}.npz", torch.tensor(0.9 * score), torch.tensor([1]), 8)
        both = torch.tensor(np.concatenate([1 - score, score]))
        save_score(run / f"crf/train/{i}.npz", both, torch.tensor([0, 1]), 8)
    return root, run


def test_pictures_have_a_row_an_image_and_a_column_a_step(
    pictures, finished, monkeypatch, tmp_path
):
    root, run = finished
    monkeypatch.setattr(pictures, "generated_data", lambda overrides: root)
    monkeypatch.setattr(pictures, "run", lambda name, runs, overrides: run)
    monkeypatch.setattr(sys, "argv", ["pictures.py", "pipeline", "cam"])
    pictures.main()
    for name, columns, rows in (("pipeline", 6, 4), ("cam", 5, 3)):
        with Image.open(tmp_path / f"images/{name}.png") as picture:
            side = pictures.TILE * pictures.ZOOM
            assert round(picture.width / side) == columns
            assert round(picture.height / side) == rows
            shown = np.asarray(picture.convert("RGB")).astype(int)
        tiles = [shown[-side:, i * (side + 6) : i * (side + 6) + side] for i in range(columns)]
        for first, second in pairwise(tiles):
            assert np.abs(first - second).mean() > 3


def test_every_column_of_a_picture_belongs_to_a_run(pictures):
    used = {source for columns in pictures.PICTURES.values() for _, source, _, _ in columns}
    assert used == set(pictures.RUNS)
    shown = {path.stem for path in (SCRIPT.parents[1] / "docs/images").glob("*.png")}
    assert shown == set(pictures.PICTURES)
    kinds = {kind for columns in pictures.PICTURES.values() for _, _, kind, _ in columns}
    assert kinds == {"heat", "object", "seeds", "mask"}


def test_images_are_ranked_by_the_mean_over_labels_that_they_show(pictures):  # closed form
    truth = np.array([[0, 0, 1, 255]], np.uint8)
    mask = np.array([[0, 1, 1, 3]], np.uint8)
    assert pictures.miou(mask, truth) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert pictures.miou(truth, truth) == 1
