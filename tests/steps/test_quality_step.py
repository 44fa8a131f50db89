"""Quality of pseudo masks, its score, and masks without the worst images."""

import csv
import json
import shutil

import numpy as np
import pytest
from facts import raises_naming
from omegaconf import OmegaConf
from PIL import Image
from scipy import stats

from wsss_lightning.data.scores import load_mask, save_cam, save_mask, save_score
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.steps.evaluate import evaluate_masks
from wsss_lightning.steps.metrics_file import load_metrics
from wsss_lightning.steps.quality import drop_worst, evaluate_quality, load_quality, quality

SIDE = 48
CLASSES = ["cat", "dog"]
NAMES = [f"x{i:02}" for i in range(12)]
UNTAGGED = "x11"
SHIFTS = [0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16]  # pixels by which the pseudo masks are wrong


def square(shift=0):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[12:32, 8 + shift : 28 + shift] = True
    return mask


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Bright squares on noise; pseudo masks are shifted by more and more pixels."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages", "SegmentationClass", "masks", "marginals", "cams"):
        (root / folder).mkdir()
    tags = ["image,cat,dog"]
    for i, name in enumerate(NAMES):
        label = 0 if name == UNTAGGED else 1 + i % 2
        truth = square() * label
        noise = rng.integers(0, 60, (SIDE, SIDE, 3))
        Image.fromarray((noise + 120 * (truth > 0)[..., None]).astype(np.uint8)).save(
            root / f"JPEGImages/{name}.png"
        )
        save_mask(root / f"SegmentationClass/{name}.png", truth.astype(np.uint8))
        wrong = square(SHIFTS[i]) if label else np.zeros((SIDE, SIDE), bool)
        save_mask(root / f"masks/{name}.png", (wrong * label).astype(np.uint8))
        score = np.where(truth > 0, 0.9, 0.1).astype(np.float32)[None]
        save_score(
            root / f"marginals/{name}.npz",
            score[: label > 0],
            np.array([label][: label > 0], np.int64),
            8,
        )
        cells = truth[::4, ::4]
        cam = np.stack([np.where(cells == k, 4.0, -2.0) for k in (1, 2)])
        save_cam(root / f"cams/{name}.npz", cam + rng.normal(0, 0.3, cam.shape))
        tags.append(f"{name},{int(label == 1)},{int(label == 2)}")
    (root / "tags.csv").write_text("\n".join(tags))
    (root / "train.txt").write_text("\n".join(NAMES))
    dataset = {
        "_target_": "wsss_lightning.data.dataset.VOCDataset",
        "_partial_": True,
        "root": str(root),
        "classes": CLASSES,
        "lists": {"train": "train.txt"},
        "tags": "tags.csv",
        "mask_ids": None,
        "image_dir": "JPEGImages",
        "mask_dir": "SegmentationClass",
        "annotation_dir": "Annotations",
        "on_missing_labels": "background",
    }
    data = OmegaConf.create({"dataset": dataset})
    made = root / "quality"
    made.mkdir()
    quality(made, data=data, split="train", masks=root / "masks", cams=root / "cams")
    return root, data


def rows(folder):
    with (folder / "quality.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_row_for_each_image_and_for_each_tagged_class(run):
    table = rows(run[0] / "quality")
    tagged = [name for name in NAMES if name != UNTAGGED]
    assert [row["name"] for row in table if row["class"] == ""] == NAMES
    assert [row["name"] for row in table if row["class"]] == tagged
    assert {row["class"] for row in table if row["class"]} == set(CLASSES)
    assert list(table[0]) == [
        *("name", "class", "quality"),
        *("edge", "largest", "consistency"),
    ]
    assert all(0 < float(row["quality"]) <= 1 for row in table)


def test_the_row_of_an_image_is_the_mean_of_its_classes(run):
    table = rows(run[0] / "quality")
    of_image, of_class = (row for row in table if row["name"] == "x03")
    for column in ("quality", "edge", "consistency"):
        assert float(of_image[column]) == pytest.approx(float(of_class[column]))


def test_an_image_without_tags_can_have_no_wrong_class(run):
    (row,) = (row for row in rows(run[0] / "quality") if row["name"] == UNTAGGED)
    assert (row["class"], row["quality"], row["edge"]) == ("", "1", "")


def test_the_more_a_mask_is_shifted_the_worse_it_is(run):
    images = load_quality(run[0] / "quality").images
    found = [images[name] for name in NAMES if name != UNTAGGED]
    assert found[0] == max(found)
    assert found[-1] == min(found)
    assert np.corrcoef(found, SHIFTS)[0, 1] < -0.9


def test_an_empty_mask_of_a_tagged_class_is_the_worst(run, tmp_path):
    root, data = run
    shutil.copytree(root / "masks", tmp_path / "masks")
    save_mask(tmp_path / "masks/x00.png", np.zeros((SIDE, SIDE), np.uint8))
    (tmp_path / "quality").mkdir()
    quality(
        tmp_path / "quality",
        data=data,
        split="train",
        masks=tmp_path / "masks",
        cams=root / "cams",
    )
    masks = load_quality(tmp_path / "quality").masks
    assert min(masks, key=masks.get) == ("x00", "cat")


def test_true_masks_are_not_read(run, tmp_path):
    root, data = run
    other = data.copy()
    other.dataset.mask_dir = "absent"
    (tmp_path / "quality").mkdir()
    quality(
        tmp_path / "quality", data=other, split="train", masks=root / "masks", cams=root / "cams"
    )
    assert rows(tmp_path / "quality") == rows(root / "quality")


def test_marginals_of_a_network_are_a_signal_of_their_own(run, tmp_path):
    root, data = run
    (tmp_path / "quality").mkdir()
    quality(
        tmp_path / "quality",
        data=data,
        split="train",
        masks=root / "masks",
        marginals=root / "marginals",
    )
    table = [row for row in rows(tmp_path / "quality") if row["class"]]
    assert list(table[0])[3:] == ["edge", "largest", "network"]
    # 0.9 in the square of 400 pixels, 0.1 elsewhere
    expected = 0.9 * 400 / (400 + 0.1 * (SIDE**2 - 400))
    assert float(table[0]["network"]) == pytest.approx(expected, abs=0.01)


def test_the_score_is_the_rank_correlation_with_true_iou(run, tmp_path):
    root, data = run
    counts, scored = tmp_path / "counts", tmp_path / "scored"
    counts.mkdir()
    scored.mkdir()
    evaluate_masks(counts, masks=root / "masks", data=data, split="train")
    evaluate_quality(scored, quality=root / "quality", counts=counts, classes=CLASSES)
    metrics = load_metrics(scored)
    # every mask has its own shift, so true IoU orders them as the shifts do
    found = load_quality(root / "quality").masks
    order = [found[name, CLASSES[i % 2]] for i, name in enumerate(NAMES) if name != UNTAGGED]
    by_scipy = stats.spearmanr(order, [-shift for shift in SHIFTS]).statistic
    assert metrics["spearman"] == pytest.approx(by_scipy)
    assert metrics["spearman_image"] == metrics["spearman"]  # one class an image
    assert "spearman_class" not in metrics  # too few masks of each class
    assert metrics["worst_fifth"] == 1


def test_without_true_masks_there_is_no_score(run, tmp_path):
    (tmp_path / "counts").mkdir()
    evaluate_quality(
        tmp_path, quality=run[0] / "quality", counts=tmp_path / "counts", classes=CLASSES
    )
    assert json.loads((tmp_path / "metrics.json").read_text()) == {}


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.2, 2), (0.5, 6), (0.99, 11)])
def test_the_worst_images_are_ignored_and_the_others_kept(run, tmp_path, share, count):
    root, data = run
    drop_worst(
        tmp_path,
        quality=root / "quality",
        masks=root / "masks",
        data=data,
        split="train",
        share=share,
    )
    dropped = (tmp_path / "dropped.txt").read_text().split()
    images = load_quality(root / "quality").images
    assert dropped == sorted(NAMES, key=images.get)[:count]
    for name in NAMES:
        before = load_mask(root / f"masks/{name}.png")
        after = load_mask(tmp_path / f"{name}.png")
        assert (after == (IGNORE if name in dropped else before)).all()


@pytest.mark.parametrize("text", ["", "name,class\nx,\n", "name,class,quality\nx,,good\n"])
def test_a_damaged_table_is_named(tmp_path, text):
    (tmp_path / "quality.csv").write_text(text)
    if text == "":
        (tmp_path / "quality.csv").unlink()
    with raises_naming(InputError, tmp_path / "quality.csv"):
        load_quality(tmp_path)
