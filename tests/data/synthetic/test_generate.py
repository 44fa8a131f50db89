import csv
import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from facts import raises_naming
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wsss_lightning.data.synthetic import generate as generation
from wsss_lightning.data.synthetic.composition import (
    WorldSettings,
    draw_classes,
    draw_image,
    stay_visible,
)
from wsss_lightning.data.synthetic.drawing import RenderedObject, render
from wsss_lightning.data.synthetic.generate import generate
from wsss_lightning.data.synthetic.scenes import CONTEXTS, SCENES, draw_scene
from wsss_lightning.data.synthetic.shapes import CLASSES, VEHICLES, object_shapes
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE

USUAL = {
    "num_train": 12,
    "num_val": 3,
    "size": 64,
    "seed": 0,
    "part_size": 0.6,
    "subcategories": 3,
    "scale_range": (0.3, 0.8),
    "context": 0.8,
    "texture": 1.0,
    "objects": 3,
}


def world(**changes) -> WorldSettings:
    values = {name: value for name, value in USUAL.items() if not name.startswith("num_")}
    return WorldSettings(**{**values, **changes})


def digests(root) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def table(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def pixels(root, folder, name) -> np.ndarray:
    return np.asarray(Image.open(root / folder / f"{name}.png")).astype(int)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("cache"), **USUAL)


@pytest.fixture(scope="module")
def names(root):
    return (root / "ImageSets" / "Segmentation" / "trainval.txt").read_text().split()


def test_the_layout_is_that_of_voc(root, names):
    lists = root / "ImageSets" / "Segmentation"
    train, val = ((lists / f"{split}.txt").read_text().split() for split in ("train", "val"))
    assert (len(train), len(val)) == (12, 3)
    assert train + val == names
    assert len(set(names)) == 15
    assert (root / "classes.txt").read_text().split() == ["background", *CLASSES]
    for name in names:
        with Image.open(root / "JPEGImages" / f"{name}.jpg") as image:
            assert image.mode == "RGB"
            assert image.size in {(64, 64), (64, 56), (56, 64)}
            for folder in ("SegmentationClass", "SegmentationObject"):
                with Image.open(root / folder / f"{name}.png") as mask:
                    assert mask.mode == "P"
                    assert mask.size == image.size


def test_masks_have_the_palette_of_voc(root, names):
    palette = Image.open(root / "SegmentationClass" / f"{names[0]}.png").getpalette()
    assert palette[:15] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]
    assert palette[3 * IGNORE :] == [224, 224, 192]


def test_tags_are_the_classes_of_the_mask(root, names):
    tags = np.load(root / "cls_labels.npy", allow_pickle=True).item()
    assert list(tags) == names
    for name in names:
        present = set(np.unique(pixels(root, "SegmentationClass", name))) - {0, IGNORE}
        assert tags[name].dtype == np.float32
        assert present == {1 + c for c in np.flatnonzero(tags[name])}


def test_each_instance_has_one_class_and_one_row_of_subcategories(root, names):
    expected = {
        (row["name"], int(row["instance"])): row["class"]
        for row in table(root / "subcategories.csv")
    }
    found = {}
    for name in names:
        instances = pixels(root, "SegmentationObject", name)
        classes = pixels(root, "SegmentationClass", name)
        np.testing.assert_array_equal(instances == IGNORE, classes == IGNORE)
        for i in set(np.unique(instances)) - {0, IGNORE}:
            (label,) = np.unique(classes[instances == i])
            found[name, i] = CLASSES[label - 1]
    assert found == expected


def test_boxes_count_from_one_and_hold_their_instance(root, names):
    for name in names:
        tree = ElementTree.parse(root / "Annotations" / f"{name}.xml")
        instances = pixels(root, "SegmentationObject", name)
        height, width = instances.shape
        assert (tree.findtext("size/width"), tree.findtext("size/height")) == (
            str(width),
            str(height),
        )
        for i, node in enumerate(tree.iterfind("object"), start=1):
            ends = [int(node.findtext(f"bndbox/{end}")) for end in ("xmin", "ymin", "xmax", "ymax")]
            rows, columns = np.nonzero(instances == i)
            tight = [columns.min() + 1, rows.min() + 1, columns.max() + 1, rows.max() + 1]
            # void along a nearer object may take a pixel off what is behind
            slack = 0 if i == len(tree.findall("object")) else 2
            np.testing.assert_allclose(ends, tight, atol=slack)
            assert node.findtext("difficult") == "0"


def test_void_is_a_ring_of_one_pixel_around_a_lone_object(tmp_path):
    root = generate(tmp_path, **{**USUAL, "num_train": 6, "num_val": 1, "objects": 1})
    for path in (root / "SegmentationObject").iterdir():
        instances = np.asarray(Image.open(path))
        solid = np.pad(instances == 1, 1)
        near = np.lib.stride_tricks.sliding_window_view(solid, (3, 3)).any((-1, -2))
        np.testing.assert_array_equal(instances == IGNORE, near & (instances != 1))


def test_the_same_arguments_give_the_same_bytes(root, tmp_path):
    again = generate(tmp_path, **USUAL)
    assert again.name == root.name
    assert digests(again) == digests(root)


def test_a_change_of_any_module_of_the_package_gives_another_root(root, tmp_path, monkeypatch):
    code = generation.source_code()
    modules = list(Path(generation.__file__).parent.glob("*.py"))
    assert len(modules) > 5
    assert all(module.read_bytes() in code for module in modules)
    monkeypatch.setattr(generation, "write_world", lambda folder, *_: folder.mkdir())
    assert generate(tmp_path, **USUAL).name == root.name
    monkeypatch.setattr(generation, "source_code", lambda: code + b" ")
    assert generate(tmp_path, **USUAL).name != root.name


def test_another_seed_gives_another_world():
    first, second = (draw_image(0, world(seed=seed)) for seed in (0, 1))
    assert first.rgb.shape != second.rgb.shape or (first.rgb != second.rgb).any()


def test_an_image_does_not_depend_on_how_many_others_there_are(root, tmp_path):
    fewer = generate(tmp_path, **{**USUAL, "num_train": 2, "num_val": 1})
    whole = digests(root)
    images = {path: d for path, d in digests(fewer).items() if path.startswith("JPEGImages")}
    assert len(images) == 3
    assert images.items() <= whole.items()


def test_a_world_that_is_there_is_not_written_again(root, monkeypatch):
    monkeypatch.setattr(generation, "write_world", lambda *_: pytest.fail("written again"))
    assert generate(root.parent, **USUAL) == root


def test_an_interrupted_generation_leaves_no_root_and_can_be_repeated(tmp_path, monkeypatch):
    few = {**USUAL, "num_train": 2, "num_val": 1}
    draw, drawn = draw_image, []

    def killed(index, settings):
        if drawn:
            raise KeyboardInterrupt
        drawn.append(index)
        return draw(index, settings)

    with monkeypatch.context() as patch:
        patch.setattr(generation, "draw_image", killed)
        with pytest.raises(KeyboardInterrupt):
            generate(tmp_path, **few)
    assert [path.suffix for path in tmp_path.iterdir() if path.is_dir()] == [".partial"]
    root = generate(tmp_path, **few)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [root]
    assert len(list((root / "JPEGImages").iterdir())) == 3


def test_two_who_generate_at_once_get_one_whole_world(tmp_path):
    few = {**USUAL, "num_train": 2, "num_val": 1}
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: generate(tmp_path, **few), range(2))
    assert first == second
    assert len(list((first / "JPEGImages").iterdir())) == 3


def test_the_cache_may_be_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    root = generate("~/worlds", **{**USUAL, "num_train": 1, "num_val": 1})
    assert root.parent == tmp_path / "worlds"


@given(part_size=st.floats(0.2, 1.0), name=st.sampled_from(CLASSES), subcategory=st.integers(0, 3))
def test_the_longer_side_of_the_part_is_part_size_body_heights(part_size, name, subcategory):
    shapes = object_shapes(name, subcategory, part_size, np.random.default_rng(0))
    part = np.concatenate([shape.points for shape in shapes if shape.discriminative])
    assert np.ptp(part, axis=0).max() == pytest.approx(part_size)


def test_a_larger_part_takes_a_larger_share_of_the_object():
    def share(part_size, name):
        rng = np.random.default_rng(0)
        toy = render(object_shapes(name, 0, part_size, rng), 60, tilt=0.0, flip=False, rng=rng)
        return toy.part.sum() / toy.solid.sum()

    for name in CLASSES:
        assert share(0.3, name) < share(0.6, name) < share(0.9, name) < 0.6


@pytest.mark.parametrize("kind", [VEHICLES, ("cat", "dog", "sheep")])
def test_classes_of_one_kind_share_body_colours_and_pattern(kind):
    bodies = []
    for name in kind:
        shapes = object_shapes(name, 1, 0.5, np.random.default_rng(7))
        bodies.append([shape for shape in shapes if not shape.discriminative])
    for body in bodies[1:]:
        for ours, theirs in zip(body, bodies[0], strict=True):
            np.testing.assert_array_equal(ours.points, theirs.points)
            assert (ours.colour, ours.mark_colour) == (theirs.colour, theirs.mark_colour)
            assert len(ours.marks) == len(theirs.marks)


@settings(max_examples=15)
@given(index=st.integers(0, 10_000), low=st.floats(0.2, 0.9), flat=st.booleans())
def test_a_lone_object_is_as_large_as_the_scale_range_says(index, low, flat):
    high = low if flat else 0.9
    picture = draw_image(index, world(objects=1, scale_range=(low, high)))
    ((_, _, (x0, y0, x1, y1)),) = picture.instances
    side = min(picture.instance_map.shape)
    # antialiased tips lose up to a pixel or two on each side
    assert low * side - 4 <= max(x1 - x0, y1 - y0) <= high * side + 1


def test_each_class_has_exactly_the_subcategories_asked_for():
    found = {name: set() for name in CLASSES}
    for index in range(60):
        for instance in draw_image(index, world(size=32, subcategories=2)).instances:
            found[instance.name].add(instance.subcategory)
    assert all(numbers == {0, 1} for numbers in found.values())


def test_with_context_one_each_boat_is_on_water_and_with_zero_none():
    for index in range(20):
        always, never = (draw_image(index, world(size=32, context=c)) for c in (1.0, 0.0))
        for instance in always.instances:
            assert always.scene == CONTEXTS.get(instance.name, always.scene)
        assert never.scene not in {CONTEXTS.get(instance.name) for instance in never.instances}


def test_scenes_are_written_down(root, names):
    scenes = {row["name"]: row["scene"] for row in table(root / "scenes.csv")}
    assert list(scenes) == names
    assert set(scenes.values()) <= set(SCENES)


@pytest.mark.parametrize("scene", SCENES)
def test_texture_is_the_contrast_of_the_background(scene):
    def drawn(texture):
        rng = np.random.default_rng(0)
        return draw_scene(scene, 64, 56, 30, texture, rng)

    flat, half, whole = (drawn(texture) for texture in (0.0, 0.5, 1.0))
    assert len(np.unique(flat.reshape(-1, 3), axis=0)) == 2
    assert (whole - flat).std() > 4
    np.testing.assert_allclose(half - flat, (whole - flat) / 2, atol=1e-9)


def test_there_are_never_more_objects_than_asked_for():
    counts = [len(draw_image(index, world(size=32, objects=2)).instances) for index in range(20)]
    assert set(counts) == {1, 2}


def test_classes_are_balanced_and_a_third_of_images_has_two():
    casts = [
        set(draw_classes(index, world(), np.random.default_rng(index))) for index in range(1800)
    ]
    counts = Counter(name for cast in casts for name in cast)
    assert max(counts.values()) < 1.2 * min(counts.values())
    assert 0.3 <= np.mean([len(cast) > 1 for cast in casts]) <= 0.42


def test_what_stands_behind_stays_recognisable():
    for index in range(20):
        picture = draw_image(index, world(size=32, objects=4))
        assert all((picture.instance_map == i + 1).any() for i in range(len(picture.instances)))


@given(st.lists(st.integers(0, 1), min_size=9, max_size=9))
@settings(max_examples=10)
def test_an_object_is_visible_if_it_keeps_its_share(cover):
    solid = np.array(cover, dtype=bool).reshape(3, 3)
    toy = RenderedObject(np.zeros((3, 3, 3)), solid.astype(float), solid, solid)
    owners = np.ones((3, 3), np.uint8)
    visible = stay_visible(owners, toy, (0, 0), [9], 0.7)
    assert visible == (9 - sum(cover) >= 0.7 * 9)


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"num_train": 0}, ["num_train", 0, 1, 499999]),
        ({"num_val": 0}, ["num_val", 0]),
        ({"size": 8}, ["size", 8]),
        ({"seed": -1}, ["seed", -1]),
        ({"part_size": 0.0}, ["part_size", "0.0"]),
        ({"subcategories": 9}, ["subcategories", 9, 1, 4]),
        ({"scale_range": (0.8, 0.3)}, ["scale_range", "[0.8, 0.3]"]),
        ({"scale_range": [0.3]}, ["scale_range", "[0.3]"]),
        ({"context": 1.5}, ["context", 1.5]),
        ({"texture": -0.1}, ["texture", -0.1]),
        ({"objects": 0}, ["objects", 0]),
    ],
)
def test_an_argument_out_of_range_is_named_with_its_mend(tmp_path, change, facts):
    with raises_naming(InputError, *facts):
        generate(tmp_path, **{**USUAL, **change})
    assert not list(tmp_path.iterdir())
