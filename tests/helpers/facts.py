"""Checks of messages: a message must name facts; its wording is free to improve.

A fact is a key, value, range, file, class, count or suggested word. It counts as named where it
stands in the text as a whole: `0.5` is not in `0.55`, and `scale` not in `scale_step`. Letter case
and line breaks do not matter.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


def _folded(text: object) -> str:
    return " ".join(str(text).lower().split())


def _pattern(fact: object) -> re.Pattern[str]:
    word = _folded(fact)
    before = r"(?<!\w)(?<!\d\.)" if re.match(r"\w", word) else ""
    after = r"(?!\w|\.\d)" if re.search(r"\w$", word) else ""
    return re.compile(before + re.escape(word) + after)


def _is_named(fact: object, text: str) -> bool:
    return _pattern(fact).search(text) is not None


def assert_names(text: object, *facts: object, near: int | None = None) -> None:
    """Check that a text or an error names every fact.

    Args:
        near: of a long text, such as all that a command prints, one passage must name every fact:
            all of them within this many characters of the first.
    """
    assert facts, "no fact to look for"
    folded = _folded(text)
    missing = [fact for fact in facts if not _is_named(fact, folded)]
    assert not missing, f"{missing} not named in: {str(text)[:1000]}"
    if near is not None:
        passages = [
            folded[max(0, found.start() - near) : found.end() + near]
            for found in _pattern(facts[0]).finditer(folded)
        ]
        together = [all(_is_named(fact, passage) for fact in facts) for passage in passages]
        assert any(together), f"{facts} are not named together in: {str(text)[:1000]}"


def assert_names_none(text: object, *facts: object) -> None:
    """Check that a text names none of these facts."""
    folded = _folded(text)
    present = [fact for fact in facts if _is_named(fact, folded)]
    assert not present, f"{present} named in: {str(text)[:1000]}"


@contextmanager
def raises_naming(
    error: type[BaseException], *facts: object
) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """`pytest.raises` for an error whose message names every fact."""
    with pytest.raises(error) as caught:
        yield caught
    assert_names(caught.value, *facts)


@contextmanager
def warns_naming(warning: type[Warning], *facts: object) -> Iterator[None]:
    """`pytest.warns` for one warning whose message names every fact."""
    with pytest.warns(warning) as caught:
        yield
    texts = [_folded(one.message) for one in caught]
    assert any(all(_is_named(fact, text) for fact in facts) for text in texts), texts
