"""Each format is written, and read by our reader and by an independent one."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from facts import raises_naming
from label_masks import CLASSES, IMAGES, iou, naive_fill, write_masks
from PIL import Image

pytest.importorskip("cv2", reason="an extra: wsss-lightning[masks]")
pytest.importorskip("pycocotools", reason="an extra: wsss-lightning[masks]")

from wsss_lightning.data.scores import load_mask
from wsss_lightning.data.sources.names import ImageIndex
from wsss_lightning.errors import InputError
from wsss_lightning.export.masks.exporting import ExportOptions, export_masks
from wsss_lightning.export.masks.formats import FORMATS
from wsss_lightning.export.masks.importing import ImportOptions, import_masks
from wsss_lightning.export.masks.sources import open_source

LABELS = {"background": 0, "ignored": 255} | {name: i for i, name in enumerate(CLASSES, start=1)}


def silent(items, total, text):
    return iter(items)


def export(root: Path, name: str, **options) -> Path:
    source = open_source(root / "masks", images=root / "images")
    export_masks(source, name, root / name, ExportOptions(**options), False, silent)
    return root / name


def back(root: Path, name: str, path: Path | None = None, **options) -> dict[str, np.ndarray]:
    index = ImageIndex(root / "images", root / "back")
    given = {"predictions": True, **options}
    settings = ImportOptions(CLASSES, index, **given)
    import_masks(path or root / name, name, root / "back", settings, True, silent)
    return {
        path.relative_to(root / "back").with_suffix("").as_posix(): load_mask(path)
        for path in (root / "back").rglob("*.png")
    }


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, mask in expected.items():
        np.testing.assert_array_equal(found[name], mask, err_msg=name)


@pytest.mark.parametrize("name", FORMATS)
def test_exact_exports_come_back_unchanged(name, tmp_path):
    masks = write_masks(tmp_path)
    export(tmp_path, name, simplify=0)
    assert_equal(back(tmp_path, name), masks)


@pytest.mark.parametrize("name", [name for name, one in FORMATS.items() if one.merges])
def test_whole_classes_come_back_unchanged(name, tmp_path):
    masks = write_masks(tmp_path)
    export(tmp_path, name, simplify=0, merge=True)
    assert_equal(back(tmp_path, name), masks)


@pytest.mark.parametrize("name", FORMATS)
def test_ignored_pixels_come_back_ignored_if_they_are_kept(name, tmp_path):
    masks = write_masks(tmp_path, ignored=True)
    export(tmp_path, name, simplify=0, keep_ignored=True)
    assert_equal(back(tmp_path, name), masks)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "voc"])
def test_ignored_pixels_are_left_out_otherwise(name, tmp_path):
    masks = write_masks(tmp_path, ignored=True)
    export(tmp_path, name, simplify=0)
    assert_equal(back(tmp_path, name), {n: np.where(m == 255, 0, m) for n, m in masks.items()})


@pytest.mark.parametrize("name", [name for name, one in FORMATS.items() if one.polygons])
def test_simplified_polygons_come_back_nearly_unchanged(name, tmp_path):
    masks = write_masks(tmp_path)
    export(tmp_path, name, simplify=1.0)
    found = back(tmp_path, name)
    assert found.keys() == masks.keys()
    assert min(iou(found[one], masks[one]) for one in masks) > 0.85
    assert any((found[one] != masks[one]).any() for one in masks)


def painted(root: Path, shapes: dict[str, list[tuple[str, np.ndarray]]]) -> dict[str, np.ndarray]:
    """Masks of pixels by image file; later ones on top."""
    masks = {}
    for name, suffix in IMAGES.items():
        with Image.open(root / f"images/{name}{suffix}") as image:
            mask = np.zeros(image.size[::-1], np.uint8)
        for label, inside in shapes[f"{name}{suffix}"]:
            mask[inside] = LABELS[label]
        masks[name] = mask
    return masks


def size_of(root: Path, file: str) -> tuple[int, int]:
    with Image.open(root / "images" / file) as image:
        return image.height, image.width


@pytest.mark.parametrize("name", ["coco", "coco-rle"])
def test_pycocotools_opens_coco_and_its_boxes_areas_and_ids_are_right(name, tmp_path):
    from pycocotools.coco import COCO

    masks = write_masks(tmp_path)
    coco = COCO(str(export(tmp_path, name, simplify=0) / "instances.json"))
    names = {one["id"]: one["name"] for one in coco.cats.values()}
    assert list(names.values()) == CLASSES
    assert sorted(coco.imgs) == [1, 2, 3, 4]
    assert sorted(coco.anns) == list(range(1, len(coco.anns) + 1))
    shapes: dict = {}
    for image in coco.imgs.values():
        assert (image["height"], image["width"]) == size_of(tmp_path, image["file_name"])
        for one in coco.imgToAnns[image["id"]]:
            inside = coco.annToMask(one).astype(bool)
            ys, xs = np.nonzero(inside)
            width, height = np.ptp(xs) + 1, np.ptp(ys) + 1
            assert one["area"] == inside.sum()
            assert one["bbox"] == [xs.min(), ys.min(), width, height]
            assert one["iscrowd"] == 0
            shape = names[one["category_id"]], inside
            shapes.setdefault(image["file_name"], []).append(shape)
    assert_equal(painted(tmp_path, shapes), masks)


def test_yolo_lines_are_rings_in_shares_of_the_size(tmp_path):
    masks = write_masks(tmp_path)
    folder = export(tmp_path, "yolo-seg", simplify=0)
    data = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    assert Path(data["path"]) == folder
    shapes: dict = {}
    for name, suffix in IMAGES.items():
        # ultralytics replaces `images` in the path of an image
        image = folder / data["train"] / f"{name}{suffix}"
        assert image.resolve() == (tmp_path / f"images/{name}{suffix}").resolve()
        height, width = size_of(tmp_path, f"{name}{suffix}")
        for line in (folder / f"labels/{name}.txt").read_text().splitlines():
            index, *values = line.split()
            ring = np.array(values, float).reshape(-1, 2)
            assert ring.min() >= 0
            assert ring.max() <= 1
            inside = naive_fill(ring * [width, height], height, width)
            shapes.setdefault(f"{name}{suffix}", []).append((data["names"][int(index)], inside))
    assert_equal(painted(tmp_path, shapes), masks)


def test_voc_masks_have_the_colours_of_the_label_map(tmp_path):
    masks = write_masks(tmp_path, ignored=True)
    folder = export(tmp_path, "voc")
    lines = (folder / "labelmap.txt").read_text(encoding="utf-8").splitlines()[1:]
    colours = {}
    for line in lines:
        name, colour, parts, actions = line.split(":")
        assert (parts, actions) == ("", "")
        colours[name] = tuple(map(int, colour.split(",")))
    assert colours == {
        "background": (0, 0, 0), "cat": (128, 0, 0), "hot dog": (0, 128, 0), "Käse": (128, 128, 0),
        "ignored": (224, 224, 192),
    }  # fmt: skip
    listed = (folder / "ImageSets/Segmentation/masks.txt").read_text(encoding="utf-8")
    assert listed.splitlines() == sorted(IMAGES)
    for name, mask in masks.items():
        with Image.open(folder / f"SegmentationClass/{name}.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        for label, colour in colours.items():
            np.testing.assert_array_equal((pixels == colour).all(2), mask == LABELS[label])


def test_labelme_files_name_their_image_and_hold_its_polygons(tmp_path):
    masks = write_masks(tmp_path)
    folder = export(tmp_path, "labelme", simplify=0)
    shapes: dict = {}
    for name, suffix in IMAGES.items():
        path = folder / f"{name}.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        image = (path.parent / content["imagePath"]).resolve()
        assert image == (tmp_path / f"images/{name}{suffix}").resolve()
        size = content["imageHeight"], content["imageWidth"]
        assert size == size_of(tmp_path, f"{name}{suffix}")
        assert content["imageData"] is None
        assert {shape["shape_type"] for shape in content["shapes"]} == {"polygon"}
        shapes[f"{name}{suffix}"] = [
            (shape["label"], naive_fill(np.array(shape["points"]), *size))
            for shape in content["shapes"]
        ]
    assert_equal(painted(tmp_path, shapes), masks)


def test_cvat_files_hold_labels_sizes_and_polygons(tmp_path):
    masks = write_masks(tmp_path)
    root = ElementTree.parse(export(tmp_path, "cvat", simplify=0) / "annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert [node.findtext("name") for node in root.iter("label")] == CLASSES
    shapes = {}
    for image in root.iter("image"):
        size = int(image.attrib["height"]), int(image.attrib["width"])
        assert size == size_of(tmp_path, image.attrib["name"])
        rings = {
            node: np.array([pair.split(",") for pair in node.attrib["points"].split(";")], float)
            for node in image.iter("polygon")
        }
        shapes[image.attrib["name"]] = [
            (node.attrib["label"], naive_fill(ring, *size)) for node, ring in rings.items()
        ]
    assert_equal(painted(tmp_path, shapes), masks)


def decoded(rle: list[int]) -> np.ndarray:
    """Values of run lengths, bit by bit as in `decode_rle` of label_studio_sdk.converter.brush."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    i = 0

    def read(count: int) -> int:
        nonlocal i
        i += count
        return int(bits[i - count : i], 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        is_run = read(1)
        length = read(sizes[read(2)]) + 1
        values += [read(word)] * length if is_run else [read(word) for _ in range(length)]
    return np.array(values, np.uint8)


def test_label_studio_tasks_hold_brush_masks_as_its_converter_reads_them(tmp_path):
    masks = write_masks(tmp_path)
    folder = export(tmp_path, "label-studio", image_url="http://host/x/")
    shapes: dict = {}
    for task in json.loads((folder / "tasks.json").read_text(encoding="utf-8")):
        assert re.fullmatch(r"http://host/x/[\w./%]+", task["data"]["image"])
        file = task["data"]["name"]
        for result in task["predictions"][0]["result"]:
            size = result["original_height"], result["original_width"]
            assert size == size_of(tmp_path, file)
            value = result["value"]
            pixels = decoded(value["rle"]).reshape(*size, 4)
            assert (result["type"], value["format"]) == ("brushlabels", "rle")
            shapes.setdefault(file, []).append((value["brushlabels"][0], pixels[..., 3] > 127))
    assert_equal(painted(tmp_path, shapes), masks)
    config = ElementTree.parse(folder / "label_config.xml").getroot()
    brush = config.find("BrushLabels")
    assert [label.attrib["value"] for label in brush] == CLASSES
    assert (brush.attrib["name"], brush.attrib["toName"]) == (result["from_name"], "image")
    assert config.find("Image").attrib == {"name": "image", "value": "$image", "zoom": "true"}


def test_a_format_whose_objects_have_one_part_cannot_merge(tmp_path):
    write_masks(tmp_path)
    with raises_naming(InputError, "--merge", "yolo-seg"):
        export(tmp_path, "yolo-seg", merge=True)
