"""Reads and validates the rows of a table; messages name file and row."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.recipes.schema import (
    NOT_PUBLISHED,
    Fact,
    Hardware,
    Repository,
    Score,
    Setting,
)

# "IRN step/train_irn.py:34-36, 40", "PSA issue #8", "SEAM README"
_IN_CODE: Final = re.compile(
    r"(issue #\d+|README|[\w./+-]+:\d+(-\d+)?(, \d+(-\d+)?)*)( \(.*\))?", re.DOTALL
)
_OTHER_SOURCES: Final = ("paper", "slides")
_TEST: Final = re.compile(r"tests/[\w/]+\.py::test_\w+")

Kind = TypeVar("Kind")


def expect_keys(
    row: Mapping[Any, Any], where: str, needed: Iterable[str], allowed: Iterable[str]
) -> None:
    """Check that a row has all needed keys and no other than the allowed ones.

    Args:
        row: a row of the table.
        where: file and row, for messages.
        needed: keys that the row must have.
        allowed: keys that the row may have.

    Raises:
        InputError: a key is unknown or missing.
    """
    allowed = sorted(allowed)
    for key in row:
        if key not in allowed:
            raise InputError(f"{where}: unknown key {key}; {did_you_mean(str(key), allowed)}")
    missing = sorted(set(needed) - set(row))
    if missing:
        raise InputError(f"{where}: {', '.join(missing)} is missing; add it.")


def list_of(content: Mapping[str, Any], key: str, where: str, kind: type[Kind]) -> list[Kind]:
    """The list of this type below a key; empty if the key is missing.

    Args:
        content: content of the table.
        key: key of the list.
        where: file, for messages.
        kind: type of the entries.

    Raises:
        InputError: the value is not a list of this type.
    """
    rows = content.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, kind) for row in rows):
        raise InputError(f"{where}, {key} is {rows!r:.60}, but must be a list of {kind.__name__}.")
    return rows


def text(row: Mapping[str, Any], key: str, where: str) -> str:
    """The non-empty text below a key.

    Args:
        row: a row of the table.
        key: key of the text.
        where: file and row, for messages.

    Raises:
        InputError: the text is missing or empty.
    """
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {key} is {value!r}, but must be a text.")
    return value.strip()


def _number(row: Mapping[str, Any], key: str, where: str) -> float:
    value = row[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{where}: {key} is {value!r}, but must be a number.")
    return float(value)


def read_repositories(node: Any, where: str) -> dict[str, Repository]:
    """Repositories by the short names that sources use.

    Raises:
        InputError: an entry is incomplete or invalid.
    """
    if not isinstance(node, dict):
        raise InputError(f"{where}, repositories must be a mapping of short names.")
    by_name = {}
    for name, row in node.items():
        place = f"{where}, repositories.{name}"
        if not isinstance(row, dict):
            raise InputError(f"{place} is {row!r}, but must have `url` and `commit`.")
        expect_keys(row, place, ("url", "commit"), ("url", "commit"))
        commit = text(row, "commit", place)
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise InputError(f"{place}: commit is {commit}, but must be 40 hexadecimal digits.")
        by_name[str(name)] = Repository(text(row, "url", place), commit)
    return by_name


def read_score(row: Mapping[str, Any], where: str, repositories: Mapping[str, Repository]) -> Score:
    """A published score.

    Args:
        row: a row of the table.
        where: file and position, for messages.
        repositories: repositories that sources may name.

    Raises:
        InputError: the row is incomplete or contradicts itself.
    """
    keys = ("key", "published", "tolerance", "source")
    expect_keys(row, where, keys, keys)
    published, tolerance = (_number(row, key, where) for key in ("published", "tolerance"))
    if not 0 <= published <= 100 or tolerance <= 0:
        raise InputError(
            f"{where}: published is {published} and tolerance is {tolerance}; give percent in "
            "[0, 100], and a tolerance above 0."
        )
    key = text(row, "key", where)
    return Score(key, published, tolerance, _source(row, where, repositories))


def read_hardware(row: Any, where: str, repositories: Mapping[str, Repository]) -> Hardware | None:
    """Hardware of the published run; None if it is not published.

    Args:
        row: a row of the table.
        where: file and position, for messages.
        repositories: repositories that sources may name.

    Raises:
        InputError: the row is incomplete.
    """
    if row is None:
        return None
    place, keys = f"{where}, hardware", ("gpus", "gpu_hours", "source")
    if not isinstance(row, dict):
        raise InputError(f"{place} is {row!r}, but must be null or have {', '.join(keys)}.")
    expect_keys(row, place, keys, keys)
    hours = None if row["gpu_hours"] is None else _number(row, "gpu_hours", place)
    return Hardware(text(row, "gpus", place), hours, _source(row, place, repositories))


def read_setting(
    row: Mapping[str, Any], where: str, repositories: Mapping[str, Repository]
) -> Setting:
    """A key with its official value, and if ours differs, our value with reason and effect.

    Args:
        row: a row of the table.
        where: file and position, for messages.
        repositories: repositories that sources may name.

    Raises:
        InputError: the row is incomplete or contradicts itself.
    """
    key = text(row, "key", f"{where}, settings")
    place = f"{where}, {key}"
    expect_keys(
        row,
        place,
        ("official", "source"),
        ("key", "official", "source", "ours", "reason", "effect"),
    )
    official, deliberate = row["official"], "ours" in row
    if official == NOT_PUBLISHED and not deliberate:
        raise InputError(f"{place}: official is {NOT_PUBLISHED!r}; add ours, reason and effect.")
    if deliberate and row["ours"] == official:
        raise InputError(f"{place}: ours equals official ({official!r}); leave ours out.")
    reason, effect = _explanation(row, place, deliberate)
    return Setting(
        key=key,
        official=official,
        source=_source(row, place, repositories),
        deliberate=deliberate,
        ours=row.get("ours", official),
        reason=reason,
        effect=effect,
    )


def read_fact(row: Mapping[str, Any], where: str, repositories: Mapping[str, Repository]) -> Fact:
    """A property of the code, with the test that verifies it or with our difference.

    Args:
        row: a row of the table.
        where: file and position, for messages.
        repositories: repositories that sources may name.

    Raises:
        InputError: the row is incomplete or contradicts itself.
    """
    fact = text(row, "fact", f"{where}, facts")
    place = f"{where}, {fact!r}"
    allowed = ("fact", "official", "source", "test", "ours", "reason", "effect")
    expect_keys(row, place, ("official", "source"), allowed)
    if ("test" in row) == ("ours" in row):
        raise InputError(
            f"{place}: give either test, which verifies that ours is the same, or ours with reason "
            "and effect."
        )
    reason, effect = _explanation(row, place, "ours" in row)
    test = text(row, "test", place) if "test" in row else ""
    if test and not _TEST.fullmatch(test):
        raise InputError(
            f"{place}: test is {test}, but must be of the form tests/<path>.py::test_<name>."
        )
    official = text(row, "official", place)
    ours = text(row, "ours", place) if "ours" in row else ""
    if ours == official:
        raise InputError(f"{place}: ours equals official; give the test that verifies it instead.")
    return Fact(fact, official, _source(row, place, repositories), test, ours, reason, effect)


def _explanation(row: Mapping[str, Any], place: str, deliberate: bool) -> tuple[str, str]:
    """Reason and effect, which deliberate differences must have and other rows must not."""
    if deliberate:
        for key in ("reason", "effect"):
            if key not in row:
                raise InputError(f"{place}: ours differs from official, but {key} is missing.")
        return text(row, "reason", place), text(row, "effect", place)
    for key in ("reason", "effect"):
        if key in row:
            raise InputError(f"{place}: {key} is given without ours; remove it, or add ours.")
    return "", ""


def _source(row: Mapping[str, Any], where: str, repositories: Mapping[str, Repository]) -> str:
    """The source of a row; each of its places must name a repository, the paper or the slides."""
    source = text(row, "source", where)
    for place in source.split("; "):
        name, _, rest = place.partition(" ")
        if name.rstrip(",") in _OTHER_SOURCES:
            continue
        if name not in repositories:
            known = [*repositories, *_OTHER_SOURCES]
            raise InputError(
                f"{where}: source {place!r} begins with none of {', '.join(known)}; name a "
                "repository of the table."
            )
        if not _IN_CODE.fullmatch(rest):
            raise InputError(
                f"{where}: source {place!r} has no file and line; write {name} path/file.py:LINE, "
                f"{name} issue #NUMBER or {name} README."
            )
    return source
