import numpy as np
import pytest
import torch
from facts import assert_names, assert_names_none

from wsss_lightning.training.callbacks.pseudo_mask_alarms import PseudoMaskAlarms

TAGS = torch.tensor([1.0, 0.0])


def alarms(*masks, tags=TAGS, predicted=False):
    counter = PseudoMaskAlarms(["cat", "dog"], predicted)
    for i, mask in enumerate(masks):
        counter.update(f"x{i}", np.array(mask, np.uint8), tags)
    return " | ".join(counter.alarms())


GOOD = [[0, 0, 0, 1]]
EMPTY = [[0, 0, 0, 0]]


def test_good_masks_raise_no_alarm():
    assert alarms(*[GOOD] * 20) == ""


def test_ignored_pixels_do_not_count_as_a_label():
    assert alarms(*[[[0, 1, 255, 255]]] * 5) == ""
    assert_names(alarms([[255, 255]]), "no pixel")


@pytest.mark.parametrize("mask", [EMPTY, [[1, 1, 1, 1]], [[1, 255, 255, 255]]])
def test_masks_of_a_single_label_are_counted_and_named(mask):
    assert_names(alarms(*[GOOD] * 8, mask, mask), 2, 10, "x8, x9")


def test_a_few_masks_of_a_single_label_raise_no_alarm():
    assert alarms(*[GOOD] * 9, EMPTY) == ""


def test_images_without_tags_may_have_a_single_label():
    assert_names(alarms(*[EMPTY] * 5), "x0")
    assert_names_none(alarms(*[EMPTY] * 5, tags=torch.zeros(2)), "x0")


@pytest.mark.parametrize(
    ("background", "alarmed"),
    [(0.0, True), (0.04, True), (0.06, False), (0.96, False), (0.98, True)],
)
def test_an_unusual_share_of_background_raises_an_alarm(background, alarmed):
    count = round(100 * background)
    mask = [[0] * count + [1] * (100 - count)]
    assert (f"{100 * background:.1f} %" in alarms(mask)) == alarmed


def test_tagged_classes_without_a_pixel_are_named():
    both = torch.ones(2)
    assert_names(alarms(*[GOOD] * 3, tags=both), "dog")
    assert alarms(*[GOOD] * 3) == ""


@pytest.mark.parametrize(("mask", "share"), [(EMPTY, "100.0 %"), ([[1, 1, 1, 1]], "0.0 %")])
def test_predictions_of_background_or_objects_only_raise_an_alarm(mask, share):
    messages = alarms(*[mask] * 5, predicted=True)
    assert_names(messages, "background", share)
    assert "score" not in messages
    # a network may predict a single label for some images
    assert alarms(*[EMPTY] * 3, *[GOOD] * 6, predicted=True) == ""
