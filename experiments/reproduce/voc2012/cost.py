"""Estimate arithmetic, time and disk space of the published recipes on VOC 2012.

    python experiments/reproduce/voc2012/cost.py [RECIPE ...] [--markdown]

Nothing is trained: each pipeline runs with steps that only record their inputs. The networks are
built without data on PyTorch's meta device, where `torch.utils.flop_counter` counts the forward and
backward pass of a training crop, and the forward passes of a photo of 500x375 pixels; a
multiply-add counts as 2 FLOP. GPU hours are an ESTIMATE, not a measurement: FLOP divided by SHARE
of the peak of a named GPU. Losses, random walks, optimiser steps and file access are not counted.
CRFs run on the CPU; their hours come from the time per image.
"""

import argparse
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from check import DATA, IMAGES
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from wsss_lightning.cache.stage_cache import StageCache
from wsss_lightning.cli.error_messages import fail
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.errors import InputError
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.recipes import read_recipe, recipe_names
from wsss_lightning.steps.config_nodes import backbone_nodes
from wsss_lightning.utils.files import write_json

GPU, PEAK = "A100", 156e12  # NVIDIA's figure for TF32, PyTorch's default for convolutions
SHARE = 0.3  # assumed share of the peak; half of it doubles the hours
CORES = 8  # the recipes' workers
CRF_SECONDS = 0.78  # per image on one core, 10 iterations, about 3 labels (pydensecrf, measured)
HEIGHT, WIDTH = 375, 500

# kB per file, measured on 40 photos of VOC with generated noisy maps; an upper estimate
KB = {
    "seeds, 8 bits": 95,
    "seeds, 16 bits": 520,
    "CRF": 31,
    "walk": 850,
    "network": 2980,
    "mask": 3,
}


@dataclass
class RecordedSteps(StageCache):
    """A stage cache that records functions and inputs instead of running them."""

    stages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def run(
        self,
        name: str,
        work: Any,
        *,
        memory_keys: tuple[str, ...] | None = None,
        **inputs: Any,
    ) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "metrics.json", {"changed": 1.0})
        if work.__name__ == "train":
            OmegaConf.save(OmegaConf.create(plain(inputs["module"])), folder / "module.yaml")
        self.stages.append((work.__name__, inputs))
        return folder


@dataclass
class Cost:
    """Cost of one run of a recipe.

    Args:
        training: FLOP of all trainings.
        inference: FLOP of all inference passes.
        crfs: number of CRF runs, one per image.
        files: number of files of each kind (`KB`).
        checkpoints: bytes of the last checkpoint of every training, optimiser state included.
    """

    training: float = 0.0
    inference: float = 0.0
    crfs: int = 0
    files: Counter[str] = field(default_factory=Counter)
    checkpoints: float = 0.0

    @property
    def gpu_hours(self) -> float:
        return (self.training + self.inference) / (SHARE * PEAK) / 3600

    @property
    def cpu_hours(self) -> float:
        return self.crfs * CRF_SECONDS / CORES / 3600

    @property
    def gigabytes(self) -> float:
        files = sum(KB[kind] * 1e3 * count for kind, count in self.files.items())
        return (files + self.checkpoints) / 1e9


def plain(node: DictConfig) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(node, resolve=True)
    return content


def composed(recipe: str) -> DictConfig:
    """Configuration of a recipe, without initial weights."""
    table = read_recipe(recipe)
    overrides = [f"experiment={table.experiment}", *table.overrides, "data.root=unused"]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("config", [*overrides, "benchmark.split=null"])
    for node in backbone_nodes(cfg):
        node.pretrained, node.weights = False, None
    return cfg


def cost_of(recipe: str) -> Cost:
    """Cost of one run of a recipe."""
    cfg, cost = composed(recipe), Cost()
    with tempfile.TemporaryDirectory() as folder:
        run = RecordedSteps(Path(folder), Path(folder), seed=0)
        instantiate(cfg.pipeline)(cfg, run)
        for work, inputs in run.stages:
            add(cost, work, inputs)
    return cost


def add(cost: Cost, work: str, inputs: Mapping[str, Any]) -> None:
    """Add the cost of one step."""
    images = IMAGES.get(inputs.get("split", ""), 0)
    if work == "train":
        schedule, text = inputs["schedule"], OmegaConf.to_yaml(plain_node(inputs["module"]))
        epochs = inputs.get("stop_epoch") or schedule.max_epochs
        steps = epochs * math.ceil(IMAGES["train_aug"] / schedule.batch_size)
        steps = min(steps, schedule.max_steps or steps)
        cost.training += steps * schedule.batch_size * training_flop(text, schedule.crop_size)
        cost.checkpoints += checkpoint_bytes(text)
    elif work in ("cams", "predict", "propagate", "features"):
        text = (inputs["trained"] / "module.yaml").read_text()
        how = inputs.get("settings") if work in ("cams", "predict") else None
        scales, flip = (tuple(how.scales), how.flip) if how is not None else ((1.0,), False)
        cost.inference += images * inference_flop(text, scales, flip)
        if work == "cams":
            cost.files[f"seeds, {how.storage_bits} bits"] += images
        elif work == "propagate":
            cost.files["walk"] += images
        elif work == "predict":
            cost.files.update({"mask": images, "network": images if how.crf else 0})
    elif work == "crf":
        cost.crfs += images
        cost.files["CRF"] += images
    elif work in ("pseudo_masks", "confident_labels", "box_labels"):
        cost.files["mask"] += images
    elif work == "relabel":
        cost.crfs += images
        cost.files["mask"] += images


def plain_node(node: DictConfig) -> DictConfig:
    return OmegaConf.create(plain(node))


@cache
def built(text: str) -> Any:
    with torch.device("meta"):
        return instantiate(OmegaConf.create(text))


@cache
def training_flop(text: str, crop: int) -> float:
    """FLOP of the forward and backward pass of a crop; SEAM also has a smaller view of it."""
    module, images = built(text).train(), 2  # batch norm needs more than one
    views = [crop, *([round(crop * module.scale)] if hasattr(module, "scale") else [])]
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = getattr(module.net, "training_logits", module.net)
        outputs = [network(torch.empty(images, 3, side, side)) for side in views]
        sum(one.sum() for one in tensors(outputs) if one.requires_grad).backward()
    return counter.get_total_flops() / images


@cache
def inference_flop(text: str, scales: tuple[float, ...], flip: bool) -> float:
    """FLOP of all views of a photo."""
    module = built(text).eval()
    network = module.cam if isinstance(module, TagMethod) else module.net
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        for scale in scales:
            network(torch.empty(2 if flip else 1, 3, round(HEIGHT * scale), round(WIDTH * scale)))
    return counter.get_total_flops()


def checkpoint_bytes(text: str) -> float:
    """Bytes of the weights, and of one optimiser state per trained weight, or two for AdamW."""
    states = 2 if "AdamW" in text else 1
    parameters = list(built(text).parameters())
    learnt = sum(one.numel() for one in parameters if one.requires_grad)
    return 4 * (sum(one.numel() for one in parameters) + states * learnt)


def tensors(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    else:
        for one in outputs:
            yield from tensors(one)


HEADINGS = ("recipe", "published hardware", "PFLOP", f"{GPU} hours", "CRF hours", "disk, GB")


def rows(recipes: Sequence[str]) -> Iterator[list[str]]:
    """Table cells of each recipe."""
    for recipe in recipes:
        cost, hardware = cost_of(recipe), read_recipe(recipe).hardware
        published = "" if hardware is None else hardware.gpus
        if hardware is not None and hardware.gpu_hours is not None:
            published += f", {hardware.gpu_hours:g} GPU hours"
        pflop = (cost.training + cost.inference) / 1e15
        yield [
            recipe,
            published or "not published",
            f"{pflop:,.0f}",
            f"{cost.gpu_hours:.1f}",
            f"{cost.cpu_hours:.1f}",
            f"{cost.gigabytes:.0f}",
        ]


def main(arguments: Sequence[str] | None = None) -> None:
    known = [name for name in recipe_names() if name.endswith(f"_{DATA}")]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=", ".join(known))
    parser.add_argument("--markdown", action="store_true", help="print the table of README.md")
    args = parser.parse_args(arguments)
    try:
        counted = list(rows(args.recipes or known))
    except InputError as error:
        fail(str(error))
    if args.markdown:
        lines = [list(HEADINGS), ["---", "---", *["---:"] * 4], *counted]
        print("\n".join(f"| {' | '.join(line)} |" for line in lines))
        return
    table = Table(title=f"estimates, not measured: {SHARE:.0%} of the peak, {CORES} cores for CRFs")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in HEADINGS[:2] else "right")
    for line in counted:
        table.add_row(*line)
    Console().print(table)


if __name__ == "__main__":
    main()
