"""Classes are found in words as people write them."""

import pytest
from facts import assert_names, raises_naming

from wsss_lightning.data.folder.words import find_classes, natural, split_at_blanks, split_words
from wsss_lightning.errors import InputError


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("cat", ["cat"]),
        (" cat ,dog;  sea   lion|owl ", ["cat", "dog", "sea lion", "owl"]),
        ("['cat', \"dog\"]", ["cat", "dog"]),
        ("{cat}", ["cat"]),
        ("#cat, #dog", ["cat", "dog"]),
        ("background, None, n/a, cat", ["cat"]),
        ("", []),
        ("cafe\u0301", ["caf\u00e9"]),
    ],
)
def test_a_cell_is_split_into_words(cell, words):
    assert split_words(cell) == words


def test_blanks_separate_only_if_all_parts_are_classes():
    assert split_at_blanks({"a": ["cat dog"], "b": ["cat"], "c": ["Dog"]})["a"] == ["cat", "dog"]
    words = {"a": ["sea lion"], "b": ["cat"], "c": ["cat dog"], "d": ["dog"]}
    assert split_at_blanks(words) == words


def test_classes_are_sorted_as_people_sort():
    assert sorted(["class 10", "class 9", "Zebra", "ape"], key=natural) == [
        "ape",
        "class 9",
        "class 10",
        "Zebra",
    ]


def test_spellings_that_differ_in_case_and_blanks_are_one_class():
    found = find_classes([["Hot-Dog"], ["hot dog", "cat"], ["hot dog"], ["hot_dog"]], None)
    assert found.names == ["cat", "hot dog"]
    assert {word: found.of[word] for word in ("Hot-Dog", "hot_dog")} == {
        "Hot-Dog": "hot dog",
        "hot_dog": "hot dog",
    }
    assert_names(found.notes, "Hot-Dog", "hot_dog")


@pytest.mark.parametrize(("one", "other"), [("cat", "cats"), ("bus", "buses"), ("zebra", "zebraa")])
def test_nearly_equal_names_are_two_classes_and_noted(one, other):
    found = find_classes([[one], [other], ["elephant"]], None)
    assert len(found.names) == 3
    assert_names(found.notes, one, other)
    assert "elephant" not in str(found.notes)


def test_names_that_differ_in_meaning_or_number_are_not_noted():
    assert find_classes([["cat"], ["car"], ["class 1"], ["class 2"]], None).notes == []


def test_wanted_classes_restrict_and_order():
    found = find_classes([["cat"], ["Dog"], ["owl", "cat"]], ["dog", "cat"])
    assert found.names == ["dog", "cat"]
    assert found.of == {"Dog": "dog", "cat": "cat"}
    assert_names(found.notes, "owl (1)")


@pytest.mark.parametrize(
    ("words", "wanted", "facts"),
    [
        ([[], []], None, ["no photo"]),
        ([["cat"]], ["cta"], ["`classes`", "cta", "cat"]),
        ([["cat"]], ["cat", "Cat"], ["`classes`", "Cat", "twice"]),
        ([["cat"]], [], ["`classes`", "empty"]),
        ([[f"c {i}"] for i in range(255)], None, [255, 254, "`classes`"]),
    ],
)
def test_classes_that_cannot_be_used_are_refused(words, wanted, facts):
    with raises_naming(InputError, *facts):
        find_classes(words, wanted)
