"""A folder of photos is read into an index that the dataset reads back."""

import json

import numpy as np
import pytest
from facts import assert_names, raises_naming
from photo_sets import picture, write_mixed, write_photos
from PIL import Image

from wsss_lightning.data import file_facts
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.folder.read import PhotoSet, read_folder
from wsss_lightning.data.images import read_rgb
from wsss_lightning.errors import InputError

TAGS = {
    "a 1.jpg": ["cat"],
    "b.PNG": ["dog"],
    "sub/c.jpg": ["cat", "dog"],
    "d.jpg": [],
    "e.webp": ["owl"],
}


@pytest.fixture
def read(tmp_path):
    """`read(root, **arguments)`: the photos, with defaults as in conf/data/folder.yaml."""

    def call(root, **arguments) -> PhotoSet:
        defaults = {
            **dict.fromkeys(("tags", "tag_columns", "classes", "boxes", "masks", "split")),
            **{"val_fraction": 0.2, "split_seed": 0, "on_missing_labels": "error"},
            **{"cache": tmp_path / "cache", "output_dir": tmp_path / "runs"},
        }
        return read_folder(root, **(defaults | arguments))

    return call


@pytest.fixture
def photos(tmp_path):
    """Photos of `TAGS` with a table of tags beside them, and one without tags."""
    root = write_photos(tmp_path / "my photos", [*TAGS, "unlabelled.jpg"], TAGS)
    lines = [f'{name};"{", ".join(tags)}"' for name, tags in TAGS.items()]
    (root / "tags.csv").write_text("\n".join(["File;Tags", *lines, "gone.jpg;cat"]))
    return root


def dataset(photos: PhotoSet, split: str = "train", **arguments) -> VOCDataset:
    """As conf/data/folder.yaml opens it."""
    defaults = {
        "lists": {split: f"ImageSets/Segmentation/{split}.txt"},
        "tags": "tags.npy",
        "boxes": "boxes.json",
        "mask_ids": photos.mask_ids,
        "mask_colours": photos.mask_colours,
        "image_dir": "JPEGImages",
        "mask_dir": "SegmentationClass",
        "annotation_dir": "Annotations",
        "on_missing_labels": "background",
    }
    return VOCDataset(photos.index, split, photos.classes, **(defaults | arguments))


def tags_of(data: VOCDataset) -> dict[str, list[str]]:
    return {
        name: [data.classes[i] for i in tags.nonzero().flatten()]
        for name, tags in zip(data.names, data.tags, strict=True)
    }


def test_the_dataset_reads_what_the_table_says(read, photos):
    found = read(photos, tags="tags.csv", val_fraction=0)
    assert found.classes == ["cat", "dog", "owl"]
    assert tags_of(dataset(found)) == {
        "a 1": ["cat"],
        "b": ["dog"],
        "e": ["owl"],
        "sub/c": ["cat", "dog"],
    }
    assert dict(found.reasons()) == {"no tag": 1, "the labels do not mention it": 1}
    assert_names(found.notes, "gone.jpg")
    assert_names(found.sources, "tags.csv", "File", "Tags")


def test_photos_without_a_tag_are_kept_on_demand(read, photos):
    found = read(photos, tags="tags.csv", val_fraction=0, on_missing_labels="background")
    assert tags_of(dataset(found))["d"] == []
    assert dict(found.reasons()) == {"the labels do not mention it": 1}


def test_some_classes_may_be_chosen(read, photos):
    found = read(photos, tags="tags.csv", classes=["dog", "cat"], val_fraction=0)
    assert found.classes == ["dog", "cat"]
    assert tags_of(dataset(found))["sub/c"] == ["dog", "cat"]
    assert dict(found.reasons())["only tags that are left out"] == 1
    assert read(photos, tags="tags.csv", classes="cat").classes == ["cat"]


def test_the_same_photos_give_the_same_index_and_other_labels_another_one(read, photos):
    first = read(photos, tags="tags.csv")
    (photos / "other.csv").write_text((photos / "tags.csv").read_text().replace(";", "\t"))
    assert read(photos, tags="other.csv").index == first.index
    (photos / "new.jpg").write_text("damaged")
    assert read(photos, tags="tags.csv").index == first.index
    text = (photos / "tags.csv").read_text()
    (photos / "tags.csv").write_text(text.replace("cat, dog", "cat"))
    assert read(photos, tags="tags.csv").index != first.index


def test_a_photo_that_changes_in_place_changes_the_digest_of_the_data(read, photos):
    before = dataset(read(photos, tags="tags.csv", val_fraction=0))
    picture(99).save(photos / "a 1.jpg")
    after = dataset(read(photos, tags="tags.csv", val_fraction=0))
    assert before.names == after.names
    assert before.fingerprint() != after.fingerprint()


def test_photos_are_not_read_again_through_the_index(read, photos, monkeypatch):
    found = read(photos, tags="tags.csv", val_fraction=0)
    monkeypatch.setattr(file_facts, "_read_all", lambda paths, size: pytest.fail(str(paths)))
    assert len(dataset(found)) == 4


def test_photos_are_links_and_mixed_kinds_are_read_alike(read, tmp_path):
    tags = write_mixed(tmp_path / "p", 16)
    (tmp_path / "tags.json").write_text("")  # next to the working directory, and not used
    for name, words in tags.items():
        target = tmp_path / "sorted" / words[0] / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).rename(target)
    found = read(tmp_path / "sorted", val_fraction=0)
    data = dataset(found)
    assert len(data) == 16
    assert all(path.is_symlink() for path in (found.index / "JPEGImages").rglob("*.*"))
    for i, row in enumerate(found.split("train")):
        shown = np.asarray(read_rgb(tmp_path / "sorted" / row.image))
        names = [row.image.rpartition(".")[0], row.image]
        assert data.names[i] in names
        np.testing.assert_array_equal(np.asarray(data.image(i)), shown)


def test_boxes_are_drawn_where_the_file_says_even_on_turned_photos(read, tmp_path):
    root = write_photos(tmp_path / "p", ["a.jpg", "b.jpg"])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(5).rotate(90, expand=True).save(root / "turned.jpg", exif=exif)  # upright 64 x 48
    images = [
        {"id": i, "file_name": name, "width": 64, "height": 48}
        for i, name in enumerate(("a.jpg", "b.jpg", "turned.jpg"))
    ]
    annotations = [
        {"id": i, "image_id": i, "category_id": i % 2, "bbox": [50, 2, 10, 20]} for i in range(3)
    ]
    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "Dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "coco.json").write_text(json.dumps(content))
    found = read(root, tags="coco.json", val_fraction=0)
    assert found.has_boxes
    data = dataset(found).view(with_boxes=True)
    data.check()
    boxes = {name: data.boxes(i).tolist() for i, name in enumerate(data.names)}
    assert boxes == {
        "a": [[1, 50, 2, 60, 22]],
        "b": [[2, 50, 2, 60, 22]],
        "turned": [[1, 50, 2, 60, 22]],
    }


def test_boxes_may_come_from_another_file_than_tags(read, photos):
    (photos / "boxes.csv").write_text(
        "image,class,x0,y0,x1,y1\na 1.jpg,CAT,1,2,30,40\nsub/c.jpg,owl,1,2,3,4\n"
        "b.PNG,dog,90,1,99,9\n"
    )
    found = read(photos, tags="tags.csv", boxes="boxes.csv", classes=["cat", "dog"])
    coco = json.loads((found.index / "boxes.json").read_text())
    assert [box["bbox"] for box in coco["annotations"]] == [[1, 2, 29, 38]]
    assert_names(found.notes, "owl")
    assert_names(found.box_problems, "b.PNG", "line 4")
    with raises_naming(InputError, "`boxes`", "boxes.csv", "x0, y0, x1, y1"):
        (photos / "boxes.csv").write_text("image,class\na 1.jpg,cat\n")
        read(photos, tags="tags.csv", boxes="boxes.csv")


def test_paths_are_relative_to_the_working_directory_or_to_the_photos(read, photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    assert read("my photos/", tags="my photos/tags.csv").root == photos
    assert read("my photos", tags="tags.csv").root == photos
    with raises_naming(InputError, "`tags`", "tgas.csv", photos, "tags.csv"):
        read("my photos", tags="tgas.csv")


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("classes.json", '{"background": 0, "cat": 7, "dog": 9}'),
        ("classes.txt", "background\n" + "".join(f"other {i}\n" for i in range(6)) + "cat\nx\ndog"),
        ("labelmap.txt", "# label:color\nbackground:0,0,0::\ncat:7,0,0::\ndog:9,0,0::\n"),
    ],
)
def test_masks_are_read_by_the_key_beside_them(read, photos, tmp_path, key, content):
    masks = tmp_path / "masks"
    for name in ("a 1", "b", "sub/c"):
        path = masks / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        ids = np.zeros((48, 64), np.uint8)
        ids[:20], ids[20:40] = 7, 9
        image = Image.fromarray(ids)
        if key == "labelmap.txt":
            image = Image.merge(
                "RGB", (image, Image.new("L", image.size), Image.new("L", image.size))
            )
        image.save(path)
    (masks / key).write_text(content)
    found = read(photos, tags="tags.csv", masks=masks, classes=["cat", "dog"], val_fraction=0)
    assert_names(found.sources, key)
    data = dataset(found, unmapped="ignored")
    assert data.has_masks()
    assert np.unique(data.mask(0)).tolist() == [0, 1, 2]


def test_masks_of_some_photos_are_those_of_the_validation_split(read, tmp_path):
    names = [f"{c}/{i}.jpg" for c in ("cat", "dog") for i in range(10)]
    root = write_photos(tmp_path / "p", names)
    for name in names[::4]:
        path = (tmp_path / "masks" / name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (64, 48), 1).save(path)
    found = read(root, masks=tmp_path / "masks")
    assert 0 < len(found.split("val")) <= 4
    assert dataset(found, "val").has_masks()
    assert not dataset(found, "train").has_masks()
    assert_names(found.notes, "train")
    with raises_naming(InputError, "`masks`", tmp_path / "none"):
        (tmp_path / "none").mkdir()
        read(root, masks=tmp_path / "none")


def test_equal_photos_with_other_tags_are_noted(read, tmp_path):
    root = write_photos(tmp_path / "p", ["cat/a.jpg", "dog/b.jpg"])
    (root / "dog/same.jpg").write_bytes((root / "cat/a.jpg").read_bytes())
    assert_names(read(root).notes, "cat/a", "dog/same")


def test_a_missing_folder_is_named_before_the_files_that_may_lie_in_it(read, tmp_path):
    with raises_naming(InputError, "`root`", tmp_path / "absent"):
        read(tmp_path / "absent", tags="tags.csv")
