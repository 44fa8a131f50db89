"""The command check_data: its report, its files and its exit code."""

import json
import shutil
import sys

import numpy as np
import pytest
from facts import assert_names, assert_names_none
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from wsss_lightning.cli import check_data_command

# a run that ends after the check of its data: its method has no sub-categories
ENDS = ("pipeline=sc_cam",)


@pytest.fixture
def examined(mine, tmp_path, monkeypatch, capfd):
    """`examined(*overrides)`: exit code, check_data.json and the terminal, on `mine`."""

    def call(*overrides: str):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["check_data", *mine, *overrides])
        GlobalHydra.instance().clear()
        code = 0
        try:
            check_data_command.main(sys.argv[1:])
        except SystemExit as stop:
            code = stop.code
        finally:
            GlobalHydra.instance().clear()
        out, err = capfd.readouterr()
        found = list(tmp_path.glob("runs/check_data/*/check_data.json"))
        return code, json.loads(found[0].read_text()) if found else {}, out + err

    return call


def test_a_data_set_without_fault_is_counted(examined, tmp_path):
    code, report, out = examined()
    assert code == 0, out
    assert report["problems"] == []
    train = report["splits"]["train"]
    assert train["images"] == 6
    assert train["images_of_class"] == {"bird": 2, "cat": 3, "dog": 3}
    assert set(train["images_with_id"]) == {"0", "3", "8", "12", "255"}
    assert train["height"] == {"least": 56, "median": 60, "most": 64}
    assert 0 < train["ignored"] < 0.05
    (picture,) = tmp_path.glob("runs/check_data/*/check_data.png")
    with Image.open(picture) as picture_file:
        assert min(picture_file.size) > 200


def test_a_data_set_without_a_validation_split_is_examined(examined, voc):
    (voc / "ImageSets/Segmentation/val.txt").unlink()
    code, report, out = examined("data.dataset.lists.val=null")
    assert code == 0, out
    assert list(report["splits"]) == ["train"]
    assert report["problems"] == []


def test_all_that_is_wrong_is_report_at_once(examined, voc):
    images = voc / "JPEGImages"
    whole = (images / "train_0.jpg").read_bytes()
    (images / "train_0.jpg").write_bytes(whole[: len(whole) // 2])  # cut off
    (images / "train_1.jpg").unlink()
    Image.new("L", (5, 4)).save(voc / "SegmentationClass/train_2.png")
    shutil.copy(images / "train_3.jpg", images / "val_1.jpg")  # of the same size
    coarse = np.random.default_rng(0).integers(0, 256, (5, 5, 3)).astype(np.uint8)
    photo = Image.fromarray(coarse).resize((64, 56), Image.Resampling.BICUBIC)
    photo.save(images / "train_4.jpg")
    photo.resize((60, 52)).save(images / "val_0.jpg", quality=60)
    (voc / "SegmentationClass/val_0.png").unlink()
    mask = np.zeros((64, 64), np.uint8)
    mask[:20] = 8
    Image.fromarray(mask).save(voc / "SegmentationClass/train_5.png")
    code, report, _ = examined()
    assert code == 1
    problems, notes = "\n".join(report["problems"]), "\n".join(report["notes"])
    assert_names(problems, "train_0.jpg")
    assert_names(problems, 1, "train", "JPEGImages", "train_1", near=200)
    assert_names(problems, "train_2.png", "5x4", near=100)
    assert_names(problems, "val_0.png", "val", near=100)
    assert_names(problems, "train", "val", "['train_3', 'val_1']", near=100)
    assert_names(notes, "train_4 (train), val_0 (val)")
    assert "train_5 (train): " in notes


def test_a_class_that_no_image_has_is_a_problem(examined, voc):
    rows = (voc / "tags.csv").read_text().replace(",0,1,1", ",0,1,0").replace(",0,0,1", ",0,1,0")
    (voc / "tags.csv").write_text(rows.replace(",1,0,1", ",1,0,0"))
    code, report, _ = examined()
    assert code == 1
    assert_names("\n".join(report["problems"]), "train", "dog", near=60)


def test_what_cannot_be_used_at_all_is_answered_as_by_a_run(examined, voc):
    (voc / "tags.csv").unlink()
    code, _, out = examined()
    assert code == 1
    assert_names(out, "tags.csv")
    assert "Traceback" not in out


def test_a_run_tells_where_images_are_seen_in_sizes_that_were_not_learnt(here, mine):
    learnt = [f"fit.{part}.long_side=[300,400]" for part in ("method", "segmenter")]
    run = here(*mine, *learnt, "fit.segmenter.scale=null", *ENDS)
    assert_names(run.out, "test.long_side", 64, 300, 400, near=150)
    assert_names(run.out, "cam.long_side", "test.long_side=350")
    assert_names_none(here(*mine, *ENDS).out, "test.long_side", "cam.long_side")


def test_a_run_tells_of_images_that_are_in_both_splits(here, mine, voc):
    shutil.copy(voc / "JPEGImages/train_3.jpg", voc / "JPEGImages/val_1.jpg")
    run = here(*mine, *ENDS)
    assert_names(run.out, "val_1", 1, "val", "train", near=100)
