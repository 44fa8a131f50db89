"""Corrected masks replace the pseudo masks of their images, and results say so."""

import json
from pathlib import Path

import numpy as np
import pytest
from facts import raises_naming
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from wsss_lightning.config.folder import conf_folder
from wsss_lightning.data.scores import load_mask, save_mask
from wsss_lightning.data.supervision import MASKS, TAGS
from wsss_lightning.errors import InputError
from wsss_lightning.steps.corrected_masks import (
    check_corrected_masks,
    correct_masks,
    corrected_digest,
    corrected_names,
)
from wsss_lightning.steps.datasets import forget_splits


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    cache = tmp_path_factory.mktemp("world")
    words = ["data.generate.num_train=4", "data.generate.num_val=2", "data.generate.size=64"]
    return Path(instantiate(configured(cache, None, *words).data.generate, cache=str(cache)))


def configured(root: Path, masks: Path | None, *words: str) -> DictConfig:
    forget_splits()
    own = [f"data.root={root}", "experiment=cam", f"pseudo.masks={masks or 'null'}"]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides=[*own, *words])


def size(root: Path, name: str) -> tuple[int, ...]:
    return load_mask(root / f"SegmentationClass/{name}.png").shape


def write(root: Path, folder: Path, name: str, label: int) -> Path:
    save_mask(folder / f"{name}.png", np.full(size(root, name), label, np.uint8))
    return folder


def names(root: Path, split: str = "train") -> list[str]:
    return (root / f"ImageSets/Segmentation/{split}.txt").read_text().split()


def test_corrected_masks_replace_those_of_their_images_only(root, tmp_path):
    first, *others = names(root)
    pseudo = tmp_path / "pseudo"
    for name in names(root):
        write(root, pseudo, name, 1)
    corrected = write(root, tmp_path / "corrected", first, 2)
    cfg = configured(root, corrected)
    assert corrected_names(cfg) == [first]
    correct_masks(
        tmp_path / "out",
        masks=pseudo,
        corrected=corrected,
        digest=corrected_digest(cfg),
        data=cfg.data,
        split="train",
    )
    assert (load_mask(tmp_path / f"out/{first}.png") == 2).all()
    for name in others:
        assert (load_mask(tmp_path / f"out/{name}.png") == 1).all()
    assert json.loads((tmp_path / "out/corrected.json").read_text())["corrected"] == 1


def test_the_digest_follows_the_contents_of_the_masks_that_are_used(root, tmp_path):
    first, second, *_ = names(root)
    cfg = configured(root, write(root, tmp_path / "masks", first, 2))
    before = check_corrected_masks(cfg, TAGS)
    write(root, tmp_path / "masks", names(root, "val")[0], 3)  # not used in training
    assert check_corrected_masks(cfg, TAGS) == before
    write(root, tmp_path / "masks", first, 3)
    changed = check_corrected_masks(cfg, TAGS)
    write(root, tmp_path / "masks", second, 3)
    assert len({before, changed, check_corrected_masks(cfg, TAGS)}) == 3
    assert check_corrected_masks(configured(root, None), TAGS) == ""


def test_masks_of_other_sizes_and_labels_are_refused_before_work_starts(root, tmp_path):
    first = names(root)[0]
    height, width = size(root, first)
    save_mask(tmp_path / f"small/{first}.png", np.zeros((5, 7), np.uint8))
    small = configured(root, tmp_path / "small")
    with raises_naming(InputError, f"{first}.png", "7x5", f"{width}x{height}"):
        check_corrected_masks(small, TAGS)
    foreign = configured(root, write(root, tmp_path / "foreign", first, 77))
    with raises_naming(InputError, f"{first}.png", 77):
        check_corrected_masks(foreign, TAGS)


def test_a_folder_without_masks_of_training_images_is_refused(root, tmp_path):
    absent = configured(root, tmp_path / "absent")
    with raises_naming(InputError, "pseudo.masks", tmp_path / "absent", "import-masks"):
        check_corrected_masks(absent, TAGS)
    val = names(root, "val")[0]
    with raises_naming(InputError, "pseudo.masks", val, "train"):
        check_corrected_masks(configured(root, write(root, tmp_path / "val", val, 1)), TAGS)


def test_a_pipeline_without_pseudo_masks_names_the_key_to_use(root, tmp_path):
    cfg = configured(root, write(root, tmp_path / "masks", names(root)[0], 1))
    with raises_naming(InputError, "pseudo.masks", f"data.dataset.mask_dir={tmp_path / 'masks'}"):
        check_corrected_masks(cfg, MASKS)
