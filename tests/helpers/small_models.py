"""A small trained module of each kind, and a finished run."""

from pathlib import Path

import pytest
import torch
from commands import TINY, there
from hydra.utils import instantiate
from omegaconf import OmegaConf

from wsss_lightning.ops.masks import voc_palette
from wsss_lightning.predict.model_info import ModelInfo

BACKBONE = {
    "_target_": "wsss_lightning.nets.backbones.Backbone",
    "name": "test_resnet",
    "output_stride": 16,
    "pretrained": False,
    "weights": None,
    "freeze_norm": False,
    "frozen": [],
    "options": {},
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.2, 0.2],
}
OPTIMISER = {
    "_target_": "torch.optim.AdamW",
    "_partial_": True,
    "lr": 0.01,
    "weight_decay": 0.0,
}
NETS = {
    "segmentation": {
        "_target_": "wsss_lightning.methods.segmentation.network.SegmentationNet",
        "_partial_": True,
        "backbone": BACKBONE,
        "architecture": "unet",
        "options": {"decoder_channels": [8, 8, 8, 8, 8]},
    },
    "classification": {
        "_target_": "wsss_lightning.methods.cam.network.CamNet",
        "_partial_": True,
        "backbone": BACKBONE,
        "dropout": 0.0,
        "head_init": "default",
        "weights": None,
    },
}
MODULES = {
    "segmentation": "wsss_lightning.methods.segmentation.module.Segmenter",
    "classification": "wsss_lightning.methods.cam.module.Classifier",
}
CRF = {"theta_alpha": 24, "theta_beta": 13, "theta_gamma": 1, "w1": 10, "w2": 3}


def node_of(task: str) -> dict:
    return {
        "_target_": MODULES[task],
        "net": NETS[task],
        "num_classes": 2,
        "optimizer": OPTIMISER,
        "head_lr_multiplier": 1,
        "poly_power": 0.9,
    }


def info_of(task: str, **changes) -> ModelInfo:
    segments = task == "segmentation"
    fields = {
        "task": task,
        "module": node_of(task),
        "classes": ["cat", "dog"],
        "colours": [list(voc_palette()[3 * i : 3 * i + 3]) for i in range(3)],
        "mean": BACKBONE["mean"],
        "std": BACKBONE["std"],
        "sizes": {"crop_size": 64},
        "test": {"scales": [1.0], "flip": True, "long_side": None} if segments else None,
        "cam": None if segments else {"scales": [1.0], "flip": True, "stride": 16},
        "crf": {**CRF, "iterations": 3, "engine": "torch"},
        "uses_crf": False,
        "batch_size": 2,
        "provenance": {"experiment": "cam", "versions": {"torch": "2"}},
    }
    return ModelInfo(**(fields | changes))


def module_of(task: str, seed: int = 0):
    """A module with random weights, and statistics of batch norms unlike the initial ones."""
    torch.manual_seed(seed)
    module = instantiate(OmegaConf.create(node_of(task)))
    with torch.no_grad():
        for _ in range(3):
            module.train()(torch.rand(4, 3, 64, 64))
    return module.eval()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """Folder of a finished run whose masks are refined by a CRF; its models are in `models/`."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("WSSS_CACHE", str(folder / "cache"))
        outcome = there("experiment=cam", *TINY, "test.crf=true", "crf=tiny", folder=folder)
    return outcome.folder
