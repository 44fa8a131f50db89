"""What masks mean, and masks that cannot mean what their images are tagged with."""

import io

import numpy as np
import pytest
from facts import assert_names, raises_naming
from PIL import Image

from wsss_lightning.data.mask_survey import MaskSurvey
from wsss_lightning.data.sources.masks import MaskReader
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import voc_palette

CAT, DOG = (64, 0, 0), (64, 0, 128)  # VOC's colours of labels 8 and 12


def shape(inside, outside=0, size=(16, 20)) -> np.ndarray:
    """A rectangle over a quarter of a mask."""
    values = np.empty((*size, *np.shape(inside)), np.uint8)
    values[:] = outside
    values[4:12, 5:15] = inside
    return values


def paletted(ids: np.ndarray, *colours) -> Image.Image:
    image = Image.fromarray(ids)
    image.putpalette([level for colour in colours for level in colour])
    return image


@pytest.fixture
def problems(tmp_path):
    """`problems(masks, tags, **settings)`: what is wrong with masks of images with these tags."""

    def look(masks, tags, mask_ids=None, mask_colours=None, unmapped=None) -> list[str]:
        reader = MaskReader(["cat", "dog"], mask_ids, mask_colours, unmapped)
        survey = MaskSurvey(reader, "train")
        for i, (mask, labels) in enumerate(zip(masks, tags, strict=True)):
            image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
            image.save(tmp_path / f"{i}.png")
            survey.add(reader.inspect(tmp_path / f"{i}.png"), labels)
        return survey.problems()

    return look


CATS_AND_DOGS = [{1}, {2}, {1}, {2}, {1}, {2}]


def test_labels_as_they_should_be_are_no_problem(problems):
    masks = [shape(1 + i % 2) for i in range(6)]
    masks[0][0] = 255
    assert problems(masks, CATS_AND_DOGS) == []


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ((255, 255), ["cat", "255 (25.0 %)", "0.png", "mask_ids", "{0: background, 255:"]),
        ((255, 2), ["cat", "255 (25.0 %)"]),  # of one class only
        ((2, 1), ["cat", "2 (25.0 %)"]),  # in another order
        ((8, 12), ["0.png", 8, "25.0 %", 0, 2]),
        ((38, 52), ["0.png", 38]),  # grey levels of VOC's colours
        ((1, 1), ["dog", "1 (25.0 %)"]),  # a mask of objects without their class
    ],
)
def test_masks_that_never_show_a_tagged_class_are_refused_with_ids_and_shares(
    problems, values, facts
):
    found = problems([shape(values[i % 2]) for i in range(6)], CATS_AND_DOGS)
    assert found
    assert_names(found[0], *facts)


def test_naming_ids_mends_masks_of_other_ids(problems):
    masks = [shape((255, 7)[i % 2]) for i in range(6)]
    assert problems(masks, CATS_AND_DOGS, {0: "background", 255: "cat", 7: "dog"}) == []


def test_a_single_object_too_small_for_a_pixel_is_no_problem(problems):
    assert problems([shape(1), shape(2), shape(0)], [{1}, {2}, {1, 2}]) == []
    assert problems([shape(1), shape(0)], [{1}, {2}]) == []
    assert problems([shape(1), shape(255)], [{1}, {2}]) != []


def test_ids_without_a_name_may_cover_a_few_pixels_only(problems):
    ids = {0: "background", 8: "cat", 12: "dog"}
    masks = [shape((8, 12)[i % 2]) for i in range(6)]
    masks[3][:2] = 15  # 32 of 6 * 320 pixels
    assert problems(masks, CATS_AND_DOGS, ids) == []
    for mask in masks:
        mask[13:] = 15
    (found,) = problems(masks, CATS_AND_DOGS, ids)
    assert "ids 15" in found
    assert "3.png" in found  # where the share is largest
    assert "20.8 %" in found  # over the split
    assert problems(masks, CATS_AND_DOGS, ids, unmapped="ignored") == []
    assert problems(masks, CATS_AND_DOGS, {**ids, 15: "ignored"}) == []


def test_masks_that_went_through_jpeg_are_refused(problems, tmp_path):
    def through_jpeg(mask: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(mask).save(file, "JPEG", quality=75)
        return np.asarray(Image.open(file))

    blurred = [through_jpeg(shape((80, 160)[i % 2], size=(17, 23))) for i in range(6)]
    found = problems(blurred, CATS_AND_DOGS, {0: "background", 80: "cat", 160: "dog"})
    assert "JPEG" in found[-1]
    Image.fromarray(shape(1)).save(tmp_path / "a.png", "JPEG")
    with raises_naming(InputError, "a.png", "JPEG"):
        MaskReader(["cat"], None, None, None).read(tmp_path / "a.png")


def test_masks_that_were_resized_by_blending_are_refused(problems):
    large = [Image.fromarray(shape((80, 160)[i % 2], size=(64, 64))) for i in range(6)]
    small = [image.resize((37, 41), Image.Resampling.BICUBIC) for image in large]
    ids = {0: "background", 80: "cat", 160: "dog"}
    assert "resizing" in problems(small, CATS_AND_DOGS, ids)[0]


def test_palettes_in_another_order_than_vocs_are_refused(problems):
    # each image has its own: 1 is a cat in some and a dog in others
    masks = [paletted(shape(1), (0, 0, 0), (CAT, DOG)[i % 2]) for i in range(6)]
    assert_names(problems(masks, CATS_AND_DOGS)[0], 1, "[64, 0, 0]")
    # one palette for all, but not VOC's
    masks = [paletted(shape(1 + i % 2), (0, 0, 0), CAT, DOG) for i in range(6)]
    (found,) = problems(masks, CATS_AND_DOGS)
    assert "label 8" in found
    assert "mask_colours" in found
    assert problems(masks, CATS_AND_DOGS, {0: "background", 1: "cat", 2: "dog"}) == []


@pytest.mark.parametrize("palette", [None, [(0, 0, 0)] * 256, [(0, 0, 0), (1, 2, 3), (9, 9, 9)]])
def test_palettes_of_grey_black_or_own_colours_are_no_problem(problems, palette):
    masks = [Image.fromarray(shape(1 + i % 2)) for i in range(6)]
    if palette:
        masks = [paletted(np.asarray(mask), *palette) for mask in masks]
    masks[0] = Image.fromarray(shape(1))
    masks[0].putpalette(voc_palette())  # beside masks of grey levels
    assert (
        problems(masks if palette is None else masks[1:], CATS_AND_DOGS[palette is not None :])
        == []
    )


COLOURS = {"background": [0, 0, 0], "cat": list(CAT), "dog": list(DOG)}


@pytest.mark.parametrize(
    "colours",
    [
        COLOURS,
        {"0 0 0": "background", "64 0 0": "cat", "64 0 128": "dog"},
        {"#000000": "background", "[64, 0, 0]": "cat", "64,0,128": "dog"},
        {"background": [[0, 0, 0], [1, 1, 1]], "cat": "#400000", "dog": "64 0 128"},
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_become_labels(problems, tmp_path, colours, mode):
    masks = [Image.fromarray(shape((CAT, DOG)[i % 2], (0, 0, 0))) for i in range(6)]
    # each with a palette of its own
    masks = [mask.quantize(4) if mode == "P" else mask.convert(mode) for mask in masks]
    assert problems(masks, CATS_AND_DOGS, mask_colours=colours) == []
    masks[1].save(tmp_path / "a.png")
    labels = MaskReader(["cat", "dog"], None, colours, None).read(tmp_path / "a.png")
    np.testing.assert_array_equal(labels, shape(2))


def test_colours_that_no_class_has_are_counted_and_named(problems):
    masks = [Image.fromarray(shape((CAT, (9, 9, 9))[i % 2], (0, 0, 0))) for i in range(6)]
    (first, *_) = problems(masks, [{1}, set()] * 3, mask_colours=COLOURS)
    assert_names(first, "[9, 9, 9]", "25.0 %")
    assert problems(masks, [{1}, set()] * 3, None, COLOURS, "background") == []


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"mask_colours": {"catt": [1, 2, 3]}}, ["mask_colours", "catt", "cat"]),
        ({"mask_colours": {"cat": [1, 2]}}, ["mask_colours", "[1, 2]"]),
        ({"mask_colours": {"cat": [1, 2, 256]}}, [0, 255]),
        ({"mask_colours": {"cat": [1, 2, 3], "dog": [1, 2, 3]}}, ["mask_colours", "[1, 2, 3]"]),
        ({"mask_colours": {"cat": "red"}}, ["red"]),
        ({"mask_colours": COLOURS, "mask_ids": {0: "background"}}, ["mask_colours", "mask_ids"]),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, facts):
    given = {"mask_ids": None, "mask_colours": None, "unmapped": None, **settings}
    with raises_naming(InputError, *facts):
        MaskReader(["cat", "dog"], **given)


def test_a_mask_of_16_bits_keeps_its_ids(tmp_path):
    Image.fromarray(np.array([[0, 300, 65535]], np.uint16)).save(tmp_path / "a.png")
    reader = MaskReader(["cat"], {0: "background", 300: "cat"}, None, "background")
    assert reader.read(tmp_path / "a.png").tolist() == [[0, 1, 0]]
    assert reader.inspect(tmp_path / "a.png").unnamed == {65535: 1}
