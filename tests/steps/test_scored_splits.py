"""A part of the training split is scored with masks of its own, as papers do."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from facts import raises_naming
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image

from wsss_lightning.config.folder import conf_folder
from wsss_lightning.errors import InputError
from wsss_lightning.steps.datasets import forget_splits
from wsss_lightning.steps.scored_splits import (
    check_benchmark,
    every_scored_split,
    scored_splits,
)


@pytest.fixture
def root(tmp_path) -> Path:
    """Six training images; `part` lists two of them, whose masks in Other are all background."""
    world = ["data.generate.num_train=6", "data.generate.num_val=2", "data.generate.size=64"]
    cfg = configured(tmp_path, *world)
    made = Path(instantiate(cfg.data.generate, cache=str(tmp_path / "cache")))
    lists = made / "ImageSets/Segmentation"
    names = (lists / "train.txt").read_text().split()
    (lists / "part.txt").write_text("\n".join(names[:2]) + "\n")
    (lists / "foreign.txt").write_text((lists / "val.txt").read_text())
    shutil.copytree(made / "SegmentationClass", made / "Other")
    for path in (made / "Other").iterdir():
        with Image.open(path) as mask:
            Image.fromarray(np.zeros_like(np.asarray(mask))).save(path)
    forget_splits()
    return made


def configured(root: Path, *words: str) -> DictConfig:
    own = [f"data.root={root}", "experiment=cam"]
    own += [f"+data.dataset.lists.{name}=ImageSets/Segmentation/{name}.txt" for name in EXTRA]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides=[*own, *words])


EXTRA = ("part", "foreign")


def test_without_a_benchmark_only_the_splits_of_the_run_are_scored(root):
    cfg = configured(root)
    assert [one.name for one in every_scored_split(cfg)] == ["train", "val"]
    assert check_benchmark(cfg) == ""


def test_a_part_of_the_training_split_is_scored_with_masks_of_its_own(root):
    cfg = configured(root, "benchmark.split=part", "benchmark.mask_dir=Other")
    assert [one.name for one in scored_splits(cfg, "train")] == ["train", "part"]
    assert [one.name for one in scored_splits(cfg, "val")] == ["val"]
    own, part = scored_splits(cfg, "train")
    assert (own.data.dataset.mask_dir, part.data.dataset.mask_dir) == ("SegmentationClass", "Other")
    assert cfg.data.dataset.mask_dir == "SegmentationClass"  # training and other scores keep theirs
    assert part.digest
    assert check_benchmark(cfg) == part.digest


def test_other_masks_have_another_digest(root):
    first = configured(root, "benchmark.split=part", "benchmark.mask_dir=Other")
    second = configured(root, "benchmark.split=part", "benchmark.mask_dir=SegmentationClass")
    assert check_benchmark(first) != check_benchmark(second)


def test_images_outside_the_training_split_are_refused(root):
    cfg = configured(root, "benchmark.split=foreign", "benchmark.mask_dir=Other")
    with raises_naming(InputError, 2, "data.train=train"):
        check_benchmark(cfg)


def test_a_split_of_the_run_is_not_scored_twice(root):
    cfg = configured(root, "benchmark.split=train")
    assert [one.name for one in every_scored_split(cfg)] == ["train", "val"]


def test_a_split_of_the_run_cannot_be_scored_with_two_kinds_of_masks(root):
    cfg = configured(root, "benchmark.split=train", "benchmark.mask_dir=Other")
    with raises_naming(InputError, "data.dataset.mask_dir=Other"):
        check_benchmark(cfg)
