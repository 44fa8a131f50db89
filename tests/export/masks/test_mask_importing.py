"""What tools write is read: shapes, names, classes, sizes; what cannot be used is named."""

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from facts import raises_naming
from label_masks import CLASSES, write_masks
from PIL import Image

pytest.importorskip("cv2", reason="an extra: wsss-lightning[masks]")
pytest.importorskip("pycocotools", reason="an extra: wsss-lightning[masks]")

from wsss_lightning.data.scores import load_mask
from wsss_lightning.data.sources.names import ImageIndex
from wsss_lightning.errors import InputError
from wsss_lightning.export.masks.exporting import ExportOptions, export_masks
from wsss_lightning.export.masks.importing import ImportOptions, ImportReport, import_masks
from wsss_lightning.export.masks.sources import open_source

SIZE = (8, 10)  # height, width


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.png", "sub/c d.jpg"):
        Image.new("RGB", SIZE[::-1]).save(folder / name)
    return folder


def read(export: Path, name: str, images: Path, **options) -> tuple[ImportReport, Path]:
    out = images.parent / "out"
    settings = ImportOptions(["cat", "hot dog"], ImageIndex(images, out), **options)
    return import_masks(export, name, out, settings, True, lambda items, *_: iter(items)), out


def coco(folder: Path, *annotations: dict, file: str = "a.jpg", **image) -> Path:
    folder.mkdir(exist_ok=True)
    content = {
        "images": [{"id": 7, "file_name": file, "height": 8, "width": 10, **image}],
        "categories": [
            {"id": 3, "name": "cat"}, {"id": 9, "name": "Hot_Dog"}, {"id": 4, "name": "cow"},
        ],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": 3, **one} for i, one in enumerate(annotations)
        ],
    }  # fmt: skip
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


BOX = [[1, 1, 4, 1, 4, 3, 1, 3]]


def expected(*boxes: tuple[int, slice, slice]) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    for label, ys, xs in boxes:
        mask[ys, xs] = label
    return mask


def test_coco_polygons_run_lengths_and_crowds_become_labels(images, tmp_path):
    inside = np.zeros(SIZE, np.uint8)
    inside[5:7, 2:9] = 1
    flat = inside.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, len(flat)]).tolist()
    crowd = {"segmentation": {"size": list(SIZE), "counts": counts}, "iscrowd": 1}
    path = coco(tmp_path / "x", {"segmentation": BOX}, {**crowd, "category_id": 9})
    report, out = read(path, "coco", images)
    boxes = (1, slice(1, 3), slice(1, 4)), (2, slice(5, 7), slice(2, 9))
    np.testing.assert_array_equal(load_mask(out / "a.png"), expected(*boxes))
    assert report.renamed == {"Hot_Dog": "hot dog"}
    written = json.loads((out / "classes.json").read_text())
    assert [one["name"] for one in written] == ["background", "cat", "hot dog"]


@pytest.mark.parametrize(
    ("annotation", "facts"),
    [
        ({"segmentation": []}, ["a.jpg", "object 0"]),
        ({"segmentation": [[1, 1, 2, 2]]}, ["a.jpg", "three points"]),
        ({"segmentation": [[1, 1, 2, 2, 3, "x"]]}, ["a.jpg", "object 0"]),
        ({"segmentation": {"size": [4, 4], "counts": [16]}}, ["a.jpg", "4x4", "10x8"]),
        ({"segmentation": {"size": list(SIZE), "counts": [7]}}, ["a.jpg", 7, 80]),
        ({"segmentation": {"size": list(SIZE), "counts": "PPYo00"}}, ["a.jpg", 80]),
        ({"segmentation": {"size": list(SIZE), "counts": "~~"}}, ["a.jpg", "object 0"]),
        ({"segmentation": BOX, "category_id": 77}, ["a.jpg", 77]),
        ({"segmentation": [[1, 1, 5, 1, 5, 900]]}, ["a.jpg", 900, "10x8"]),
        ({"segmentation": BOX, "category_id": 4}, ["cow", "cat", "--map"]),
    ],
)
def test_objects_of_coco_that_cannot_be_read_are_named(images, tmp_path, annotation, facts):
    path = coco(tmp_path / "x", annotation)
    with raises_naming(InputError, *facts):
        read(path, "coco", images)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("what", "facts"),
    [
        ({"width": 20}, ["20x8", "a.jpg", "10x8"]),
        ({"file": "absent.jpg"}, ["absent.jpg", "--images"]),
        ({"height": None}, ["instances.json", "height"]),
    ],
)
def test_images_that_do_not_fit_are_named(images, tmp_path, what, facts):
    with raises_naming(InputError, *facts):
        read(coco(tmp_path / "x", {"segmentation": BOX}, **what), "coco", images)


def test_all_images_that_cannot_be_used_are_reported_together(images, tmp_path):
    path = coco(tmp_path / "x")
    content = json.loads(path.read_text())
    content["images"] += [
        {"id": i, "file_name": f"no_{i}.jpg", "height": 8, "width": 10} for i in range(7)
    ]
    path.write_text(json.dumps(content | {"annotations": []}))
    with raises_naming(InputError, "no_0.jpg", "no_4.jpg", "2 more"):
        read(path, "coco", images)


def test_an_image_annotated_twice_is_refused(images, tmp_path):
    path = coco(tmp_path / "x")
    content = json.loads(path.read_text())
    content["images"].append({**content["images"][0], "id": 8, "file_name": "images/a.jpg"})
    path.write_text(json.dumps(content))
    with raises_naming(InputError, "images/a.jpg", "a.jpg"):
        read(path, "coco", images)


def test_classes_are_renamed_ignored_and_made_background(images, tmp_path):
    path = coco(
        tmp_path / "x",
        {"segmentation": [[0, 0, 10, 0, 10, 8, 0, 8]], "category_id": 4},
        {"segmentation": BOX},
        {"segmentation": [[5, 5, 9, 5, 9, 7, 5, 7]], "category_id": 9},
    )
    mapping = {"cow": "ignored", "cat": "background", "Hot_Dog": "cat"}
    _, out = read(path, "coco", images, mapping=mapping)
    mask = np.full(SIZE, 255, np.uint8)
    mask[1:3, 1:4], mask[5:7, 5:9] = 0, 1
    np.testing.assert_array_equal(load_mask(out / "a.png"), mask)
    with raises_naming(InputError, "--map", "cwo", "cow"):
        read(path, "coco", images, mapping={"cwo": "cat"})


def test_only_masks_that_changed_since_the_export_are_written(tmp_path):
    masks = write_masks(tmp_path)
    source = open_source(tmp_path / "masks", images=tmp_path / "images")
    for name in ("labelme", "label-studio"):
        export = tmp_path / name
        export_masks(source, name, export, ExportOptions(), False, lambda items, *_: iter(items))
        corrected = tmp_path / f"{name} corrected"
        shutil.copytree(export, corrected)
        if name == "labelme":
            # in the images' folder, where labelme itself saves
            path = corrected / "sub/a b.json"
            content = json.loads(path.read_text(encoding="utf-8"))
            content["shapes"] = []
            path.write_text(json.dumps(content))
        else:
            tasks = json.loads((corrected / "tasks.json").read_text(encoding="utf-8"))
            for task in tasks[:3]:
                task["annotations"] = [{"result": task["predictions"][0]["result"]}]
            changed = next(task for task in tasks if task["data"]["name"] == "sub/a b.png")
            changed["annotations"] = [
                {"result": [], "updated_at": "2026-02"},
                {"result": task["predictions"][0]["result"], "updated_at": "2026-01"},
            ]
            (corrected / "tasks.json").write_text(json.dumps(tasks))
        index = ImageIndex(tmp_path / "images", tmp_path / "out")
        options = ImportOptions(CLASSES, index, original=export)
        out = tmp_path / "out"
        report = import_masks(corrected, name, out, options, True, lambda items, *_: iter(items))
        assert report.names == ["sub/a b"]
        assert not load_mask(out / "sub/a b.png").any()
        # Label Studio says which tasks were annotated
        assert len(report.unchanged) == len(masks) - (1 if name == "labelme" else 2)
    with raises_naming(InputError, "4 masks", tmp_path / "labelme"):
        import_masks(
            tmp_path / "labelme",
            "labelme",
            tmp_path / "none",
            ImportOptions(CLASSES, index, original=tmp_path / "labelme"),
            False,
            lambda items, *_: iter(items),
        )


def labelme(folder: Path, *shapes: dict, image: str = "../images/a.jpg") -> Path:
    folder.mkdir(exist_ok=True)
    content = {"imagePath": image, "imageHeight": 8, "imageWidth": 10, "shapes": shapes}
    (folder / "a.json").write_text(json.dumps(content))
    return folder


def png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


BLOCK = png(np.ones((2, 2), bool))


def test_shapes_of_labelme_are_drawn_in_their_order(images, tmp_path):
    bits = np.array([[1, 0], [1, 1]], bool)
    folder = labelme(
        tmp_path / "x",
        {"label": "cat", "shape_type": "rectangle", "points": [[8, 6], [1, 1]]},
        {"label": "hot dog", "shape_type": "circle", "points": [[4, 4], [4, 5.5]]},
        {"label": "ignore", "shape_type": "mask", "points": [[2, 5], [3, 6]], "mask": png(bits)},
        {"label": "background", "points": [[6, 1], [8, 1], [8, 2], [6, 2]]},
        image="..\\images\\a.jpg",
    )
    _, out = read(folder, "labelme", images)
    mask = expected((1, slice(1, 6), slice(1, 8)), (0, slice(1, 2), slice(6, 8)))
    y, x = np.mgrid[:8, :10] + 0.5
    mask[(x - 4) ** 2 + (y - 4) ** 2 < 1.5**2] = 2
    mask[5, 2] = mask[6, 2] = mask[6, 3] = 255
    np.testing.assert_array_equal(load_mask(out / "a.png"), mask)


@pytest.mark.parametrize(
    ("shape", "facts"),
    [
        ({"label": "cat", "shape_type": "line", "points": [[1, 1], [2, 2]]}, ["line", "polygon"]),
        ({"label": "cat", "shape_type": "rectangle", "points": [[1, 1]]}, ["shape 1"]),
        ({"shape_type": "polygon", "points": [[1, 1]]}, ["shape 1", "label"]),
        ({"label": "cat", "shape_type": "mask", "points": [[9, 7]], "mask": BLOCK}, ["2x2"]),
        ({"label": "cat", "shape_type": "mask", "points": [[1, 1]], "mask": "AAAA"}, ["PNG"]),
    ],
)  # fmt: skip
def test_shapes_of_labelme_that_cannot_be_used_are_named(images, tmp_path, shape, facts):
    with raises_naming(InputError, "a.json", *facts):
        read(labelme(tmp_path / "x", shape), "labelme", images)


def cvat(folder: Path, shapes: str, root: str = "annotations") -> Path:
    folder.mkdir(exist_ok=True)
    image = f'<image id="0" name="c d.jpg" width="10" height="8">{shapes}</image>'
    (folder / "annotations.xml").write_text(f"<{root}><version>1.1</version>{image}</{root}>")
    return folder


def test_shapes_of_cvat_are_drawn_by_z_order(images, tmp_path):
    folder = cvat(
        tmp_path / "x",
        '<tag label="cat"/>'
        '<box label="hot dog" xtl="2" ytl="2" xbr="5" ybr="4" z_order="1"/>'
        '<polygon label="cat" points="1,1;6,1;6,6;1,6" z_order="0"/>'
        '<box label="cat" xtl="7" ytl="4" xbr="9" ybr="5" rotation="90"/>'
        '<mask label="ignored" rle="1,2,3" left="4" top="0" width="3" height="2" z_order="2"/>',
    )
    _, out = read(folder, "cvat", images)
    mask = expected((1, slice(1, 6), slice(1, 6)), (2, slice(2, 4), slice(2, 5)))
    # rotated by a quarter around (8, 4.5)
    np.testing.assert_array_equal(load_mask(out / "sub/c d.png")[:, :7], with_run(mask)[:, :7])
    assert load_mask(out / "sub/c d.png")[:, 7:].any()


def with_run(mask: np.ndarray) -> np.ndarray:
    mask[0, 5:7] = 255
    return mask


@pytest.mark.parametrize(
    ("shapes", "root", "facts"),
    [
        ('<polyline label="cat" points="1,1;2,2"/>', "annotations", ["polyline", "polygon"]),
        ('<polygon points="1,1;2,2;3,4"/>', "annotations", ["label", "c d.jpg"]),
        ('<polygon label="cat" points="1,1;2;3,4"/>', "annotations", ["c d.jpg"]),
        ('<mask label="cat" rle="1,2" left="0" top="0" width="3" height="2"/>', "annotations", [3]),
        ("", "other", ["annotations.xml", "other"]),
        ("<", "annotations", ["annotations.xml"]),
    ],
)
def test_shapes_of_cvat_that_cannot_be_used_are_named(images, tmp_path, shapes, root, facts):
    with raises_naming(InputError, *facts):
        read(cvat(tmp_path / "x", shapes, root), "cvat", images)


def studio(folder: Path, *results: dict, url: str = "/data/upload/3/0a1b2c3d-a.jpg") -> Path:
    folder.mkdir(exist_ok=True)
    fixed = {"original_width": 10, "original_height": 8, "image_rotation": 0}
    annotation = {"result": [{**fixed, **one} for one in results]}
    path = folder / "export.json"
    path.write_text(json.dumps([{"id": 5, "data": {"image": url}, "annotations": [annotation]}]))
    return path


def result(kind: str, **value) -> dict:
    return {"type": kind, "value": {kind: ["cat"], **value}}


@pytest.mark.parametrize(
    "url",
    [
        "/data/upload/3/0a1b2c3d-a.jpg",
        "/data/local-files/?d=photos/images/a.jpg",
        "https://host/bucket/images/a.jpg?token=1",
        "s3://bucket/a.jpg",
    ],
)
def test_shapes_of_label_studio_are_in_percent(images, tmp_path, url):
    path = studio(
        tmp_path / "x",
        result("polygonlabels", points=[[10, 0], [50, 0], [50, 50], [10, 50]]),
        result("rectanglelabels", x=50, y=50, width=50, height=50, rotation=0),
        {"type": "choices", "value": {"choices": ["good"]}},
        url=url,
    )
    _, out = read(path, "label-studio", images)
    boxes = (1, slice(0, 4), slice(1, 5)), (1, slice(4, 8), slice(5, 10))
    np.testing.assert_array_equal(load_mask(out / "a.png"), expected(*boxes))


def test_values_that_are_not_runs_are_decoded(images, tmp_path):
    """Label Studio's own brush mixes runs and lists of values."""
    alpha = np.zeros(SIZE, int)
    alpha[2, 3], alpha[2, 4], alpha[7, 9] = 200, 100, 255
    bits = f"{320:032b}" + f"{7:05b}" + "0010" + "0011" + "0111" + "1111"
    for pixel in alpha.ravel():
        listed = f"{0:08b}" * 3 + f"{pixel:08b}"
        bits += f"0{0:02b}{3:03b}{listed}"
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    path = studio(tmp_path / "x", result("brushlabels", format="rle", rle=rle))
    _, out = read(path, "label-studio", images)
    np.testing.assert_array_equal(load_mask(out / "a.png"), (alpha >= 128).astype(np.uint8))
    for damaged in (rle[:20], rle[:8]):
        path = studio(tmp_path / "x", result("brushlabels", format="rle", rle=damaged))
        with raises_naming(InputError, "task 5", "cut off"):
            read(path, "label-studio", images)


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        (result("keypointlabels", x=1, y=1), ["keypointlabels", "task 5"]),
        (result("polygonlabels", points=[[1, 1], [2]]), ["task 5", "polygonlabels"]),
        (result("polygonlabels", points=[[1, 1], [2, 2]]), ["task 5", "three"]),
        ({**result("polygonlabels", points=[]), "image_rotation": 90}, ["task 5", 90]),
        ({"type": "polygonlabels"}, ["task 5", "value"]),
    ],
)
def test_results_of_label_studio_that_cannot_be_used_are_named(images, tmp_path, given, facts):
    with raises_naming(InputError, *facts):
        read(studio(tmp_path / "x", given), "label-studio", images)


def yolo(folder: Path, text: str, names: str | None = "names: [cat, hot dog]") -> Path:
    (folder / "labels/train").mkdir(parents=True)
    (folder / "labels/train/a.txt").write_text(text)
    if names is not None:
        (folder / "data.yaml").write_text(names)
    return folder


def test_yolo_boxes_and_polygons_are_read_below_folders_of_splits(images, tmp_path):
    text = "1 0.1 0.25 0.5 0.25 0.5 0.5 0.1 0.5\n\n0 0.75 0.75 0.5 0.5\n"
    for name, names in (("x", "names: {0: cat, 1: hot dog}"), ("y", None)):
        _, out = read(yolo(tmp_path / name, text, names), "yolo-seg", images)
        boxes = (2, slice(2, 4), slice(1, 5)), (1, slice(4, 8), slice(5, 10))
        np.testing.assert_array_equal(load_mask(out / "a.png"), expected(*boxes))


@pytest.mark.parametrize(
    ("text", "names", "facts"),
    [
        ("2 0 0 1 0 1 1", "names: [cat]", ["a.txt", "line 1", 2, "0 cat"]),
        ("0 0 0 1 0 1", "names: [cat]", ["a.txt", "line 1", 5]),
        ("0 0 0 100 0 100 50", "names: [cat]", ["a.txt", "line 1", 100]),
        ("cat 0 0 1 0 1 1", "names: [cat]", ["a.txt", "line 1"]),
        ("0 0 0 1 0 1 1", "names: 3", ["data.yaml", "names"]),
    ],
)
def test_lines_of_yolo_that_cannot_be_used_are_named(images, tmp_path, text, names, facts):
    with raises_naming(InputError, *facts):
        read(yolo(tmp_path / "x", text, names), "yolo-seg", images)


def test_colours_of_voc_masks_may_be_of_any_label_map(images, tmp_path):
    folder = tmp_path / "x"
    (folder / "SegmentationClass").mkdir(parents=True)
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[1:3, 1:4] = 10, 20, 30
    pixels[5:, 5:] = 224, 224, 192
    Image.fromarray(pixels).save(folder / "SegmentationClass/a.png")
    (folder / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:10,20,30::\n"
    )
    _, out = read(folder, "voc", images)
    boxes = (1, slice(1, 3), slice(1, 4)), (255, slice(5, 8), slice(5, 10))
    np.testing.assert_array_equal(load_mask(out / "a.png"), expected(*boxes))
    (folder / "labelmap.txt").write_text("background:0,0,0::\n")
    with raises_naming(InputError, "a.png", "[10, 20, 30]", "labelmap.txt"):
        read(folder, "voc", images)
    (folder / "labelmap.txt").write_text("background:black::\n")
    with raises_naming(InputError, "labelmap.txt", "line 1"):
        read(folder, "voc", images)


def test_an_archive_is_read_like_its_folder(images, tmp_path):
    cvat(tmp_path / "x", '<polygon label="cat" points="1,1;4,1;4,3;1,3"/>')
    archive = Path(shutil.make_archive(str(tmp_path / "task"), "zip", tmp_path / "x"))
    _, out = read(archive, "cvat", images)
    mask = expected((1, slice(1, 3), slice(1, 4)))
    np.testing.assert_array_equal(load_mask(out / "sub/c d.png"), mask)
    archive.write_bytes(archive.read_bytes()[:40])
    with raises_naming(InputError, "task.zip"):
        read(archive, "cvat", images)


def test_an_image_turned_by_its_exif_orientation_needs_masks_as_it_is_shown(images, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (8, 10)).save(images / "a.jpg", exif=exif)  # shown as 10 x 8
    _, out = read(coco(tmp_path / "x", {"segmentation": BOX}), "coco", images)
    assert load_mask(out / "a.png").shape == SIZE
    with raises_naming(InputError, "EXIF", 6):
        read(coco(tmp_path / "x", {"segmentation": BOX}, width=8, height=10), "coco", images)
