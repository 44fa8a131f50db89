import colorsys

import numpy as np
import pytest
import torch
from facts import raises_naming
from hypothesis import given
from hypothesis import strategies as st
from torchvision import tv_tensors

from wsss_lightning.data.batch import Sample, collate
from wsss_lightning.data.transforms import TrainTransform, shift_hsv
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE

PLAIN = {
    "long_side": None,
    "scale": None,
    "scale_step": None,
    "flip": False,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "hsv": None,
    "padding": (0.5, 0.25, 0.125),
}
JITTER = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1}
PADDING_COLOUR = torch.tensor(PLAIN["padding"])


def transform(crop_size: int, **changes) -> TrainTransform:
    return TrainTransform(crop_size, **{**PLAIN, **changes})


def sample_of(labels: torch.Tensor) -> Sample:
    """An image and a score map whose levels give the label of each pixel."""
    image = (labels / 20).float().expand(3, -1, -1).clone()
    sample = Sample(image=image, tags=torch.tensor([1.0, 0.0]), name="a", mask=labels.clone())
    sample["score"] = (labels / 20).float()[None].clone()
    return sample


def bars(height: int, width: int, thick: int = 1) -> torch.Tensor:
    """Labels 1..9 in blocks, so that no crop of two blocks looks like another."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return 1 + (y // thick * 4 + x // thick) % 9


def changed(rule: TrainTransform, sample: Sample, seed: int = 0) -> Sample:
    return rule(sample, np.random.default_rng(seed))


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    crop=st.integers(1, 40),
    flip=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_crop_padding_and_flip_keep_image_mask_and_score_together(height, width, crop, flip, seed):
    out = changed(transform(crop, flip=flip), sample_of(bars(height, width)), seed)
    image, mask, score = out["image"], out["mask"], out["score"]
    assert image.shape == (3, crop, crop)
    inside = mask != IGNORE
    assert inside.sum() == min(height, crop) * min(width, crop)
    torch.testing.assert_close(image[0][inside] * 20, mask[inside].float())
    torch.testing.assert_close(score[0][inside] * 20, mask[inside].float())
    assert (image[:, ~inside] == PADDING_COLOUR[:, None]).all()
    assert (score[0][~inside] == 0).all()


@given(
    low=st.integers(24, 60), more=st.integers(0, 30), flip=st.booleans(), seed=st.integers(0, 999)
)
def test_resizing_keeps_image_mask_and_score_together(low, more, flip, seed):
    rule = transform(64, long_side=[low, low + more], flip=flip)
    out = changed(rule, sample_of(bars(36, 48, thick=12)), seed)
    inside = out["mask"] != IGNORE
    labels = out["mask"][inside].float()
    # a pixel on an edge is a blend of its sides; all others show their label
    for level in (out["image"][1], out["score"][0]):
        assert ((level[inside] * 20 - labels).abs() < 0.5).float().mean() > 0.6


def test_a_mask_is_not_moved_against_its_image_by_resizing():
    # a ramp, whose third is known: every third column, from the second on
    labels = torch.arange(21).expand(21, 21)
    out = changed(transform(7, long_side=[7, 7]), sample_of(labels))
    assert out["mask"][0].tolist() == [1, 4, 7, 10, 13, 16, 19]
    inner = slice(1, 6)  # the filter of a border pixel sees one side only
    for level in (out["image"][0], out["score"][0]):
        assert (level * 20 - out["mask"])[:, inner].abs().max() < 0.1


@given(seed=st.integers(0, 10_000))
def test_the_longer_side_lies_in_its_range_and_shapes_are_kept(seed):
    out = changed(transform(100, long_side=[30, 50]), sample_of(bars(20, 40)), seed)
    inside = out["mask"] != IGNORE
    height, width = int(inside.any(1).sum()), int(inside.any(0).sum())
    assert 30 <= width <= 50
    assert height == round(width / 2)


def test_both_ends_of_the_range_of_the_longer_side_occur():
    rule = transform(10, long_side=[4, 6])
    masks = [changed(rule, sample_of(bars(3, 8)), seed)["mask"] for seed in range(60)]
    assert {int((mask != IGNORE).any(0).sum()) for mask in masks} == {4, 5, 6}


@given(seed=st.integers(0, 10_000))
def test_a_random_scale_lies_in_its_range(seed):
    out = changed(transform(100, scale=[0.5, 1.5]), sample_of(bars(20, 40)), seed)
    inside = out["mask"] != IGNORE
    assert 20 <= int(inside.any(0).sum()) <= 60
    assert 10 <= int(inside.any(1).sum()) <= 30


def test_a_crop_may_come_from_anywhere_and_a_small_image_lie_anywhere():
    large, small = set(), set()
    labels = torch.arange(4).expand(4, 4)
    for seed in range(80):
        large.add(int(changed(transform(2), sample_of(labels), seed)["mask"][0, 0]))
        padded = changed(transform(6), sample_of(labels), seed)["mask"]
        small.add(int((padded != IGNORE).any(0).int().argmax()))
    assert large == {0, 1, 2}
    assert small == {0, 1, 2}


def test_about_half_of_the_images_are_mirrored():
    rule, sample = transform(2, flip=True), sample_of(torch.tensor([[1, 2], [1, 2]]))
    first = [int(changed(rule, sample, seed)["mask"][0, 0]) for seed in range(200)]
    assert 70 < first.count(2) < 130


@given(seed=st.integers(0, 10_000), jitter=st.sampled_from([{}, JITTER]))
def test_colours_stay_between_zero_and_one(seed, jitter):
    # hard edges, where bicubic weights overshoot
    image = (torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(seed)) > 0.5).float()
    sample = Sample(image=image, tags=torch.ones(1), name="a")
    out = changed(transform(24, long_side=[17, 40], **jitter), sample, seed)["image"]
    assert out.dtype == torch.float32
    assert out.min() >= 0
    assert out.max() <= 1


def test_jitter_changes_colours_but_neither_padding_nor_mask_nor_score():
    sample = sample_of(bars(6, 6))
    sample["image"] = torch.rand(3, 6, 6) * 0.6 + 0.2
    plain, out = changed(transform(9), sample), changed(transform(9, **JITTER), sample)
    assert not torch.equal(plain["image"], out["image"])
    inside = out["mask"] != IGNORE
    assert (out["image"][:, ~inside] == PADDING_COLOUR[:, None]).all()
    assert set(out["mask"].unique().tolist()) == set(plain["mask"].unique().tolist())
    assert set(out["score"].unique().tolist()) == set(plain["score"].unique().tolist())


def test_brightness_multiplies_by_a_factor_from_its_range():
    sample = Sample(image=torch.full((3, 2, 2), 0.5), tags=torch.ones(1), name="a")
    rule = transform(2, brightness=0.4)
    factors = [float(changed(rule, sample, seed)["image"].mean()) / 0.5 for seed in range(200)]
    assert 0.6 <= min(factors) < 0.65
    assert 1.35 < max(factors) <= 1.4 + 1e-6


def test_equal_generators_make_equal_samples_whatever_the_global_state():
    rule = transform(20, long_side=[16, 40], flip=True, **JITTER)
    first = changed(rule, sample_of(bars(24, 30)), 3)
    torch.manual_seed(99)
    np.random.seed(99)
    again = changed(rule, sample_of(bars(24, 30)), 3)
    other = changed(rule, sample_of(bars(24, 30)), 4)
    for key in ("image", "mask", "score"):
        assert torch.equal(first[key], again[key])
    assert not torch.equal(first["image"], other["image"])


def test_the_given_sample_stays_as_it_is():
    sample = sample_of(bars(12, 12))
    sample["boxes"] = torch.tensor([[1.0, 2, 3, 5, 9]])
    before = {key: value.clone() for key, value in sample.items() if key != "name"}
    out = changed(transform(8, scale=[0.5, 2.0], flip=True, **JITTER), sample)
    assert all(torch.equal(sample[key], value) for key, value in before.items())
    assert set(out) == {"image", "tags", "name", "mask", "score", "boxes"}


def test_an_image_without_mask_and_one_without_maps_go_through():
    sample = Sample(image=torch.rand(3, 9, 9), tags=torch.zeros(2), name="a")
    assert set(changed(transform(5, long_side=[7, 7]), sample)) == {"image", "tags", "name"}
    sample["score"] = torch.zeros(0, 9, 9)
    assert changed(transform(5, long_side=[7, 7]), sample)["score"].shape == (0, 5, 5)


def boxes_around(mask: torch.Tensor, count: int) -> dict[int, list[int]]:
    """Naive reference: x0, y0, x1, y1 of each label 1 to count that has pixels."""
    found = {}
    for label in range(1, count + 1):
        rows, columns = (mask == label).nonzero(as_tuple=True)
        if len(rows):
            corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            found[label] = [int(x) for x in corners]
    return found


@given(data=st.data(), crop=st.integers(1, 30), flip=st.booleans(), seed=st.integers(0, 9999))
def test_boxes_stay_around_their_objects_and_vanish_with_them(data, crop, flip, seed):
    side = st.integers(0, 19)
    mask = torch.zeros(20, 20, dtype=torch.int64)
    mask[:2, :2] = 1  # later rectangles cover earlier ones only if they share pixels
    x, y = data.draw(side), data.draw(side)
    mask[y : y + 6, x : x + 4] = 2
    before = boxes_around(mask, 2)
    sample = sample_of(mask)
    sample["boxes"] = torch.tensor([[label, *box] for label, box in before.items()]).float()
    out = changed(transform(crop, flip=flip), sample, seed)
    after = {int(label): [int(v) for v in box] for label, *box in out["boxes"].tolist()}
    assert out["boxes"].dtype == torch.float32
    seen = boxes_around(out["mask"], 2)
    if set(before) == {1, 2} and (x > 1 or y > 1):  # the rectangles do not overlap
        assert after == seen


def test_boxes_are_resized_in_fractions_of_pixels():
    sample = sample_of(bars(10, 20))
    sample["boxes"] = torch.tensor([[2.0, 4, 2, 9, 8], [1.0, 0, 0, 1, 10]])
    out = changed(transform(10, long_side=[10, 10]), sample)
    top = int((out["mask"] != IGNORE).any(1).nonzero()[0])
    # the second box is half a pixel wide now
    assert out["boxes"].tolist() == [[2.0, 2.0, top + 1, 4.5, top + 4]]


def test_an_image_without_boxes_keeps_an_empty_table():
    sample = sample_of(bars(10, 20))
    sample["boxes"] = torch.zeros(0, 5)
    assert changed(transform(8, long_side=[9, 12], flip=True), sample)["boxes"].shape == (0, 5)


@pytest.mark.skipif(not hasattr(tv_tensors, "KeyPoints"), reason="needs a newer torchvision")
@given(x=st.integers(0, 11), y=st.integers(0, 8), flip=st.booleans(), seed=st.integers(0, 9999))
def test_points_stay_on_their_pixels(x, y, flip, seed):
    labels = torch.zeros(9, 12, dtype=torch.int64)
    labels[y, x] = 7
    sample = sample_of(labels)
    sample["points"] = tv_tensors.KeyPoints([[float(x), float(y)]], canvas_size=(9, 12))
    out = changed(transform(14, flip=flip), sample, seed)
    ((column, row),) = out["points"].int().tolist()
    assert out["mask"][row, column] == 7


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"long_side": [300, 200]}, ["long_side", "[300, 200]"]),
        ({"long_side": [300]}, ["long_side", "[300]"]),
        ({"scale": [0.0, 1.0]}, ["scale", "[0.0, 1.0]"]),
        ({"scale": [0.5, 1.0], "long_side": [200, 300]}, ["scale", "long_side", "null"]),
        ({"scale": [0.5, 1.5], "scale_step": 0.3}, ["scale_step", 0.3, "scale", "[0.5, 1.5]"]),
        ({"scale": [0.5, 1.5], "scale_step": -0.25}, ["scale_step", -0.25]),
        ({"scale_step": 0.25}, ["scale_step", 0.25, "scale", "None"]),
        ({"hue": 0.7}, ["hue", 0.7, 0, 0.5]),
        ({"brightness": -1.0}, ["brightness", "-1.0"]),
        ({"hsv": (0.6, 0.1, 0.1)}, ["hue", 0.6, "saturation", "value", 0.1, 0, 0.5]),
        ({"hsv": (0.1, 0.1, -0.1)}, ["value", -0.1]),
        ({"hsv": (0.1, 1.5, 0.1)}, ["saturation", 1.5]),
        ({"crop_size": 0}, ["crop_size", 0]),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(change, facts):
    with raises_naming(InputError, *facts):
        TrainTransform(**{**PLAIN, "crop_size": 8, **change})


SHIFTS = [
    (0.0, 0.0, 0.0),
    (0.05, 0.0, 0.0),
    (-0.3, 0.1, -0.2),
    (0.5, -1.0, 0.0),
    (0.1, 0.3, 0.3),
    (0.0, 1.0, -1.0),
]


@pytest.mark.parametrize("shifts", SHIFTS)
def test_shifts_of_hue_saturation_and_value_are_those_of_each_pixel(shifts):
    image = torch.rand(3, 6, 7)
    image[:, 0] = torch.linspace(0, 1, 7)  # greys, from black to white
    image[:, 1, :3] = torch.eye(3)  # pure colours
    found = shift_hsv(image, *shifts)
    for y in range(6):
        for x in range(7):
            hue, saturation, value = colorsys.rgb_to_hsv(*image[:, y, x].tolist())
            hue = (hue + shifts[0]) % 1
            saturation, value = (
                min(1.0, max(0.0, old + shift))
                for old, shift in zip((saturation, value), shifts[1:], strict=True)
            )
            expected = torch.tensor(colorsys.hsv_to_rgb(hue, saturation, value))
            torch.testing.assert_close(found[:, y, x], expected, atol=1e-4, rtol=0)


def test_shifts_of_colours_are_drawn_from_their_ranges_and_leave_the_mask():
    sample = sample_of(bars(8, 8))
    drawn = [changed(transform(8, hsv=(0.0, 0.0, 0.2)), sample, seed) for seed in range(40)]
    top = sample["image"].amax().item()
    tops = torch.tensor([out["image"].amax().item() for out in drawn])
    assert tops.min() < top - 0.1
    assert tops.max() > top + 0.1
    assert (tops - top).abs().max() <= 0.2 + 1e-6
    assert all(torch.equal(out["mask"], drawn[0]["mask"]) for out in drawn)


def test_scales_are_drawn_at_equal_distances_where_a_step_is_given():
    rule, sample = transform(32, scale=[0.5, 1.5], scale_step=0.25), sample_of(bars(8, 16))
    # the crop is larger than the image; what it adds is ignored
    kept = [changed(rule, sample, seed)["mask"] != IGNORE for seed in range(500)]
    sizes = [(int(one.any(1).sum()), int(one.any(0).sum())) for one in kept]
    expected = {(4, 8), (6, 12), (8, 16), (10, 20), (12, 24)}
    assert set(sizes) == expected
    assert all(70 < sizes.count(size) < 130 for size in expected)


def test_a_batch_stacks_maps_and_keeps_names_and_boxes_as_lists():
    samples = [Sample(**sample_of(bars(4, 5)), boxes=torch.zeros(1, 5)) for _ in range(2)]
    samples[1]["boxes"] = torch.zeros(3, 5)
    batch = collate(samples)
    assert batch["image"].shape == (2, 3, 4, 5)
    assert batch["mask"].shape == (2, 4, 5)
    assert batch["tags"].shape == (2, 2)
    assert batch["name"] == ["a", "a"]
    assert [len(boxes) for boxes in batch["boxes"]] == [1, 3]


def test_a_batch_of_several_sizes_is_refused_with_both():
    with raises_naming(ValueError, "(4, 5)", "(5, 4)"):
        collate([sample_of(bars(4, 5)), sample_of(bars(5, 4))])
