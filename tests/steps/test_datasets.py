"""Each split of a run's data set is read once."""

import pickle

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from wsss_lightning.data.dataset import VOCLayout
from wsss_lightning.steps import datasets as splits
from wsss_lightning.steps.datasets import forget_splits, reader_of


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
        "_target_": "wsss_lightning.data.dataset.VOCLayout",
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
        "untagged": "error",
    }
    yield OmegaConf.create({"reader": node})
    forget_splits()


def test_files_of_a_split_are_read_once_for_all_views(data, monkeypatch):
    built = []
    first = VOCLayout.__init__
    monkeypatch.setattr(
        VOCLayout,
        "__init__",
        lambda self, *a, **k: (built.append(k["split"]), first(self, *a, **k))[1],
    )
    for _ in range(3):
        whole = reader_of(data)("train")
        plain = reader_of(data)("train", with_masks=False)
        boxed = reader_of(data)("train", with_boxes=True)
    assert built == ["train"]
    assert set(whole[0]) == {"image", "tags", "name", "mask"}
    assert set(plain[0]) == {"image", "tags", "name"}
    assert set(boxed[0]) == {"image", "tags", "name", "mask", "boxes"}
    reader_of(data)("val")
    forget_splits()
    reader_of(data)("train")
    assert built == ["train", "val", "train"]


def test_another_process_is_given_what_was_read(data, monkeypatch):
    names = reader_of(data)("train").names
    handed = pickle.dumps(reader_of(data))
    monkeypatch.setattr(VOCLayout, "__init__", lambda *a, **k: pytest.fail("read again"))
    assert pickle.loads(handed)("train", with_masks=False).names == names


def test_data_sets_of_other_settings_are_other_splits(data):
    other = OmegaConf.merge(data, {"reader": {"untagged": "background"}})
    assert reader_of(data) is reader_of(data.copy())
    assert reader_of(data) is not reader_of(other)
    assert len(splits._opened) == 2
