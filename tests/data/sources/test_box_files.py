import json

import numpy as np
import pytest
from facts import raises_naming
from hypothesis import given
from hypothesis import strategies as st

from wsss_lightning.data.sources.boxes import (
    RawBox,
    boxes_of_instances,
    clip_and_round,
    exceeds_image,
    read_coco,
    read_csv,
    read_xml,
)
from wsss_lightning.errors import InputError


def xml(*objects: str) -> str:
    return f"<annotation>{''.join(f'<object>{o}</object>' for o in objects)}</annotation>"


def bndbox(*corners) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    return f"<bndbox>{''.join(f'<{s}>{v}</{s}>' for s, v in sides)}</bndbox>"


@pytest.fixture
def written(tmp_path):
    def write(name: str, content) -> object:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


# VOC's XML


def test_xml_counts_from_one_with_its_ends_included(written):
    path = written("a.xml", xml(f"<name> cat </name>{bndbox(1, 2, 4, 5)}"))
    (box,) = read_xml(path).boxes
    assert box == RawBox("cat", (0, 1, 4, 5), False, "1, 2, 4, 5")
    assert clip_and_round(box, 5, 4) == (0, 1, 4, 5)  # 4 pixels wide and 4 high, as the file says


def test_decimals_are_rounded_as_the_file_counts(written):
    (box,) = read_xml(
        written("a.xml", xml(f"<name>cat</name>{bndbox('1.4', '2.6', '9', '10.2')}"))
    ).boxes
    assert clip_and_round(box, 99, 99) == (0, 2, 9, 10)


def test_difficult_objects_are_marked_and_parts_are_no_objects(written):
    part = f"<part><name>hand</name>{bndbox(7, 7, 8, 8)}</part>"
    path = written(
        "a.xml",
        xml(
            f"<name>cat</name>{part}<difficult>1</difficult>{bndbox(1, 1, 2, 2)}",
            f"<name>dog</name>{bndbox(3, 3, 4, 4)}{part}",
        ),
    )
    assert [(b.name, b.difficult, b.numbers) for b in read_xml(path).boxes] == [
        ("cat", True, "1, 1, 2, 2"),
        ("dog", False, "3, 3, 4, 4"),
    ]


@pytest.mark.parametrize("corners", [("", 1, 2, 3), ("nan", 1, 2, 3), ("a", 1, 2, 3)])
def test_corners_that_are_no_numbers_are_none(written, corners):
    (box,) = read_xml(written("a.xml", xml(f"<name>cat</name>{bndbox(*corners)}"))).boxes
    assert box.corners is None
    assert clip_and_round(box, 9, 9) is None
    (bare,) = read_xml(written("b.xml", xml("<name>cat</name>"))).boxes
    assert bare.corners is None


def test_entities_are_not_expanded(written):
    bomb = '<!DOCTYPE a [<!ENTITY x "yyyyyyyyyy"><!ENTITY z "&x;&x;&x;">]>'
    path = written("a.xml", f"{bomb}<annotation><object><name>&z;</name></object></annotation>")
    with raises_naming(InputError, "a.xml", "entities"):
        read_xml(path)
    secret = written("secret.txt", "cat")
    outside = f'<!DOCTYPE a [<!ENTITY x SYSTEM "{secret}">]>'
    path = written("b.xml", f"{outside}<annotation><object><name>&x;</name></object></annotation>")
    with raises_naming(InputError, "b.xml", "entities"):
        read_xml(path)


# COCO


def coco(**changes):
    return {
        "images": [
            {"id": 7, "file_name": "train/a.jpg"},
            {"id": 8, "file_name": "b.jpg", "height": 5, "width": 9},
        ],
        "categories": [{"id": 17, "name": "cat"}],
        "annotations": [
            {"image_id": 7, "category_id": 17, "bbox": [1, 2, 3, 4]},
            {"image_id": 7, "category_id": 17, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        ],
        **changes,
    }


def test_coco_gives_corner_width_and_height_from_zero(written):
    table = read_coco(written("a.json", coco()))
    (box,) = table.boxes["train/a.jpg"]
    assert box[:4] == ("cat", (1, 2, 4, 6), False, "1, 2, 3, 4")
    assert table.boxes["b.jpg"] == []
    assert table.sizes == {"b.jpg": (5, 9)}


def test_objects_of_coco_without_a_side_are_left_out_and_counted(written):
    things = [
        {"id": i, "image_id": 8, "category_id": 17, "bbox": box}
        for i, box in enumerate([[1, 2, 0.0, 4], [1, 2, 3, 0], [1, 2, 3, 4], [1, 2, -3, 0]])
    ]
    table = read_coco(written("a.json", coco(annotations=things)))
    assert table.num_empty == 2
    kept, negative = table.boxes["b.jpg"]
    assert clip_and_round(kept, 9, 9) == (1, 2, 4, 6)
    assert clip_and_round(negative, 9, 9) is None  # refused by who knows the image
    assert "object 3" in negative.where


def test_two_images_of_one_file_are_refused(written):
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "a.jpg"}]
    with raises_naming(InputError, "id", "file_name"):
        read_coco(written("a.json", coco(images=images, annotations=[])))


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        coco(images=[{"id": 7}]),
        coco(annotations=[{"image_id": 7, "category_id": 99, "bbox": [1, 1, 1, 1]}]),
        coco(annotations=[{"image_id": 99, "category_id": 17, "bbox": [1, 1, 1, 1]}]),
        coco(annotations=[{"image_id": 7, "category_id": 17, "bbox": None}]),
    ],
)
def test_a_file_that_is_not_of_coco_is_named(written, content):
    with raises_naming(InputError, "a.json", "bbox"):
        read_coco(written("a.json", content))


# CSV


def test_csv_holds_our_convention(written):
    lines = (
        "\ufeffimage,class,x0,y0,x1,y1",
        "a,cat,0,1,4,5",
        "",
        "b,dog,2.4,0,3.6,9",
        "a,dog,x,1,2,3",
    )
    found = read_csv(written("a.csv", "\n".join(lines))).boxes
    assert [clip_and_round(b, 9, 9) for b in found["a"]] == [(0, 1, 4, 5), None]
    assert clip_and_round(found["b"][0], 9, 9) == (2, 0, 4, 9)


@pytest.mark.parametrize(
    ("lines", "facts"),
    [
        ("", []),
        ("image,class,xmin,ymin,xmax,ymax", ["image,class,x0,y0,x1,y1"]),
        ("image,class,x0,y0,x1,y1\na,cat,1,2,3", ["line 2", "a,cat,1,2,3"]),
    ],
)
def test_a_csv_of_other_columns_is_refused(written, lines, facts):
    with raises_naming(InputError, "a.csv", *facts):
        read_csv(written("a.csv", lines))


# instances


def test_the_box_of_an_instance_is_tight_and_its_class_that_of_most_pixels():
    instances = np.array([[0, 1, 1, 255], [0, 1, 2, 2], [0, 0, 2, 2]], np.uint8)
    mask = np.array([[0, 3, 3, 255], [0, 1, 2, 2], [0, 0, 255, 2]], np.uint8)
    assert boxes_of_instances(instances, mask).tolist() == [[3, 1, 0, 3, 2], [2, 2, 1, 4, 3]]


def test_an_instance_that_is_ignored_has_no_box_and_one_on_background_is_an_error():
    one = np.array([[1, 1, 0]], np.uint8)
    assert boxes_of_instances(one, np.array([[255, 255, 0]], np.uint8)).shape == (0, 5)
    with raises_naming(ValueError, 1, "background"):
        boxes_of_instances(one, np.array([[0, 0, 0]], np.uint8))


@given(st.tuples(*[st.integers(0, 8)] * 4))
def test_the_box_around_a_painted_box_is_the_box(corners):
    x0, y0, x1, y1 = corners
    x0, x1, y0, y1 = min(x0, x1), max(x0, x1) + 1, min(y0, y1), max(y0, y1) + 1
    instances = np.zeros((9, 9), np.uint8)
    instances[y0:y1, x0:x1] = 4
    assert boxes_of_instances(instances, instances // 2).tolist() == [[2, x0, y0, x1, y1]]


# the image


@pytest.mark.parametrize(
    ("corners", "expected", "out"),
    [
        ((0, 0, 4, 3), (0, 0, 4, 3), False),
        ((-2, -1, 9, 2), (0, 0, 4, 2), True),
        ((3.6, 0, 5, 3), None, True),  # rounded to 4: outside
        ((4, 0, 5, 3), None, True),
        ((1, 1, 1, 2), None, False),
        ((3, 0, 1, 3), None, False),
        ((1.5, 0.5, 2.5, 1.5), (2, 1, 3, 2), False),  # as large as it was
        ((1.1, 0.2, 1.4, 2.2), (1, 0, 2, 2), False),  # narrower than a pixel
    ],
)
def test_boxes_are_cut_to_the_image_and_nothing_is_left_of_those_outside(corners, expected, out):
    box = RawBox("cat", corners, False, "")
    assert clip_and_round(box, 3, 4) == expected
    assert exceeds_image(box, 3, 4) is out


def test_json_nested_without_end_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with raises_naming(InputError, "a.json"):
        read_coco(tmp_path / "a.json")
