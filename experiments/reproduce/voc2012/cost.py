"""Arithmetic, time and disk that the published recipes take on VOC 2012, counted without running them.

    python experiments/reproduce/voc2012/cost.py [RECIPE ...] [--markdown]

Each pipeline is gone through with stages that do nothing but note what they would do. The networks
are built without data (PyTorch's meta device), and `torch.utils.flop_counter` counts a training step
and the views of an image of 500x375 pixels; a multiplication with an addition is 2 FLOP. Hours of a
GPU are an ESTIMATE, not a measurement: FLOP / (SHARE * PEAK). Reading images, random walks and
writing files are not counted. CRFs run on the CPU, and are estimated from seconds an image.
"""

import argparse
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from check import IMAGES
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from wsss_lightning import cli
from wsss_lightning.data.batch import Batch
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.recipes import read_recipe
from wsss_lightning.run import Run, write_json

GPU = "A100"
PEAK = 156e12  # FLOP/s of an NVIDIA A100 in TF32, which PyTorch's convolutions use for 32 bits
SHARE = 0.3  # of the peak that is assumed to be reached; the estimate is inverse to it
CORES = 8  # the recipes' workers
CRF_SECONDS = 0.78  # an image on one core: 10 iterations, about 3 labels
HEIGHT, WIDTH = 375, 500  # of most images of VOC

# bytes of a pixel of an image, compressed, as `bytes_per_image` measures them
SEED_BYTES, REFINED_BYTES, MASK_BYTES, PREDICTION_BYTES = 0, 0, 0, 0


@dataclass
class Notes(Run):
    """A run whose stages note their work and their inputs in place of doing it."""

    stages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def stage(self, name: str, work: Any, **inputs: Any) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "metrics.json", {"changed": 1.0})
        if work.__name__ == "fit":
            inputs["name"] = name
            write_json(folder / "module.json", OmegaConf.to_container(inputs["module"], resolve=True))
        self.stages.append((work.__name__, inputs))
        return folder


@dataclass
class Cost:
    """Of a run of a recipe.

    Args:
        training, inference: FLOP.
        crf_images: how many CRFs are run, each on one image.
        files: images that a stage writes a file for, by kind.
        trainings: bytes of checkpoints.
    """

    training: float = 0.0
    inference: float = 0.0
    crf_images: int = 0
    files: dict[str, int] = field(default_factory=dict)
    checkpoints: int = 0

    @property
    def gpu_hours(self) -> float:
        return (self.training + self.inference) / (SHARE * PEAK) / 3600

    @property
    def cpu_hours(self) -> float:
        return self.crf_images * CRF_SECONDS / CORES / 3600


def composed(recipe: str) -> DictConfig:
    """Its configuration, without the weights that its networks begin with."""
    table = read_recipe(recipe)
    words = [f"experiment={table.experiment}", *table.overrides, "data.root=unused"]
    with initialize_config_dir(str(cli.conf_folder()), version_base="1.3"):
        cfg = compose("config", [*words, "benchmark.split=null"])
    cfg.backbone.pretrained, cfg.backbone.weights = False, None
    return cfg


def cost_of(recipe: str) -> Cost:
    """Of one run."""
    cfg, cost = composed(recipe), Cost()
    with tempfile.TemporaryDirectory() as folder:
        run = Notes(Path(folder), Path(folder), seed=0)
        instantiate(cfg.pipeline)(cfg, run)
        for work, inputs in run.stages:
            _add(cost, work, inputs)
    return cost
