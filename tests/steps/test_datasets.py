"""Each split of a run's data set is read once."""

import pickle

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.steps import datasets as splits
from wsss_lightning.steps.datasets import datasets_of, forget_splits, name_keys


@pytest.fixture
def data(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text(f"{split}_1\n")
        Image.new("RGB", (4, 3)).save(tmp_path / f"images/{split}_1.png")
        Image.fromarray(np.ones((3, 4), np.uint8)).save(tmp_path / f"masks/{split}_1.png")
    (tmp_path / "boxes.csv").write_text("image,class,x0,y0,x1,y1\ntrain_1,cat,0,0,2,2\n")
    forget_splits()
    node = {
        "_target_": "wsss_lightning.data.dataset.VOCDataset",
        "_partial_": True,
        "root": str(tmp_path),
        "classes": ["cat"],
        "lists": {"train": "train.txt", "val": "val.txt"},
        "tags": "masks",
        "boxes": "boxes.csv",
        "mask_ids": None,
        "image_dir": "images",
        "mask_dir": "masks",
        "annotation_dir": "annotations",
        "on_missing_labels": "error",
    }
    yield OmegaConf.create({"dataset": node})
    forget_splits()


def test_files_of_a_split_are_read_once_for_all_views(data, monkeypatch):
    built = []
    first = VOCDataset.__init__
    monkeypatch.setattr(
        VOCDataset,
        "__init__",
        lambda self, *a, **k: (built.append(k["split"]), first(self, *a, **k))[1],
    )
    for _ in range(3):
        whole = datasets_of(data)("train")
        plain = datasets_of(data)("train", with_masks=False)
        boxed = datasets_of(data)("train", with_boxes=True)
    assert built == ["train"]
    assert set(whole[0]) == {"image", "tags", "name", "mask"}
    assert set(plain[0]) == {"image", "tags", "name"}
    assert set(boxed[0]) == {"image", "tags", "name", "mask", "boxes"}
    datasets_of(data)("val")
    forget_splits()
    datasets_of(data)("train")
    assert built == ["train", "val", "train"]


def test_another_process_is_given_what_was_read(data, monkeypatch):
    names = datasets_of(data)("train").names
    handed = pickle.dumps(datasets_of(data))
    monkeypatch.setattr(VOCDataset, "__init__", lambda *a, **k: pytest.fail("read again"))
    assert pickle.loads(handed)("train", with_masks=False).names == names


def test_data_sets_of_other_settings_are_other_splits(data):
    other = OmegaConf.merge(data, {"dataset": {"on_missing_labels": "background"}})
    assert datasets_of(data) is datasets_of(data.copy())
    assert datasets_of(data) is not datasets_of(other)
    assert len(splits._opened) == 2


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("set `mask_dir`, or `tags=xml`.", "set data.dataset.mask_dir, or data.dataset.tags=xml."),
        ("Set `lists.val` below `root`", "Set data.dataset.lists.val below data.root"),
        ("a `name` that is no parameter", "a `name` that is no parameter"),
        ("`alone", "`alone"),
    ],
)
def test_parameters_in_messages_become_configuration_keys(message, expected):
    assert name_keys(message) == expected
