"""Where a configuration differs from the table of its recipe."""

from typing import Any

import pytest
from facts import assert_names

from wsss_lightning.recipes import Difference, Recipe, Setting, differences, record, summary


def toy(*rows: tuple[str, Any]) -> Recipe:
    settings = tuple(Setting(key, value, "paper", False, value, "", "") for key, value in rows)
    return Recipe("toy", "A run", "toy", (), "Nobody", "", {}, (), None, settings, ())


def test_a_changed_value_is_found_with_the_published_one():
    recipe = toy(("fit.batch_size", 16), ("fit.flip", True), ("scales", [0.5, 1.0]))
    found = differences(recipe, {"fit": {"batch_size": 4, "flip": True}, "scales": [0.5, 1]})
    assert found == [Difference("fit.batch_size", 4, 16)]
    assert str(found[0]) == "fit.batch_size: 4 (published 16)"


def test_a_row_of_several_keys_is_compared_key_by_key():
    recipe = toy(("jitter", {"hue": 0.1, "contrast": 0.3}))
    found = differences(recipe, {"jitter": {"hue": 0.1, "contrast": 0.0}})
    assert found == [Difference("jitter.contrast", 0.0, 0.3)]


def test_a_node_that_is_absent_counts_once():
    rows = (("refine.walk.beta", 8), ("refine.walk.steps", 256), ("refine.crf", None), ("a", 1))
    found = differences(toy(*rows), {"refine": {"crf": None}, "a": 2})
    # what is absent comes last: it often follows from the choice of another part
    assert [str(difference) for difference in found] == [
        "a: 2 (published 1)",
        "refine.walk: absent",
    ]


@pytest.mark.parametrize(
    ("value", "expected", "same"),
    [
        (5e-4, 0.0005, True),
        (0.1 + 0.2, 0.3, True),
        (1, 1.0, True),
        (True, 1, False),
        (0, False, False),
        (None, 0, False),
        ([1, 2], [1, 2, 3], False),
        ([[0.5]], [[0.5]], True),
        ("irn", "psa", False),
    ],
)
def test_values_are_equal_but_for_rounding(value, expected, same):
    found = differences(toy(("key", expected)), {"key": value})
    assert (found == []) is same


def test_a_run_of_the_published_settings_says_so():
    assert_names(summary(toy(("a", 1)), []), "published", "toy")


def test_a_long_list_of_differences_is_cut_and_counted():
    recipe = toy(*((f"key{i}", i) for i in range(9)))
    lines = summary(recipe, differences(recipe, {f"key{i}": -1 for i in range(9)})).splitlines()
    assert_names(lines[0], 9, "toy")
    assert_names(lines[1], "key0", -1, 0)
    assert_names(lines[-1], 3)
    assert len(lines) == 8


def test_a_record_holds_name_and_differences():
    recipe = toy(("a", 1))
    assert record(recipe, differences(recipe, {"a": 2})) == {
        "name": "toy",
        "differences": [{"key": "a", "value": 2, "published": 1}],
    }
