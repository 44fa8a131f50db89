import pytest

from wsss_lightning.utils.text import shorten


@pytest.mark.parametrize(
    ("items", "most", "expected"),
    [
        ([], 3, ""),
        (["a"], 3, "a"),
        ((1, 2, 3), 3, "1, 2, 3"),
        ({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, 3, "a, b, c and 2 more"),
        ("abcd", 2, "a, b and 2 more"),
    ],
)
def test_long_lists_end_with_the_number_of_items_left_out(items, most, expected):
    assert shorten(items, most) == expected
