import json
import pickle
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from facts import assert_names, raises_naming
from pictures import save_turned
from PIL import Image

from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.scores import save_mask
from wsss_lightning.data.sources.npy import read_npy_dict
from wsss_lightning.errors import InputError

CLASSES = ["bird", "cat", "dog"]
NAMES = ["2007_000032", "2007_000033", "b"]
TAGS = [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
SIZES = [(12, 16), (12, 16), (10, 8)]  # (H, W)
SETTINGS = {
    "split": "train",
    "classes": CLASSES,
    "lists": {"train": "ImageSets/Segmentation/train.txt"},
    "tags": "xml",
    "mask_ids": None,
    "image_dir": "JPEGImages",
    "mask_dir": "SegmentationClass",
    "annotation_dir": "Annotations",
    "on_missing_labels": "error",
}
BOX = (2, 3, 6, 8)  # as the XML counts: from 1, ends included


def annotation(names, box=BOX) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    corners = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    objects = "".join(
        f"<object><name>{name}</name><difficult>1</difficult><part><name>hand</name></part>"
        f"<bndbox>{corners}</bndbox></object>"
        for name in names
    )
    return f"<annotation>{objects}</annotation>"


@pytest.fixture
def root(tmp_path) -> Path:
    """Three images of two sizes; each mask shows its tags as labels in its first row."""
    for folder in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("\n".join(NAMES) + "\n")
    rng = np.random.default_rng(0)
    for name, tags, size in zip(NAMES, TAGS, SIZES, strict=True):
        picture = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8))
        picture.save(tmp_path / f"JPEGImages/{name}.jpg")
        mask = np.zeros(size, np.uint8)
        labels = [i + 1 for i, tag in enumerate(tags) if tag]
        mask[0, : len(labels)] = labels
        mask[-1] = 255
        save_mask(tmp_path / f"SegmentationClass/{name}.png", mask)
        (tmp_path / f"Annotations/{name}.xml").write_text(
            annotation(CLASSES[i - 1] for i in labels)
        )
    return tmp_path


def read(root, with_masks=True, with_boxes=False, masks=None, **changes) -> VOCDataset:
    dataset = VOCDataset(root, **{**SETTINGS, **changes})
    return dataset.view(with_masks, with_boxes, masks)


def write_list(root, text: str) -> None:
    (root / "ImageSets/Segmentation/train.txt").write_text(text)


def write_csv(root, *lines: str) -> None:
    (root / "tags.csv").write_text("\n".join(lines) + "\n")


def write_mask(root, name: str, ids) -> None:
    Image.fromarray(np.asarray(ids)).save(root / f"SegmentationClass/{name}.png")


def tagged_rows() -> list[str]:
    return [f"{n},{','.join(map(str, t))}" for n, t in zip(NAMES, TAGS, strict=True)]


# what a split holds


def test_a_sample_has_the_documented_keys_shapes_and_types(root):
    sample = read(root, with_boxes=True)[0]
    assert set(sample) == {"image", "tags", "name", "mask", "boxes"}
    assert sample["image"].shape == (3, 12, 16)
    assert sample["image"].dtype == torch.float32
    assert 0 <= sample["image"].min() < sample["image"].max() <= 1
    assert sample["mask"].shape == (12, 16)
    assert sample["mask"].dtype == torch.int64
    assert sample["tags"].tolist() == [1, 0, 0]
    assert sample["tags"].dtype == torch.float32
    assert sample["name"] == "2007_000032"
    assert sample["boxes"].shape == (1, 5)


def test_masks_and_boxes_stay_away_unless_asked_for(root):
    assert set(read(root, with_masks=False)[0]) == {"image", "tags", "name"}


def test_an_image_is_what_the_file_shows(root):
    data = read(root)
    with Image.open(root / "JPEGImages/b.jpg") as file:
        expected = np.asarray(file.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(data.image(2)), expected)
    np.testing.assert_allclose(data[2]["image"].permute(1, 2, 0) * 255, expected, atol=1e-4)
    assert data.image_size(2) == (10, 8)


def test_names_follow_the_list_and_tags_the_names(root):
    write_list(root, "b\n\n2007_000032\n")
    data = read(root)
    assert data.names == ["b", "2007_000032"]
    assert data.tags.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert len(data) == 2
    assert data.num_classes == 3


def test_lists_of_psa_and_seam_are_understood(root):
    write_list(
        root,
        "/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png\n"
        "/JPEGImages/b.jpg /SegmentationClassAug/b.png\r\n",
    )
    assert read(root).names == ["2007_000032", "b"]


def test_a_dot_may_be_part_of_a_name(root):
    (root / "JPEGImages/b.jpg").rename(root / "JPEGImages/b.v2.jpg")
    (root / "Annotations/b.xml").rename(root / "Annotations/b.v2.xml")
    write_list(root, "b.v2\n")
    assert read(root).names == ["b.v2"]


def test_of_two_images_of_one_name_the_list_must_say_which(root):
    Image.new("RGB", (4, 5), "red").save(root / "JPEGImages/b.png")
    with refused("line 3", "b", "b.jpg", "b.png"):
        read(root)
    write_list(root, "b.png\n")
    assert read(root).image_size(0) == (5, 4)
    write_list(root, "b.jpg\n")
    assert read(root).image_size(0) == (10, 8)
    (root / "JPEGImages/b.jpg").unlink()
    assert read(root).image_size(0) == (5, 4)  # the one that is there


def test_masks_may_lie_beside_their_images(root):
    for name in NAMES:
        (root / f"SegmentationClass/{name}.png").rename(root / f"JPEGImages/{name}.png")
    data = read(root, mask_dir="JPEGImages")
    data.check()
    assert data.image_size(2) == (10, 8)
    assert data.mask(1)[0, :3].tolist() == [2, 3, 0]


def test_grey_and_transparent_images_become_rgb(root):
    (root / "JPEGImages/b.jpg").unlink()
    for mode in ("L", "RGBA", "P", "1"):
        Image.new(mode, (8, 10)).save(root / "JPEGImages/b.png")
        assert read(root)[2]["image"].shape == (3, 10, 8)


# tags


def test_tags_from_xml_count_difficult_objects_but_not_parts(root):
    assert read(root).tags.tolist() == TAGS


def test_tags_from_masks_are_the_labels_with_pixels(root):
    assert read(root, tags="masks").tags.tolist() == TAGS


def test_tags_from_masks_are_those_of_true_masks_even_with_pseudo_masks(root, tmp_path):
    pseudo = tmp_path / "pseudo"
    pseudo.mkdir()
    for name, size in zip(NAMES, SIZES, strict=True):
        save_mask(pseudo / f"{name}.png", np.full(size, 2, np.uint8))
    data = read(root, tags="masks", masks=pseudo)
    assert data.tags.tolist() == TAGS
    assert (data.mask(0) == 2).all()


def test_tags_from_csv_follow_names_not_columns_or_rows(root):
    rows = [f"{n},{t[2]},{t[0]},{t[1]}" for n, t in zip(NAMES, TAGS, strict=True)]
    write_csv(root, "image,dog,bird,cat", *reversed(rows), "elsewhere,1,1,1")
    assert read(root, tags="tags.csv").tags.tolist() == TAGS


def test_a_csv_may_lie_elsewhere_and_begin_with_a_byte_order_mark(root, tmp_path):
    path = tmp_path / "elsewhere.csv"
    path.write_text("\n".join(["image," + ",".join(CLASSES), *tagged_rows()]), encoding="utf-8-sig")
    assert read(root, tags=str(path)).tags.tolist() == TAGS


@pytest.mark.parametrize("key", [str, lambda name: np.int32(name.replace("_", ""))])
def test_tags_from_npy_are_found_by_both_kinds_of_key(root, key):
    write_list(root, "\n".join(NAMES[:2]))
    tags = {key(n): np.array(t, np.float32) for n, t in zip(NAMES[:2], TAGS[:2], strict=True)}
    np.save(root / "cls_labels.npy", tags)
    assert read(root, tags="cls_labels.npy").tags.tolist() == TAGS[:2]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_dictionaries_of_arrays_are_read_at_every_pickle_protocol(tmp_path, protocol):
    array = np.empty((), object)
    array[()] = {"a": np.arange(3, dtype=np.float32), np.int32(7): np.float64(2.5), "n": [1, None]}
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        pickle.dump(array, file, protocol=protocol)
    found = read_npy_dict(tmp_path / "a.npy")
    assert found["a"].tolist() == [0, 1, 2]
    assert found[7] == 2.5
    assert found["n"] == [1, None]


class _Call:
    """Pickles to the call of a function."""

    def __init__(self, function, *arguments):
        self.how = function, arguments

    def __reduce__(self):
        return self.how


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: {"b": a}, lambda a: {"b": [a]}])
def test_a_tag_file_cannot_run_code(root, wrap):
    trace = root / "was_here"
    np.save(root / "cls_labels.npy", wrap(_Call(Path.touch, trace)), allow_pickle=True)
    with raises_naming(InputError, "cls_labels.npy", "touch"):
        read(root, tags="cls_labels.npy")
    assert not trace.exists()
    # the file is a real attack: numpy's own reader falls for it
    np.load(root / "cls_labels.npy", allow_pickle=True)
    assert trace.exists()


@pytest.mark.parametrize("function", [eval, np.load, np.fromfile, getattr])
def test_no_function_but_those_that_make_arrays_is_reached(tmp_path, function):
    np.save(tmp_path / "a.npy", {"a": _Call(function, "x")}, allow_pickle=True)
    with raises_naming(InputError, "a.npy", function.__name__):
        read_npy_dict(tmp_path / "a.npy")


def write_pickle(path, pickled: bytes) -> None:
    with path.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(pickled)


def test_a_tag_file_of_a_few_bytes_cannot_ask_for_gigabytes(tmp_path):
    place = (1 << 31).to_bytes(4, "little")
    write_pickle(tmp_path / "a.npy", b"\x80\x04Nr" + place + b".")
    with raises_naming(InputError, "a.npy", 2147483648):
        read_npy_dict(tmp_path / "a.npy")


def test_lists_that_hold_each_other_are_not_written_out(root):
    deep = [0.0] * 10
    for _ in range(12):
        deep = [deep] * 10
    array = np.empty((), object)
    array[()] = dict.fromkeys(NAMES, deep)
    write_pickle(root / "cls_labels.npy", pickle.dumps(array))
    with refused("cls_labels.npy"):
        read(root, tags="cls_labels.npy")


def test_images_without_tags_are_an_error_unless_they_count_as_background(root):
    (root / "Annotations/b.xml").write_text(annotation([]))
    facts = [1, "train", "xml", "b", "`on_missing_labels=background"]
    with raises_naming(InputError, *facts):
        read(root)
    assert read(root, on_missing_labels="background").tags[2].tolist() == [0, 0, 0]


def test_of_many_untagged_images_three_are_named(root):
    names = [f"x{i}" for i in range(7)]
    write_list(root, "\n".join(names))
    for name in names:
        Image.new("RGB", (4, 4)).save(root / f"JPEGImages/{name}.jpg")
        (root / f"Annotations/{name}.xml").write_text(annotation([]))
    with raises_naming(InputError, 7, "(x0, x1, x2 and 4 more)"):
        read(root)


# masks and boxes


def test_masks_hold_labels_and_ignored_pixels(root):
    mask = read(root).mask(1)
    assert mask.dtype == np.uint8
    assert mask[0, :3].tolist() == [2, 3, 0]
    assert (mask[-1] == 255).all()


def test_mask_ids_join_drop_and_ignore(root):
    write_mask(root, "b", np.full((10, 8), 9, np.uint8))
    write_mask(root, "2007_000032", np.array([[0, 7, 8, 9, 77, 255] + [0] * 10] * 12, np.uint8))
    data = read(root, mask_ids={0: "background", 7: "dog", 8: "dog", 9: "background"})
    assert data.mask(0)[0, :6].tolist() == [0, 3, 3, 0, 255, 255]
    assert (data.mask(2) == 0).all()


def test_ids_above_255_can_be_mapped(root):
    write_mask(root, "b", np.array([[0, 300, 40000, 65535] * 2] * 10, np.uint16))
    data = read(root, mask_ids={0: "background", 300: "cat", 65535: "bird"})
    assert data.mask(2)[0, :4].tolist() == [0, 2, 255, 1]
    with raises_naming(InputError, "b.png", 300, 40000, 65535):
        read(root).mask(2)


def test_a_view_of_some_classes_skips_the_others(root):
    data = read(
        root, classes=["cat"], mask_ids={0: "background", 2: "cat"}, on_missing_labels="background"
    )
    assert data.tags.tolist() == [[0], [1], [0]]
    assert_names(data.notes[-1], "bird, dog")
    assert data.mask(1)[0, :3].tolist() == [1, 255, 0]
    assert [len(data.boxes(i)) for i in range(3)] == [0, 1, 0]
    write_csv(root, "image," + ",".join(CLASSES), *tagged_rows())
    again = read(
        root, classes=["cat"], mask_ids={2: "cat"}, on_missing_labels="background", tags="tags.csv"
    )
    assert again.tags.tolist() == [[0], [1], [0]]


def test_pseudo_masks_stand_for_true_ones(root, tmp_path):
    pseudo = tmp_path / "pseudo"
    pseudo.mkdir()
    save_mask(pseudo / "b.png", np.full((10, 8), 3, np.uint8))
    data = read(root, masks=pseudo, mask_ids={200: "cat"})
    assert (data[2]["mask"] == 3).all()  # labels already: mask_ids do not apply
    with raises_naming(InputError, "pseudo/2007_000032.png"):
        data.mask(0)
    save_mask(pseudo / "b.png", np.full((10, 8), 4, np.uint8))
    with raises_naming(InputError, "b.png", 4):
        data.mask(2)
    save_mask(pseudo / "b.png", np.full((8, 10), 3, np.uint8))
    with raises_naming(InputError, "b.png", "10x8", "8x10"):
        data.mask(2)


def test_boxes_count_from_zero_with_their_ends_excluded(root):
    assert read(root).boxes(0).tolist() == [[1, 1, 2, 6, 8]]
    (root / "Annotations/b.xml").write_text(annotation(["dog"], ("1.4", "2.6", "99", "10.2")))
    assert read(root).boxes(2).tolist() == [[3, 0, 2, 8, 10]]


def test_an_image_without_objects_has_no_boxes(root):
    (root / "Annotations/b.xml").write_text(annotation([]))
    assert read(root, on_missing_labels="background").boxes(2).shape == (0, 5)


@pytest.mark.parametrize(
    ("box", "facts"),
    [
        (("", 1, 2, 3), ["b.xml", "dog"]),
        (("nan", 1, 2, 3), ["b.xml", "dog"]),
        (("inf", 1, 2, 3), ["b.xml", "dog"]),
        ((6, 3, 2, 8), ["b.xml", "dog", "(6, 3, 2, 8)", "8x10"]),
        ((20, 3, 30, 8), ["b.xml", "(20, 3, 30, 8)", "8x10"]),
    ],
)
def test_a_box_that_is_none_is_refused_before_work_starts(root, box, facts):
    (root / "Annotations/b.xml").write_text(annotation(["dog"], box))
    read(root).check()
    with raises_naming(InputError, *facts):
        read(root, with_boxes=True).check()


def test_all_boxes_that_are_none_are_counted_at_once(root):
    for name in ("b", NAMES[0]):
        path = root / f"Annotations/{name}.xml"
        path.write_text(path.read_text().replace("<xmin>2", "<xmin>7"))
    with raises_naming(InputError, 2, "train", "2007_000032.xml", "b.xml"):
        read(root, with_boxes=True).check()


def test_of_many_boxes_that_are_none_five_are_told(root):
    (root / "Annotations/b.xml").write_text(annotation(["dog"] * 9, (6, 3, 2, 8)))
    with raises_naming(InputError, 9, "train", 4):
        read(root, with_boxes=True).check()


def test_an_image_without_boxes_is_refused_unless_it_may_be_background(root):
    (root / "Annotations/b.xml").write_text(annotation([]))
    how = {"with_boxes": True, "tags": "masks"}
    with raises_naming(InputError, 1, "train", "xml", "b"):
        read(root, **how).check()
    data = read(root, **how, on_missing_labels="background")
    data.check()
    assert data.count_boxes() == (3, 0, 1, 0)


def test_boxes_cut_to_the_image_are_counted(root):
    (root / "Annotations/b.xml").write_text(annotation(["dog"], (0, 1, 99, 4)))
    assert read(root).boxes(2).tolist() == [[3, 0, 0, 8, 4]]
    assert read(root).count_boxes() == (4, 1, 0, 0)


def test_difficult_objects_have_boxes_unless_they_are_left_out(root):
    assert len(read(root).boxes(1)) == 2
    assert len(read(root, difficult=False).boxes(1)) == 0


def test_a_view_of_some_classes_has_boxes_of_these_only(root):
    data = read(
        root, classes=["dog"], mask_ids={0: "background", 3: "dog"}, on_missing_labels="background"
    )
    assert [len(data.boxes(i)) for i in range(3)] == [0, 1, 1]
    assert data.boxes(1)[0, 0] == 1


def test_boxes_come_from_instance_masks_with_the_class_of_the_true_mask(root):
    (root / "SegmentationObject").mkdir()
    for name, size in zip(NAMES, SIZES, strict=True):
        instances = np.zeros(size, np.uint8)
        instances[0, 0], instances[-1] = 1, 255
        save_mask(root / f"SegmentationObject/{name}.png", instances)
    data = read(root, boxes="masks", with_boxes=True)
    data.check()
    assert [data.boxes(i).tolist() for i in range(3)] == [[[c, 0, 0, 1, 1]] for c in (1, 2, 3)]
    instances[4, 4] = 2  # of b, where its mask has background
    save_mask(root / "SegmentationObject/b.png", instances)
    with raises_naming(InputError, "b.png", 2):
        data.check()
    (root / "SegmentationObject/b.png").unlink()
    with raises_naming(InputError, "SegmentationObject/b.png"):
        data.check()


@pytest.mark.parametrize("name", ["boxes.csv", "boxes_train.csv"])
def test_boxes_of_a_file_are_found_by_name_and_its_name_may_hold_the_split(root, name):
    (root / name).write_text(f"image,class,x0,y0,x1,y1\nb,dog,1,2,6,8\n{NAMES[0]},bird,0,0,1,1\n")
    data = read(root, boxes=name.replace("train", "{split}"))
    assert [data.boxes(i).tolist() for i in range(3)] == [[[1, 0, 0, 1, 1]], [], [[3, 1, 2, 6, 8]]]
    (root / name).write_text("image,class,x0,y0,x1,y1\nb,dog,9,2,12,8\n")
    with raises_naming(InputError, name, "dog", "b", "line 2", "(9, 2, 12, 8)"):
        read(root, boxes=name).boxes(2)


def test_tags_may_be_the_classes_of_the_boxes(root):
    (root / "boxes.csv").write_text("image,class,x0,y0,x1,y1\nb,dog,1,2,6,8\nb,cat,1,2,3,4\n")
    data = read(root, boxes="boxes.csv", tags="boxes", on_missing_labels="background")
    assert data.tags.tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 1]]


@pytest.mark.parametrize(
    "content", ["<!DOCTYPE a [<!ENTITY x 'cat'>]><annotation>&x;</annotation>"]
)
def test_an_annotation_with_entities_is_refused(root, content):
    (root / "Annotations/b.xml").write_text(content)
    with refused("b.xml", "entities"):
        read(root)


def test_an_annotation_too_long_for_one_image_is_refused(root, monkeypatch):
    monkeypatch.setattr("wsss_lightning.data.sources.boxes.MAX_XML_SIZE", 20)
    with refused("2007_000032.xml", (root / "Annotations/2007_000032.xml").stat().st_size, 20):
        read(root)


def test_the_fingerprint_notices_boxes_where_they_are_asked_for(root):
    before = [read(root, with_boxes=asked).fingerprint() for asked in (False, True)]
    path = root / "Annotations/b.xml"
    path.write_text(path.read_text().replace("<xmin>2", "<xmin>3"))
    after = [read(root, with_boxes=asked).fingerprint() for asked in (False, True)]
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_a_split_need_not_have_masks(root):
    for path in (root / "SegmentationClass").iterdir():
        path.unlink()
    data = read(root)
    data.check()
    assert not data.has_masks()
    assert set(read(root, with_masks=False)[0]) == {"image", "tags", "name"}
    with raises_naming(InputError, "train", "`mask_dir"):
        data.mask(0)
    (root / "SegmentationClass").rmdir()
    assert not read(root).has_masks()


# orientation, and sizes that files claim


def turn(root, name: str, orientation: int) -> None:
    """Store an image so that its EXIF orientation shows it as it was."""
    path = root / f"JPEGImages/{name}.jpg"
    with Image.open(path) as image:
        save_turned(path.with_suffix(".png"), orientation, image.convert("RGB"))
    path.unlink()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_images_are_turned_upright_under_their_masks_and_boxes(root, orientation):
    before = read(root, with_boxes=True)[2]
    turn(root, "b", orientation)
    data = read(root, with_boxes=True)
    data.check()
    sample = data[2]
    assert data.image_size(2) == (10, 8)
    for key in ("image", "mask", "boxes"):
        torch.testing.assert_close(sample[key], before[key])
    assert_names(data.notes[0], 1, "EXIF")


def test_an_image_is_used_as_stored_where_its_mask_only_fits_that(root):
    with Image.open(root / "JPEGImages/b.jpg") as image:
        stored = np.asarray(image.convert("RGB"))
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(stored).save(root / "JPEGImages/b.png", exif=exif)
    (root / "JPEGImages/b.jpg").unlink()
    data = read(root)
    data.check()
    np.testing.assert_array_equal(np.asarray(data.image(2)), stored)
    assert_names(data.notes[0], "EXIF", "b")


@pytest.mark.parametrize(("box", "size"), [("1,2,19,8", (16, 20)), ("1,2,6,19", (20, 16))])
def test_boxes_that_only_fit_one_turn_of_an_image_decide_on_it(root, box, size):
    """An image of 20x16 pixels that is shown as 16x20."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 16)).save(root / "JPEGImages/b.png", exif=exif)
    (root / "JPEGImages/b.jpg").unlink()
    (root / "SegmentationClass/b.png").unlink()
    (root / "boxes.csv").write_text(f"image,class,x0,y0,x1,y1\nb,dog,{box}\n")
    data = read(root, boxes="boxes.csv")
    assert data.image_size(2) == size
    assert data.boxes(2)[0, 1:].tolist() == [float(x) for x in box.split(",")]


def test_images_whose_sizes_do_not_tell_follow_those_whose_sizes_do(root):
    """A tool that ignored orientations ignored that of images turned by 180 degrees too."""
    for name, orientation in ((NAMES[0], 3), ("b", 6)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = root / f"JPEGImages/{name}.jpg"
        with Image.open(path) as image:
            image.convert("RGB").save(path.with_suffix(".png"), exif=exif)
        path.unlink()
    data = read(root)
    with Image.open(root / f"JPEGImages/{NAMES[0]}.png") as image:
        np.testing.assert_array_equal(np.asarray(data.image(0)), np.asarray(image))
    assert_names(data.notes[0], 2, "EXIF")


def test_a_mask_and_an_annotation_that_fit_other_turns_are_refused(root):
    turn(root, "b", 6)  # whose mask fits the turned image
    path = root / "Annotations/b.xml"
    size = "<size><width>10</width><height>8</height></size><object>"
    path.write_text(path.read_text().replace("<object>", size, 1))
    with refused("b.png", "EXIF orientation 6", "8x10", "10x8"):
        read(root)


def test_boxes_of_an_image_of_another_size_are_refused_though_they_lie_inside(root):
    path = root / "Annotations/b.xml"
    size = "<size><width>16</width><height>20</height></size><object>"
    path.write_text(path.read_text().replace("<object>", size, 1))
    assert read(root).tags.tolist() == TAGS  # of which size the image was does not matter
    with refused("b.xml", "b", "16x20", "b.jpg", "8x10"):
        read(root, with_boxes=True).check()
    path.write_text(path.read_text().replace("16<", "0<").replace("20<", "0<"))
    read(root, with_boxes=True).check()  # some tools write 0 for a size that they do not know


def test_a_namespace_in_an_annotation_is_ignored(root):
    path = root / "Annotations/b.xml"
    path.write_text(path.read_text().replace("<annotation>", '<annotation xmlns="urn:x">'))
    assert read(root).tags.tolist() == TAGS
    assert read(root).boxes(2).tolist() == [[3, 1, 2, 6, 8]]


def test_annotations_and_masks_are_found_whatever_the_case_of_their_suffix(root):
    for path in [*(root / "Annotations").iterdir(), *(root / "SegmentationClass").iterdir()]:
        path.rename(path.with_suffix(path.suffix.upper()))
    data = read(root)
    data.check()
    assert data.tags.tolist() == TAGS
    assert data.has_masks()


def test_images_in_sub_folders_have_their_masks_in_folders_of_the_same_name(root):
    for folder in ("JPEGImages", "SegmentationClass", "Annotations"):
        (root / folder / "x").mkdir()
        for path in [*(root / folder).glob("2007*")]:
            path.rename(root / folder / "x" / path.name)
    write_list(root, "x/2007_000032.jpg\nx/2007_000033\nb\n")
    data = read(root, tags="masks")
    assert data.names == ["x/2007_000032", "x/2007_000033", "b"]
    assert data.tags.tolist() == TAGS
    assert data.boxes(0).tolist() == [[1, 1, 2, 6, 8]]


def test_a_mask_of_one_name_belongs_to_no_image_where_two_have_that_name(root):
    for folder in ("train", "val"):
        (root / "JPEGImages" / folder).mkdir()
        Image.new("RGB", (8, 10)).save(root / f"JPEGImages/{folder}/b.jpg")
    (root / "JPEGImages/b.jpg").unlink()
    write_list(root, "train/b\n")
    write_csv(root, "image,bird,cat,dog", "train/b,0,0,1", "val/b,1,0,0")
    data = read(root, tags="tags.csv")
    assert data.tags.tolist() == [[0, 0, 1]]
    assert not data.has_masks()
    data.check()
    assert_names(data.notes[-1], "SegmentationClass")
    (root / "JPEGImages/val/b.jpg").unlink()
    assert read(root, tags="masks").tags.tolist() == [[0, 0, 1]]  # now it is the only one


def test_boxes_of_images_that_do_not_exist_do_not_turn_others_into_background(root):
    rows = f"image,class,x0,y0,x1,y1\n{NAMES[0]},bird,0,0,1,1\nnone.jpg,dog,1,2,6,8\n"
    (root / "boxes.csv").write_text(rows)
    how = {"boxes": "boxes.csv", "on_missing_labels": "background", "with_boxes": True}
    with refused("boxes.csv", 2, "train", "JPEGImages", "none.jpg") as error:
        read(root, **how).check()
    assert str(error.value).count("boxes.csv") == 1  # once, not once for each image
    (root / "boxes.csv").write_text(rows.replace("none.jpg,", "b,"))
    data = read(root, **how)
    data.check()
    assert [len(data.boxes(i)) for i in range(3)] == [1, 0, 1]


def test_coco_boxes_of_an_image_of_another_size_are_refused(root):
    images = [{"id": i, "file_name": f"{n}.jpg"} for i, n in enumerate(NAMES)]
    images[2] |= {"height": 20, "width": 16}
    things = [
        {"id": 70 + i, "image_id": i, "category_id": 1, "bbox": [1, 1, 2, 3]} for i in range(3)
    ]
    content = {"images": images, "annotations": things, "categories": [{"id": 1, "name": "cat"}]}
    (root / "a.json").write_text(json.dumps(content))
    with refused("a.json", "b", "16x20", "b.jpg", "8x10"):
        read(root, boxes="a.json", with_boxes=True).check()


# a changed data set


def test_pixels_changed_in_place_change_the_fingerprint(root):
    Image.new("RGB", (8, 10), "red").save(root / "JPEGImages/b.bmp")
    (root / "JPEGImages/b.jpg").unlink()
    before, length = read(root).fingerprint(), (root / "JPEGImages/b.bmp").stat().st_size
    Image.new("RGB", (8, 10), "blue").save(root / "JPEGImages/b.bmp")
    assert (root / "JPEGImages/b.bmp").stat().st_size == length
    assert read(root).fingerprint() != before


def test_a_mask_that_changes_changes_the_fingerprint_of_the_masks(root):
    before = read(root).mask_fingerprint()
    assert read(root).mask_fingerprint() == before
    write_mask(root, "b", np.full((10, 8), 3, np.uint8))
    after = read(root).mask_fingerprint()
    (root / "SegmentationClass/b.png").unlink()
    assert len({before, after, read(root).mask_fingerprint()}) == 3


def test_the_fingerprint_notices_names_tags_classes_ids_and_images_but_not_masks(root):
    first = read(root).fingerprint()
    assert re.fullmatch("[0-9a-f]{8,}", first)
    assert read(root).fingerprint() == first
    write_mask(root, "b", np.zeros((10, 8), np.uint8))
    assert read(root, with_masks=False).fingerprint() == first
    seen = {first}
    seen.add(read(root, mask_ids={0: "background"}).fingerprint())
    seen.add(read(root, mask_ids={1: "background"}).fingerprint())
    seen.add(read(root, classes=["bird", "cat", "dog", "elk"]).fingerprint())
    (root / "Annotations/b.xml").write_text(annotation(["cat"]))
    seen.add(read(root).fingerprint())
    with (root / "JPEGImages/b.jpg").open("ab") as file:
        file.write(b"\0")
    seen.add(read(root).fingerprint())
    write_list(root, "b")
    seen.add(read(root).fingerprint())
    assert len(seen) == 7


# what is wrong, where, and how to mend it


def refused(*facts: object):
    return raises_naming(InputError, *facts)


def test_a_missing_root_says_how_to_give_it(root):
    with refused("`root=DIR`", root / "nowhere"):
        read(root / "nowhere")


def test_a_missing_image_folder_is_named(root):
    with refused("JPEGs", "`image_dir"):
        read(root, image_dir="JPEGs")


def test_an_unknown_split_is_answered_by_the_nearest(root):
    with refused("trian", "`lists", "train"):
        read(root, split="trian")


def test_a_missing_list_names_those_that_exist(root):
    for name in ("val.txt", "trainval.txt"):
        (root / "ImageSets/Segmentation" / name).write_text("b\n")
    lists = {"train": "ImageSets/Segmentation/tran.txt"}
    with refused(
        "tran.txt",
        "train.txt",
        "trainval.txt",
        "val.txt",
        "`lists.train",
    ):
        read(root, lists=lists)
    with refused("other/tran.txt"):
        read(root, lists={"train": "other/tran.txt"})


def test_an_empty_list_is_refused(root):
    write_list(root, "\n \n")
    with refused("train.txt"):
        read(root)


def test_a_list_that_is_no_text_is_refused(root):
    (root / "ImageSets/Segmentation/train.txt").write_bytes(b"\xff\xd8\xff\x00")
    with refused("train.txt"):
        read(root)


def test_a_name_listed_twice_is_refused(root):
    write_list(root, "b\n2007_000032\n/JPEGImages/b.jpg x\n")
    with refused("train.txt", "b"):
        read(root)


def test_a_listed_image_that_is_absent_is_named(root):
    write_list(root, "b\nc\n")
    with refused(1, "train", "JPEGImages", "c"):
        read(root)


@pytest.mark.parametrize("classes", [[], ["cat", "cat"], ["background", "cat"], ["cat", " "]])
def test_class_lists_that_cannot_be_are_refused(root, classes):
    with refused(1, 254, "background"):
        read(root, classes=classes)


def test_an_unknown_value_of_untagged_is_refused(root):
    with refused("on_missing_labels", "ignore", "error", "background"):
        read(root, on_missing_labels="ignore")


@pytest.mark.parametrize("tags", ["xlm", "tags.txt"])
def test_an_unknown_source_of_tags_is_refused(root, tags):
    with refused("`tags", tags, "xml", "masks"):
        read(root, tags=tags)


def test_an_object_of_an_unknown_class_is_answered_by_the_nearest(root):
    (root / "Annotations/b.xml").write_text(annotation(["dogg"]))
    with refused("b.xml", "dogg", "dog", "`mask_ids"):
        read(root)


def test_a_missing_annotation_is_named(root):
    (root / "Annotations/b.xml").unlink()
    with refused("b.xml", "`tags"):
        read(root)


@pytest.mark.parametrize(
    "content",
    [b"", b"<annotation><object>", b"\xff\xfe\x00", b'<?xml version="1.0" encoding="x-no"?><a/>'],
)
def test_an_annotation_that_does_not_parse_is_named(root, content):
    (root / "Annotations/b.xml").write_bytes(content)
    with refused("b.xml", "XML"):
        read(root)


@pytest.mark.parametrize(
    ("lines", "facts"),
    [
        (["image,bird,cat", "b,1,0"], ["dog"]),
        (["image,bird,cat,dgo", "b,1,0,0"], ["dog", "dgo"]),
        (["image,bird,cat,dog,cat", "b,1,0,0,0"], [2, "cat"]),
        (["image,bird,cat,dog,catt", "b,1,0,0,0"], ["catt", "cat"]),
        (["image,bird,cat,dog", "b,1,0"], ["line 2", "b,1,0", 3]),
        (["image,bird,cat,dog", "b,1,0,0,1"], ["line 2", "b,1,0,0,1"]),
        (["image,bird,cat,dog", "b,1,0,2"], ["line 2", "b,1,0,2"]),
        (["image,bird,cat,dog", "b,1,0,perhaps"], ["line 2", "b,1,0,perhaps"]),
        (["image,bird,cat,dog", "b,1,0,0", "b,1,0,0"], ["b", "line 3"]),
        (["image,bird,cat,dog", "b,1,0,0"], [2, "train", "2007_000032"]),
        ([""], ["tags.csv"]),
    ],
)
def test_a_csv_that_does_not_fit_is_named_with_its_line(root, lines, facts):
    write_csv(root, *lines)
    with refused(*facts):
        read(root, tags="tags.csv")


def test_a_csv_that_is_no_text_is_refused(root):
    (root / "tags.csv").write_bytes(b"PK\x03\x04image")  # a spreadsheet that was renamed
    with refused("tags.csv"):
        read(root, tags="tags.csv")


def test_a_missing_file_of_tags_is_named(root):
    with refused("tags.csv", "`tags=FILE`"):
        read(root, tags="tags.csv")


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        ({"b": np.zeros(20)}, [20, "b", 3]),
        ({"b": np.array([0.5, 0, 0])}, [0, 1, "b"]),
        ({"b": np.array([0, 0, 1])}, [2, "train"]),
        ({"b": "cat"}, ["'b'"]),
        ({None: np.zeros(3)}, ["None"]),
        ([1, 2], []),
        (np.zeros((3, 3)), []),
    ],
)
def test_a_npy_that_does_not_fit_is_refused(root, content, facts):
    np.save(root / "cls_labels.npy", content, allow_pickle=True)
    with refused("cls_labels.npy", *facts):
        read(root, tags="cls_labels.npy")


def test_a_truncated_npy_is_refused(root):
    np.save(root / "cls_labels.npy", {name: np.zeros(3) for name in NAMES})
    content = (root / "cls_labels.npy").read_bytes()
    for size in (0, 5, 100, 140, len(content) - 1):
        (root / "cls_labels.npy").write_bytes(content[:size])
        with refused("cls_labels.npy"):
            read(root, tags="cls_labels.npy")


def test_an_image_that_is_cut_off_is_named_before_work_starts(root):
    path = root / "JPEGImages/b.jpg"
    path.write_bytes(path.read_bytes()[:-60])
    with refused("b.jpg"):
        read(root).check()


def test_a_mask_that_is_cut_off_is_named_before_work_starts(root):
    path = root / "SegmentationClass/b.png"
    path.write_bytes(path.read_bytes()[:-32])
    with refused("SegmentationClass/b.png"):
        read(root).check()


def test_damage_amid_an_image_is_named_when_it_is_read(root):
    Image.new("RGB", (8, 10)).save(root / "JPEGImages/b.png")
    (root / "JPEGImages/b.jpg").unlink()
    path = root / "JPEGImages/b.png"
    content = bytearray(path.read_bytes())
    content[45:50] = b"12345"
    path.write_bytes(content)
    data = read(root)
    data.check()  # its header and its end are whole
    with refused("b.png"):
        data.image(2)


def test_an_image_whose_end_is_unusual_is_no_error(root):
    with (root / "JPEGImages/b.jpg").open("ab") as file:
        file.write(bytes(5000))  # as some cameras do
    read(root).check()


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_a_file_that_is_no_image_is_named_before_work_starts(root, content):
    (root / "JPEGImages/b.jpg").write_bytes(content)
    with refused("b.jpg"):
        read(root).check()


@pytest.mark.parametrize(
    ("most", "facts"),
    [
        (60, ["b.jpg", "8x10", 60]),
        (20, ["b.jpg", 20]),
    ],
)
def test_an_image_too_large_to_be_true_is_refused_before_it_is_decoded(
    root, monkeypatch, most, facts
):
    write_list(root, "b")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    with refused(*facts):
        read(root).image(2)


def test_a_file_of_a_few_bytes_that_claims_gigabytes_is_refused(root):
    """A PNG of 60000x60000 white pixels."""
    (root / "JPEGImages/b.jpg").unlink()
    Image.new("1", (60000, 1)).save(root / "JPEGImages/b.png")
    content = bytearray((root / "JPEGImages/b.png").read_bytes())
    content[20:24] = (60000).to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (root / "JPEGImages/b.png").write_bytes(content)
    with refused("b.png", 89478485):
        read(root).check()


def test_no_program_is_started_for_a_file_that_wants_one(root):
    """Pillow draws PostScript by Ghostscript."""
    (root / "JPEGImages/b.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 10\n%%EndComments\n%%EOF\n"
    )
    with Image.open(root / "JPEGImages/b.jpg") as image:
        assert image.format == "EPS"
    with refused("b.jpg", "unknown format"):
        read(root).check()


def test_an_image_of_16_bits_is_converted_linearly_and_noted(root):
    (root / "JPEGImages/b.jpg").unlink()
    levels = np.full((10, 8), 32_768, np.uint16)
    Image.fromarray(levels).save(root / "JPEGImages/b.png")
    dataset = read(root)
    assert_names(dataset.notes, "1 images", "16 bits", "255", "b")
    assert (np.asarray(dataset.image(2)) == 128).all()


def test_a_mask_of_another_size_is_named_before_work_starts(root):
    write_mask(root, "b", np.zeros((10, 9), np.uint8))
    facts = ("b.png", "9x10", "b.jpg", "8x10")
    with refused(*facts):
        read(root).check()
    with refused(*facts):
        read(root).mask(2)
    read(root, with_masks=False).check()


def test_a_missing_mask_among_others_is_named_before_work_starts(root):
    (root / "SegmentationClass/b.png").unlink()
    with refused("b.png", "train", "b"):
        read(root).check()


def test_a_mask_that_is_no_image_is_named_before_work_starts(root):
    (root / "SegmentationClass/b.png").write_bytes(b"nothing")
    with refused("SegmentationClass/b.png"):
        read(root).check()


def test_pseudo_masks_are_looked_at_before_work_starts(root, tmp_path):
    (tmp_path / "pseudo").mkdir()
    with refused("pseudo/2007_000032.png"):
        read(root, masks=tmp_path / "pseudo").check()


def test_a_mask_of_colours_is_refused_with_the_mend(root):
    Image.new("RGB", (8, 10)).save(root / "SegmentationClass/b.png")
    with refused("b.png", "RGB", "palette"):
        read(root).mask(2)


@pytest.mark.parametrize("label", [4, 77, 254])
def test_an_id_that_is_no_label_is_named_with_the_mend(root, label):
    write_mask(root, "b", np.full((10, 8), label, np.uint8))
    facts = ("b.png", label, "100.0 %", 3, 255, "`mask_ids")
    with refused(*facts):
        read(root).mask(2)
    with refused(*facts):
        read(root).check()


@pytest.mark.parametrize(
    ("mask_ids", "facts"),
    [
        ({1: "catt"}, [1, "catt", "cat"]),
        ({-1: "cat"}, [-1, 0, 65535]),
        ({65536: "cat"}, [65536, 65535]),
    ],
)
def test_mask_ids_that_cannot_be_are_refused(root, mask_ids, facts):
    with refused(*facts):
        read(root, mask_ids=mask_ids)
