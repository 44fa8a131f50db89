import numpy as np
import pytest
from facts import assert_names
from PIL import Image

from wsss_lightning.data.duplicates import difference_signs, near_duplicates, same_pixels
from wsss_lightning.data.report import (
    THUMBNAIL_SIDE,
    ImageReport,
    TrainTestScale,
    always_tagged,
    conflicts,
    rare_classes,
    thumbnail,
)


def report_of(name: str, image: Image.Image) -> ImageReport:
    return ImageReport(name, digest=repr(image.tobytes()), thumbnail=thumbnail(image))


def photo(seed: int, size=(96, 80)) -> Image.Image:
    """Blurred noise: large shapes, as photos have."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def test_a_picture_that_rises_to_the_right_has_the_signs_of_that():
    levels = np.tile(np.arange(THUMBNAIL_SIDE, dtype=np.float32), (THUMBNAIL_SIDE, 1))
    signs = difference_signs(4 * levels)
    half = THUMBNAIL_SIDE * (THUMBNAIL_SIDE - 1)
    assert not signs[:half].any()  # downwards
    assert (signs[half:] == 1).all()
    assert not difference_signs(levels).any()  # steps of one level are noise


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.resize((48, 40)),
        lambda p: p.point(lambda level: min(255, int(1.05 * level))),
        lambda p: p.crop((1, 1, p.width - 1, p.height - 1)),
        lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((60, 50)),
    ],
)
def test_another_version_of_a_photo_looks_the_same_and_other_photos_do_not(change):
    first = [report_of(f"a{i}", photo(i)) for i in range(40)]
    second = [report_of(f"b{i}", photo(100 + i)) for i in range(40)]
    second.append(report_of("copy", change(photo(7))))
    assert near_duplicates(first, second) == [("a7", "copy")]


def test_pictures_without_contrast_are_not_compared():
    flat = Image.new("RGB", (20, 20), "grey")
    other = Image.new("RGB", (21, 20), "grey")
    assert near_duplicates([report_of("a", flat)], [report_of("b", other)]) == []


def test_equal_pixels_are_found_in_groups():
    names = [report_of("a", photo(1)), report_of("b", photo(2)), report_of("c", photo(1))]
    assert same_pixels(names) == [["a", "c"]]


def test_tags_masks_and_boxes_that_disagree_are_told():
    one = ImageReport("x", tags=frozenset({1}), labels=frozenset({2}), boxed=frozenset({1, 2}))
    found = list(conflicts([one], ["cat", "dog"]))
    assert [name for name, _ in found] == ["x"] * 3
    expected = [
        ("tag", "cat", "mask"),
        ("mask", "dog", "tag"),
        ("box", "dog", "tag"),
    ]
    for (_, told), facts in zip(found, expected, strict=True):
        assert all(fact in told for fact in facts), told


def test_classes_without_images_and_rare_ones_are_told():
    tags = np.zeros((50, 3))
    tags[:, 0], tags[:2, 1] = 1, 1
    assert rare_classes(tags, ["cat", "dog", "elk"]) == (["elk"], ["dog (2)"])


def test_classes_that_every_image_is_tagged_with_are_named():
    tags = np.array([[1, 0, 1], [1, 1, 1]])
    assert always_tagged(tags, ["cat", "dog", "elk"]) == ["cat", "elk"]
    assert always_tagged(tags[:0], ["cat", "dog", "elk"]) == []


@pytest.mark.parametrize(
    ("long_side", "scales", "facts"),
    [
        (
            None,
            [1.0],
            [500, "test.long_side", 224],
        ),
        (320, [1.0], []),
        (None, [0.5, 1.0], []),  # one of its scales is learnt
        (None, [0.25, 1.0], ["test.long_side=304"]),
        (None, [0.25], ["test.long_side=1216"]),  # seen at a quarter
        (200, [1.0], [200]),
    ],
)
def test_whole_images_outside_the_training_range_give_a_warning(long_side, scales, facts):
    scale = TrainTestScale(
        "fit.segmenter.long_side", (224, 384), "test.long_side", long_side, scales
    )
    warning = scale.warning(500)
    assert bool(warning) == bool(facts)
    if facts:
        assert_names(warning, *facts)
