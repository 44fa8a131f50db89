"""The same boxes in every format of annotations give the same tags and boxes."""

import json
from pathlib import Path

import pytest
from facts import assert_names, raises_naming
from photo_sets import opened

from wsss_lightning.data.folder.sources import read_labels
from wsss_lightning.errors import InputError

# photos are of 64 x 48 pixels
BOXES = {
    "images/a 1.jpg": [("cat", 8, 6, 24, 30), ("dog", 32, 12, 64, 48)],
    "images/sub/b.PNG": [("dog", 0, 0, 16, 12)],
    "images/c.v2.jpg": [],
}
CLASSES = ["cat", "dog"]
OTHER_COCO = '{"images": [{"id": 1, "file_name": "z.jpg"}], "categories": [], "annotations": []}'
SIZE = 'width="64" height="48"'


@pytest.fixture
def photos(tmp_path):
    return opened(tmp_path / "set", [*BOXES, "images/unlabelled.jpg"])


def write_coco(root: Path) -> Path:
    images = [
        {"id": i, "file_name": name.rpartition("/")[2], "width": 64, "height": 48}
        for i, name in enumerate(BOXES)
    ]
    annotations = [
        {"id": 1, "image_id": i, "category_id": CLASSES.index(c) + 5, "bbox": [x, y, r - x, b - y]}
        for i, boxes in enumerate(BOXES.values())
        for c, x, y, r, b in boxes
    ]
    categories = [{"id": i + 5, "name": c} for i, c in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "instances.json").write_text(json.dumps(content))
    return root / "instances.json"


def write_voc(root: Path) -> Path:
    for name, boxes in BOXES.items():
        objects = "".join(
            f"<object><name>{c}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
            f"<xmax>{r}</xmax><ymax>{b}</ymax></bndbox></object>"
            for c, x, y, r, b in boxes
        )
        path = (root / "Annotations" / name.removeprefix("images/")).with_suffix(".xml")
        path.parent.mkdir(parents=True, exist_ok=True)
        size = "<size><width>64</width><height>48</height></size>"
        path.write_text(f"<annotation>{size}{objects}</annotation>")
    return root / "Annotations"


def write_yolo(root: Path) -> Path:
    """A box as such, and one as an outline of four points."""
    for name, boxes in BOXES.items():
        lines = []
        for i, (c, x, y, r, b) in enumerate(boxes):
            if i == 0:
                numbers = [(x + r) / 128, (y + b) / 96, (r - x) / 64, (b - y) / 48]
            else:
                numbers = [
                    v for p in ((x, y), (r, y), (r, b), (x, b)) for v in (p[0] / 64, p[1] / 48)
                ]
            lines.append(" ".join(map(str, [CLASSES.index(c), *numbers])))
        path = (root / name.replace("images", "labels", 1)).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines))
    (root / "data.yaml").write_text("train: images\nnames: {0: cat, 1: dog}\n")
    return root / "labels"


def write_labelme(root: Path) -> Path:
    for name, boxes in BOXES.items():
        shapes = [
            {"label": c, "points": [[x, y], [r, b]], "shape_type": "rectangle"}
            if i == 0
            else {"label": c, "points": [[x, y], [r, y], [r, b], [x, b]], "shape_type": "polygon"}
            for i, (c, x, y, r, b) in enumerate(boxes)
        ]
        content = {"shapes": shapes, "imagePath": "..\\img\\" + name.rpartition("/")[2]}
        content |= {"imageHeight": 48, "imageWidth": 64, "flags": {}}
        (root / name).with_suffix(".json").write_text(json.dumps(content))  # beside the photos
    return root


def write_cvat(root: Path) -> Path:
    images = ""
    for i, (name, boxes) in enumerate(BOXES.items()):
        shapes = "".join(
            f'<box label="{c}" xtl="{x}" ytl="{y}" xbr="{r}" ybr="{b}"/>'
            if k == 0
            else f'<polygon label="{c}" points="{x},{y};{r},{y};{r},{b};{x},{b}"/>'
            for k, (c, x, y, r, b) in enumerate(boxes)
        )
        images += f'<image id="{i}" name="{name}" {SIZE}>{shapes}</image>'
    (root / "annotations.xml").write_text(f"<annotations>{images}</annotations>")
    return root / "annotations.xml"


def write_table(root: Path) -> Path:
    rows = [f"{n};{c};{x};{y};{r};{b}" for n, boxes in BOXES.items() for c, x, y, r, b in boxes]
    rows.append("images/c.v2.jpg;;;;;")
    (root / "boxes.csv").write_text("\n".join(["filename;class;xmin;ymin;xmax;ymax", *rows]))
    return root / "boxes.csv"


WRITERS = (write_coco, write_voc, write_yolo, write_labelme, write_cvat, write_table)


@pytest.mark.parametrize("write", WRITERS, ids=lambda w: w.__name__)
def test_every_format_gives_the_same_tags_and_boxes(photos, write):
    path = write(photos.root)
    labels = read_labels(path, photos, None)
    files = {photo.name: photo.relative for photo in photos.photos}
    assert {files[n]: set(w) for n, w in labels.words.items()} == {
        name: {box[0] for box in boxes} for name, boxes in BOXES.items()
    }
    assert labels.boxes is not None
    drawn = {
        files[n]: [(b.name, *map(round, b.corners)) for b in boxes]
        for n, boxes in labels.boxes.items()
        if boxes
    }
    assert drawn == {name: boxes for name, boxes in BOXES.items() if boxes}
    assert labels.missing == []
    assert labels.problems == []


def test_a_data_file_of_yolo_names_classes_and_labels(photos):
    write_yolo(photos.root)
    assert read_labels(photos.root / "data.yaml", photos, None).words["images/a 1"] == CLASSES
    (photos.root / "data.yaml").unlink()
    with raises_naming(InputError, "classes.txt", "data.yaml"):
        read_labels(photos.root / "labels", photos, None)
    (photos.root / "labels/classes.txt").write_text("cat\ndog\n")
    assert read_labels(photos.root / "labels", photos, None).words["images/a 1"] == CLASSES
    (photos.root / "labels/classes.txt").write_text("cat\n")
    with raises_naming(InputError, "a 1.txt", "line 2", "class 1"):
        read_labels(photos.root / "labels", photos, None)


def test_pixels_in_files_of_yolo_are_refused(photos):
    write_yolo(photos.root)
    (photos.root / "labels/a 1.txt").write_text("0 16 18 16 24\n")
    with raises_naming(InputError, "a 1.txt", "line 1", "[0, 1]"):
        read_labels(photos.root / "labels", photos, None)


def test_tags_and_points_of_cvat_give_tags_without_boxes(photos):
    path = photos.root / "a.xml"
    path.write_text(
        f'<annotations><image name="a 1.jpg" {SIZE}><tag label="cat"/>'
        '<points label="dog" points="3,4"/></image></annotations>'
    )
    labels = read_labels(path, photos, None)
    assert labels.words == {"images/a 1": ["cat", "dog"]}
    assert labels.boxes is None


def test_flags_of_labelme_are_tags_and_circles_have_boxes(photos):
    shapes = [{"label": "dog", "points": [[20, 20], [23, 24]], "shape_type": "circle"}]
    content = {"shapes": shapes, "flags": {"cat": True, "horse": False}, "imagePath": "a 1.jpg"}
    (photos.root / "x.json").write_text(json.dumps(content))
    labels = read_labels(photos.root / "x.json", photos, None)
    assert labels.words == {"images/a 1": ["cat", "dog"]}
    assert labels.boxes["images/a 1"][0].corners == (15, 15, 25, 25)


def test_a_box_outside_of_its_photo_is_a_problem_that_names_the_file(photos):
    path = write_table(photos.root)
    path.write_text(path.read_text().replace("32;12;64;48", "90;12;99;48"))
    labels = read_labels(path, photos, None)
    assert [box.name for box in labels.boxes["images/a 1"]] == ["cat"]
    assert_names(labels.problems, "boxes.csv", "dog", "line 3", "a 1.jpg", "64x48")


def test_two_formats_in_one_folder_are_refused(photos):
    write_coco(photos.root)
    write_cvat(photos.root)
    with raises_naming(InputError, "COCO JSON", "CVAT XML"):
        read_labels(photos.root, photos, None)


@pytest.mark.parametrize(
    ("name", "content", "facts"),
    [
        ("tags.xlsx", "PK", ["tags.xlsx", "tags.csv"]),
        ("tags.json", "{}", ["tags.json", "COCO JSON", "labelme"]),
        ("tags.xml", "<annotations><track/></annotations>", ["tags.xml", "CVAT for images 1.1"]),
        ("tags.xml", "<annotation>", ["tags.xml"]),
        ("tags.docx", "PK", ["tags.docx", ".docx"]),
        ("a.jpg", "", ["a.jpg", "image"]),
        ("c.json", OTHER_COCO, ["c.json", "z.jpg", "a 1.jpg"]),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_used_are_refused_by_name(photos, tmp_path, name, content, facts):
    (tmp_path / name).write_text(content)
    with raises_naming(InputError, *facts):
        read_labels(tmp_path / name, photos, None)


def test_an_empty_folder_of_labels_is_refused(photos, tmp_path):
    (tmp_path / "labels").mkdir()
    with raises_naming(InputError, tmp_path / "labels", "YOLO"):
        read_labels(tmp_path / "labels", photos, None)
