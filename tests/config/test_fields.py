from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Len, Lt, MinLen, Predicate
from omegaconf import OmegaConf

from wsss_lightning.config.fields import Rule, check_field, describe, misfit, one_of, shown
from wsss_lightning.errors import InputError

SHARE = Annotated[float, Ge(0), Le(1), "0.2 is usual"]
RISING = Annotated[Sequence[float], Len(2, 2), Predicate(lambda v: v[0] <= v[1])]


class Part:
    """Some class that a node builds."""


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (int, [0, -3]),
        (float, [0.5, 1, 1e9, float("inf")]),
        (bool, [True, False]),
        (str, ["", "1"]),
        (Path, ["a/b", ""]),
        (Literal[8, 16], [8, 16]),
        (int | None, [None, 3]),
        (SHARE, [0, 1, 0.3]),
        (SHARE | None, [None, 0.3]),
        (list[int], [[], [1, 2]]),
        (Sequence[str | int], [["a", 1]]),
        (tuple[float, ...], [[1.5]]),
        (RISING, [[1, 1], [0.5, 2]]),
        (Mapping[str, Any], [{}, {"a": 1}]),
        (Part, [{"_target_": "x"}, {"a": 1}]),
        (int, [{"_target_": "x"}]),  # a node may build anything
        (Callable[..., Part], [{"_target_": "x", "_partial_": True}]),
        (Any, [None, 1, "a", [1], {"a": 1}]),
        (Annotated[str, one_of("a", "b")], ["a", "b"]),
    ],
)
def test_a_value_of_the_declared_type_and_range_fits(kind, values):
    assert [misfit(OmegaConf.create({"x": value}).x, kind) for value in values] == [None] * len(
        values
    )


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (int, [0.5, "1", True, None, [1]]),
        (float, ["1", True, None, [1]]),
        (bool, [0, 1, "true", None]),
        (str, [1, None, True, ["a"]]),
        (Path, [1, None]),
        (Literal[8, 16], [9, "8", None]),
        (SHARE, [-0.1, 1.1, float("inf"), True, None]),
        (SHARE | None, [2]),
        (Annotated[float, Gt(0), Lt(1)], [0, 1]),
        (list[int], ["a", 1, [1.5], {"a": 1}]),
        (Sequence[str], ["abc", [1]]),
        (Annotated[list[float], MinLen(1)], [[]]),
        (RISING, [[1], [1, 2, 3], [2, 1], ["a", "b"]]),
        (Mapping[str, Any], [3, [1], "a"]),
        (Part, [3, "a", [1]]),
        (Annotated[str, one_of("a", "b")], ["c", 1]),
        (Annotated[Any, Rule(lambda v: v == 1, "one")], [2, "a"]),
    ],
)
def test_a_value_of_another_type_or_range_does_not_fit(kind, values):
    for value in values:
        assert misfit(OmegaConf.create({"x": value}).x, kind), value


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (SHARE, "a number in [0, 1]"),
        (Annotated[float, Gt(0), Le(1)], "a number in (0, 1]"),
        (Annotated[int, Ge(1)] | None, "a whole number of 1 or more or null"),
        (Annotated[float, Gt(0)], "a number above 0"),
        (Literal["side", "area"], "side or area"),
        (Annotated[str, one_of("x", "y")], "x or y"),
        (Annotated[list[Annotated[float, Gt(0)]], MinLen(1)], "with at least one entry"),
        (Sequence[str], "a list, each entry text"),
        (Part, "a mapping"),
    ],
)
def test_an_annotation_is_described_in_words(kind, words):
    assert words in describe(kind)


def test_a_message_names_key_value_range_and_hint():
    with pytest.raises(InputError) as error:
        check_field("seeds.score", 1.5, SHARE)
    for fact in ("seeds.score is 1.5", "[0, 1]", "0.2 is usual"):
        assert fact in str(error.value)
    with pytest.raises(InputError, match=r"a\.lr is fast, .*torch\.optim\.SGD"):
        check_field("a.lr", "fast", float, of="torch.optim.SGD")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), ([1, "a"], "[1, 'a']"), ("x" * 99, "x" * 80)],
)
def test_values_are_shown_as_one_types_them(value, text):
    assert shown(value) == text
