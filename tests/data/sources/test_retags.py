"""Corrections of tags."""

import pytest
import torch
from facts import raises_naming

from wsss_lightning.data.sources.names import ClassNames
from wsss_lightning.data.sources.tag_sources import retag
from wsss_lightning.errors import InputError

CLASSES = ["cat", "dog", "hot dog"]
NAMES = ["a", "b c"]


@pytest.fixture
def tags():
    return torch.tensor([[1.0, 0, 0], [0, 1, 0]])


def test_tags_are_added_and_removed_where_a_correction_says_so(tags):
    corrected = {"b c": {"hot_dog": True, "dog": False}, "a": {"cat": True}}
    retag(tags, NAMES, ClassNames(CLASSES), corrected)
    assert tags.tolist() == [[1, 0, 0], [0, 0, 1]]


def test_images_and_classes_that_do_not_exist_are_named(tags):
    with raises_naming(InputError, "retags", 1, "b", "b c"):
        retag(tags, NAMES, ClassNames(CLASSES), {"b": {"cat": True}})
    with raises_naming(InputError, "retags", "catt", "cat"):
        retag(tags, NAMES, ClassNames(CLASSES), {"a": {"catt": True}})
