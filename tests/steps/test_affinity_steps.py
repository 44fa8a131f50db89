import json

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from wsss_lightning.data.scores import load_mask, load_score, save_score
from wsss_lightning.steps.affinity import confident_labels, propagate
from wsss_lightning.steps.runtime import Runtime
from wsss_lightning.steps.train import train

NAMES = ["x0", "x1", "x2"]
KEYS = np.array([0, 3])
SIZE = (40, 48)


@pytest.fixture
def data(tmp_path):
    """Three images of noise, all tagged with the third of three classes; no masks."""
    root = tmp_path / "set"
    (root / "JPEGImages").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in NAMES:
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(
            root / f"JPEGImages/{name}.png"
        )
    (root / "train.txt").write_text("\n".join(NAMES))
    rows = ["image,ape,bee,cat", *(f"{name},0,0,1" for name in NAMES)]
    (root / "tags.csv").write_text("\n".join(rows))
    reader = {
        "_target_": "wsss_lightning.data.dataset.VOCDataset",
        "_partial_": True,
        "root": str(root),
        "classes": ["ape", "bee", "cat"],
        "lists": {"train": "train.txt"},
        "tags": "tags.csv",
        "mask_ids": None,
        "image_dir": "JPEGImages",
        "mask_dir": "SegmentationClass",
        "annotation_dir": "Annotations",
        "on_missing_labels": "error",
    }
    return OmegaConf.create(
        {"name": "three", "train": "train", "val": "train", "num_classes": 3, "dataset": reader}
    )


@pytest.fixture
def runtime():
    trainer = {"_target_": "pytorch_lightning.Trainer", "_partial_": True, "accelerator": "cpu"}
    return Runtime(OmegaConf.create(trainer), OmegaConf.create({}), workers=0)


def marginals(folder, foreground):
    """Of background and class 3, which has the given probability."""
    folder.mkdir()
    for name in NAMES:
        cat = np.asarray(foreground, np.float32)
        save_score(folder / f"{name}.npz", np.stack([1 - cat, cat]), KEYS, bits=16)
    return folder


def test_labels_are_sure_where_both_refinements_agree(tmp_path, data, runtime):
    low = marginals(tmp_path / "low", [[0.9, 0.2, 0.1, 0.1]])
    high = marginals(tmp_path / "high", [[0.9, 0.8, 0.3, 0.2]])
    folder = tmp_path / "labels"
    folder.mkdir()
    confident_labels(
        folder, runtime=runtime, low=low, high=high, data=data, split="train", prefer_class=True
    )
    for name in NAMES:
        assert load_mask(folder / f"{name}.png").tolist() == [[3, 255, 0, 0]]
    shares = json.loads((folder / "metrics.json").read_text())
    assert shares == {"background": 0.5, "foreground": 0.25}
    # an interrupted stage leaves what is done as it is
    (folder / "x1.png").unlink()
    kept = (folder / "x0.png").stat().st_mtime_ns
    confident_labels(
        folder, runtime=runtime, low=low, high=high, data=data, split="train", prefer_class=True
    )
    assert (folder / "x1.png").is_file()
    assert (folder / "x0.png").stat().st_mtime_ns == kept


@pytest.fixture
def trained(tmp_path):
    """A folder as `fit` leaves it, of an AffinityNet that learnt nothing."""
    folder = tmp_path / "trained"
    folder.mkdir()
    backbone = {
        "_target_": "wsss_lightning.nets.backbones.Backbone",
        "name": "test_resnet",
        "output_stride": 8,
        "pretrained": False,
        "weights": None,
        "freeze_norm": None,
        "frozen": [],
        "options": {},
    }
    module = {
        "_target_": "wsss_lightning.methods.affinity_net.module.AffinityNetModule",
        "net": {
            "_target_": "wsss_lightning.methods.affinity_net.network.AffinityNet",
            "_partial_": True,
            "backbone": backbone,
            "feature_layers": [-2, -1],
            "feature_channels": [4, 4],
            "weights": None,
        },
        "optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1},
        "head_lr_multiplier": 1,
        "bias_lr_multiplier": 2,
        "decay_biases": False,
        "poly_power": 0.9,
        "radius": 3,
        "border": "padded",
    }
    OmegaConf.save(OmegaConf.create(module), folder / "module.yaml")
    torch.manual_seed(0)
    torch.save({"state_dict": instantiate(module).state_dict()}, folder / "last.ckpt")
    return folder


def test_crops_of_affinitynet_are_padded_with_black(tmp_path, data, runtime, trained, monkeypatch):
    given = {}

    def transform(**how):
        given.update(how)
        raise KeyboardInterrupt  # the training itself does not matter

    monkeypatch.setattr("wsss_lightning.steps.train.TrainTransform", transform)
    schedule = {"max_epochs": 1, "crop_size": 32, "long_side": None, "scale": None, "flip": True}
    with pytest.raises(KeyboardInterrupt):
        train(
            tmp_path,
            runtime=runtime,
            module=OmegaConf.load(trained / "module.yaml"),
            data=data,
            schedule=OmegaConf.create({**schedule, "jitter": None}),
            target="masks",
        )
    assert given["padding"] == (0, 0, 0)


def test_a_walk_goes_on_with_the_images_that_are_left(tmp_path, data, runtime, trained):
    scores = tmp_path / "scores"
    scores.mkdir()
    rng = np.random.default_rng(1)
    for name in NAMES:
        save_score(scores / f"{name}.npz", rng.random((1, *SIZE)), np.array([3]), bits=8)
    walk = {
        "radius": 3,
        "border": "padded",
        "beta": 2,
        "steps": 4,
        "background_power": 4,
        "background_score": None,
        "batch_size": 2,
    }
    how = {"trained": trained, "scores": scores, "data": data, "split": "train"}
    folder = tmp_path / "walked"
    folder.mkdir()
    propagate(folder, runtime=runtime, **how, walk=OmegaConf.create(walk))
    whole = {name: load_score(folder / f"{name}.npz") for name in NAMES}
    for maps, keys in whole.values():
        assert keys.tolist() == [0, 3]
        assert maps.shape == (2, *SIZE)
        np.testing.assert_allclose(maps.sum(0), 1, atol=1e-4)
    (folder / "x1.npz").unlink()
    kept = (folder / "x0.npz").stat().st_mtime_ns
    propagate(folder, runtime=runtime, **how, walk=OmegaConf.create({**walk, "batch_size": 1}))
    np.testing.assert_allclose(load_score(folder / "x1.npz")[0], whole["x1"][0], atol=1e-4)
    assert (folder / "x0.npz").stat().st_mtime_ns == kept
