"""Decisions of `pseudo.review`: checked before work starts, and applied to tags and masks."""

import json

import numpy as np
import pytest
from commands import write_voc
from facts import assert_names, raises_naming
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from review_runs import CLASSES, dataset_node

from wsss_lightning.data.review.decisions import Decision, now
from wsss_lightning.data.review.log import DecisionLog
from wsss_lightning.data.scores import load_mask, save_mask
from wsss_lightning.data.supervision import BOXES, MASKS, TAGS
from wsss_lightning.errors import InputError
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.review import accepted_names, prepare_review, review, review_of

SIZE = [64, 56]  # of train_0, which shows a bird; train_1 shows a cat and a dog


@pytest.fixture
def root(tmp_path):
    return write_voc(tmp_path / "voc")


@pytest.fixture
def cfg(root, tmp_path) -> DictConfig:
    data = {"name": "pets", "train": "train", "val": "val", "dataset": dataset_node(root)}
    data["dataset"]["retags"] = None
    pseudo = {"review": str(tmp_path / "review.csv")}
    return OmegaConf.create({"data": data, "pseudo": pseudo})


@pytest.fixture
def decide(tmp_path):
    log = DecisionLog(tmp_path / "review.csv")

    def call(name, class_name, kind, **detail):
        log.append(Decision(name, class_name, kind, detail, now()))

    return call


def tags(cfg, split="train") -> dict[str, list[str]]:
    dataset = datasets_of(cfg.data)(split)
    shown = [[c for c, t in zip(CLASSES, row, strict=True) if t] for row in dataset.tags]
    return dict(zip(dataset.names, shown, strict=True))


def test_without_a_file_nothing_changes(cfg):
    cfg.pseudo.review = None
    before = OmegaConf.to_container(cfg)
    prepare_review(cfg, TAGS)
    assert OmegaConf.to_container(cfg) == before
    assert review_of(cfg) is None


def test_tags_are_added_and_removed_in_the_training_split_alone(cfg, decide):
    before, val = tags(cfg), tags(cfg, "val")
    decide("train_0", "cat", "tag", present=True)
    decide("train_1", "dog", "tag", present=False)
    decide("train_2", "dog", "tag", present=True)
    decide("train_2", "dog", "tag", present=None)
    decide("val_0", "cat", "tag", present=True)
    prepare_review(cfg, TAGS)
    assert cfg.data.dataset.retags == {
        "train": {"train_0": {"cat": True}, "train_1": {"dog": False}}
    }
    assert tags(cfg) == before | {"train_0": ["bird", "cat"], "train_1": ["cat"]}
    assert tags(cfg, "val") == val


def test_confirmed_tags_and_verdicts_leave_the_data_set_as_it_is(cfg, decide):
    decide("train_0", "bird", "tag", present=True)
    decide("train_0", "", "accept")
    decide("train_1", "cat", "reject")
    prepare_review(cfg, TAGS)
    assert cfg.data.dataset.retags is None
    assert accepted_names(cfg) == ["train_0"]


def test_an_image_whose_last_tag_a_person_removed_stays_as_background(cfg, decide):
    decide("train_0", "bird", "tag", present=False)
    prepare_review(cfg, TAGS)
    assert tags(cfg)["train_0"] == []


def test_decisions_about_other_splits_are_left_out_with_a_warning(cfg, decide, capfd):
    decide("val_1", "", "reject")
    prepare_review(cfg, TAGS)
    assert review_of(cfg).corrections() == {}
    assert_names(capfd.readouterr().out, 1, "val_1", "train")


def test_unknown_names_and_classes_are_listed(cfg, decide):
    decide("train_1", "", "accept")
    decide("trian_1", "", "accept")
    decide("other", "", "accept")
    with raises_naming(InputError, "review.csv", 2, "trian_1", "other", "train_1"):
        prepare_review(cfg, TAGS)


def test_unknown_classes_are_listed_with_the_nearest_one(cfg, decide):
    decide("train_1", "catt", "reject")
    with raises_naming(InputError, "review.csv", "catt", "cat"):
        prepare_review(cfg, TAGS)


def test_shapes_of_an_image_of_another_size_are_refused(cfg, decide):
    decide("train_0", "", "ignore", id="r", size=[56, 64], points=[[0, 0], [9, 0], [9, 9]])
    with raises_naming(InputError, "train_0", "56x64", "64x56"):
        prepare_review(cfg, TAGS)


def test_pipelines_that_cannot_use_a_decision_say_so(cfg, decide):
    decide("train_0", "", "reject")
    with raises_naming(InputError, "pseudo.review", "true masks"):
        prepare_review(cfg, MASKS)
    prepare_review(cfg, BOXES)
    decide("train_0", "cat", "tag", present=True)
    with raises_naming(InputError, "pseudo.review", "train_0", "boxes"):
        prepare_review(cfg, BOXES)


def test_a_missing_file_is_named(cfg):
    with raises_naming(InputError, cfg.pseudo.review, "wsss-lightning review"):
        prepare_review(cfg, TAGS)


def test_masks_change_where_decisions_say_so_and_nowhere_else(cfg, decide, root, tmp_path):
    dataset = datasets_of(cfg.data)("train")
    (tmp_path / "in").mkdir()
    for i, name in enumerate(dataset.names):
        save_mask(tmp_path / f"in/{name}.png", dataset.mask(i))
    decide("train_0", "", "ignore", id="r", size=SIZE, points=[[0, 0], [8, 0], [8, 6], [0, 6]])
    decide("train_1", "dog", "reject")
    decide("train_2", "", "reject")
    decide("train_3", "", "reject")
    decide("train_3", "", "undecided")
    prepare_review(cfg, TAGS)
    corrections = review_of(cfg).corrections()
    review(
        tmp_path / "out",
        masks=tmp_path / "in",
        data=cfg.data,
        split="train",
        corrections=corrections,
        box_min_fill=0.15,
    )
    changed = {}
    for i, name in enumerate(dataset.names):
        mask = load_mask(tmp_path / f"out/{name}.png")
        different = mask != dataset.mask(i)
        assert (mask[different] == 255).all()
        changed[name] = int(different.sum())
    dogs = int((dataset.mask(1) == 3).sum())
    all_of_2 = int((dataset.mask(2) != 255).sum())
    assert changed == {
        "train_0": 48,
        "train_1": dogs,
        "train_2": all_of_2,
        "train_3": 0,
        "train_4": 0,
        "train_5": 0,
    }
    # rejected images raise no alarm
    assert not any(
        "single" in one for one in json.loads((tmp_path / "out/alarms.json").read_text())
    )
    assert Image.open(tmp_path / "out/train_0.png").mode == "P"
    assert np.array_equal(load_mask(tmp_path / "out/train_4.png"), dataset.mask(4))
