"""COCO's annotations painted into VOC's layout, by hand-made files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from facts import assert_names, raises_naming
from PIL import Image

pytest.importorskip("pycocotools", reason="an extra: wsss-lightning[coco]")

from wsss_lightning.cli import import_coco
from wsss_lightning.data.coco import Counts, Split, write_voc_layout
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.scores import load_mask
from wsss_lightning.errors import InputError

SIZE = (8, 10)  # height, width
CATEGORIES = [{"id": 18, "name": "hot dog"}, {"id": 3, "name": "car"}]  # ids with holes, unsorted
READ = {
    "classes": ["car", "hot dog"],
    "lists": {"train": "ImageSets/Segmentation/train.txt"},
    "tags": "tags.csv",
    "mask_ids": None,
    "image_dir": "JPEGImages",
    "mask_dir": "SegmentationClass",
    "annotation_dir": "Annotations",
    "on_missing_labels": "error",
    "boxes": "instances_{split}.json",
}


def outline(x0: int, y0: int, x1: int, y1: int) -> list[list[int]]:
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def rle(mask: np.ndarray) -> dict:
    """Uncompressed: runs of 0 and 1 in turn, column by column."""
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, len(flat)]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def thing(number: int, image: int, category: int, box: tuple[int, int, int, int], **more) -> dict:
    x0, y0, x1, y1 = box
    told = {"segmentation": outline(*box), "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}
    return {"id": number, "image_id": image, "category_id": category, **told, **more}


@pytest.fixture
def coco(tmp_path) -> Split:
    """Image 2 has a car and a hot dog upon it; 5 a crowd and a hot dog in it; 9 has nothing."""
    crowd = np.zeros(SIZE, np.uint8)
    crowd[:, 5:] = 1
    annotations = [
        thing(1, 2, 3, (0, 0, 8, 8)),
        thing(2, 2, 18, (4, 4, 10, 8)),
        thing(3, 5, 18, (6, 0, 8, 4)),
        thing(4, 5, 3, (5, 0, 10, 8), segmentation=rle(crowd), iscrowd=1),
    ]
    images = tmp_path / "train2014"
    images.mkdir()
    told = []
    for number in (9, 2, 5):
        name = f"COCO_{number:03}.jpg"
        Image.new("RGB", SIZE[::-1]).save(images / name)
        told.append({"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
    path = tmp_path / "annotations/instances_train2014.json"
    path.parent.mkdir()
    path.write_text(
        json.dumps({"images": told, "categories": CATEGORIES, "annotations": annotations})
    )
    return Split(path, images)


def change(split: Split, **what) -> None:
    split.annotations.write_text(json.dumps(json.loads(split.annotations.read_text()) | what))


def test_later_objects_lie_above_earlier_ones_and_labels_follow_the_ids(coco, tmp_path):
    counts = write_voc_layout({"train": coco}, tmp_path / "voc")
    assert counts == {"train": Counts(images=3, tagged=2, objects=4, crowds=1)}
    expected = np.zeros(SIZE, np.uint8)
    expected[0:8, 0:8] = 1  # car, though it comes second in the file
    expected[4:8, 4:10] = 2
    masks = tmp_path / "voc/SegmentationClass"
    np.testing.assert_array_equal(load_mask(masks / "COCO_002.png"), expected)
    assert not load_mask(masks / "COCO_009.png").any()


@pytest.mark.parametrize(("crowds", "label"), [("background", 0), ("ignore", 255)])
def test_a_crowd_is_background_or_ignored_and_an_object_in_it_stays(coco, tmp_path, crowds, label):
    write_voc_layout({"train": coco}, tmp_path, crowds)
    expected = np.zeros(SIZE, np.uint8)
    expected[:, 5:] = label
    expected[0:4, 6:8] = 2
    np.testing.assert_array_equal(load_mask(tmp_path / "SegmentationClass/COCO_005.png"), expected)


def test_what_was_written_is_read_with_tags_boxes_and_images(coco, tmp_path):
    write_voc_layout({"train": coco}, tmp_path / "voc")
    data = VOCDataset(tmp_path / "voc", "train", **READ).view(with_boxes=True)
    data.check()
    assert data.names == ["COCO_002", "COCO_005"]
    assert data.tags.tolist() == [[1, 1], [1, 1]]
    assert data.boxes(0).tolist() == [[1, 0, 0, 8, 8], [2, 4, 4, 10, 8]]
    every = (tmp_path / "voc/ImageSets/Segmentation/train_all.txt").read_text().split()
    assert every == ["COCO_002", "COCO_005", "COCO_009"]


def test_masks_are_kept_until_the_annotations_change(coco, tmp_path):
    path = tmp_path / "SegmentationClass/COCO_002.png"
    write_voc_layout({"train": coco}, tmp_path)
    written = path.stat().st_mtime_ns
    (tmp_path / "SegmentationClass/COCO_005.png").unlink()  # where a call was interrupted
    write_voc_layout({"train": coco}, tmp_path)
    assert path.stat().st_mtime_ns == written
    assert (tmp_path / "SegmentationClass/COCO_005.png").is_file()
    change(coco, annotations=[thing(1, 2, 18, (0, 0, 8, 8))])
    write_voc_layout({"train": coco}, tmp_path)
    assert set(np.unique(load_mask(path))) == {0, 2}
    assert not load_mask(tmp_path / "SegmentationClass/COCO_005.png").any()


@pytest.mark.parametrize(
    ("what", "facts"),
    [
        ({"images": []}, ["instances_train2014.json", "images"]),
        ({"categories": [{"id": 1}]}, ["instances_train2014.json", "name"]),
        ({"annotations": [thing(1, 2, 77, (0, 0, 1, 1))]}, ["categories", "images", 77]),
        ({"annotations": [thing(1, 2, 3, (0, 0, 1, 1), segmentation=None)]},
         ["object 1", "COCO_002.jpg"]),
        (
            {"annotations": [thing(7, 2, 3, (0, 0, 1, 1), segmentation=rle(np.eye(4)))]},
            ["object 7", "COCO_002.jpg", "4x4", "10x8"],
        ),
        ({"annotations": [thing(7, 2, 3, (0, 0, 1, 1), segmentation=[[1, 1, 4, 4]])]},
         ["object 7", "COCO_002.jpg"]),
        ({"annotations": [thing(7, 2, 3, (0, 0, 1, 1), segmentation=[])]},
         ["object 7", "COCO_002.jpg"]),
        (
            {"images": [{"id": 2, "file_name": "COCO_002.jpg", "height": 16, "width": 20}],
             "annotations": []},
            ["COCO_002.jpg", "20x16", "10x8"],
        ),
        (
            {"images": [{"id": 2, "file_name": "no.jpg", "height": 8, "width": 10}]},
            ["images"],
        ),
        ({"images": [{"id": 2, "file_name": "../a.jpg", "height": 8, "width": 10}],
          "annotations": []}, ["../a.jpg"]),
    ],
)  # fmt: skip
def test_what_is_not_of_coco_is_told(coco, tmp_path, what, facts):
    change(coco, **what)
    with raises_naming(InputError, *facts):
        write_voc_layout({"train": coco}, tmp_path / "voc")


def test_splits_that_share_file_names_need_folders_of_their_own(coco, tmp_path):
    """Exports often number the images of each split alike."""
    other = tmp_path / "val2014"
    other.mkdir()
    content = json.loads(coco.annotations.read_text())
    for image in content["images"]:
        Image.new("RGB", SIZE[::-1], "red").save(other / image["file_name"])
    content["annotations"] = [thing(1, 2, 18, (0, 0, 4, 4)), thing(2, 5, 18, (0, 0, 4, 4))]
    path = coco.annotations.with_name("instances_val2014.json")
    path.write_text(json.dumps(content))
    splits = {"train": coco, "val": Split(path, other)}
    with raises_naming(InputError, "train", "val", "--split-folders"):
        write_voc_layout(splits, tmp_path / "voc")
    assert not (tmp_path / "voc").exists()
    write_voc_layout(splits, tmp_path / "voc", split_folders=True)
    lists = {s: f"ImageSets/Segmentation/{s}.txt" for s in splits}
    val = VOCDataset(tmp_path / "voc", "val", **{**READ, "lists": lists}).view(with_boxes=True)
    val.check()
    assert val.names == ["val/COCO_002", "val/COCO_005"]
    assert val.tags.tolist() == [[0, 1], [0, 1]]
    assert val.boxes(0).tolist() == [[2, 0, 0, 4, 4]]
    assert val[0]["mask"][0, 0] == 2
    assert val[0]["image"][0].min() > 0.9  # red, as those of val are


def test_splits_of_other_classes_are_refused(coco, tmp_path):
    other = Split(tmp_path / "other.json", coco.images)
    told = json.loads(coco.annotations.read_text())
    other.annotations.write_text(
        json.dumps(told | {"categories": [*CATEGORIES, {"id": 40, "name": "x"}]})
    )
    with raises_naming(InputError, "categories"):
        write_voc_layout({"train": coco, "val": other}, tmp_path / "voc")
    assert not (tmp_path / "voc").exists()


def test_the_command_writes_and_tells_what_to_run(coco, tmp_path):
    words = [str(tmp_path), str(tmp_path / "voc")]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "wsss_lightning",
            "import-coco",
            *words,
            "--splits",
            "train=train2014",
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert_names(done.stdout, "train:", 3, 2, 4, 1, near=120)
    assert f"data=coco2014 data.root={tmp_path / 'voc'}" in done.stdout
    with raises_naming(InputError, "instances_val2014.json"):
        import_coco.main(words)
