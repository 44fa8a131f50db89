"""What the user can mend: one exception for it, and the nearest right word for a misspelt one."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Data, configuration or weights that cannot be used; the message names them and the mend.

    The command line prints only its message; any other exception is a defect and keeps its
    traceback.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """End of a message: the nearest of the `known` words, or all of them if none is near."""
    words = sorted(map(str, known))
    near = closest(word, words)
    if near is not None:
        return f"did you mean {near}?"
    return f"known are {', '.join(words)}." if words else "none is known here."


def closest(word: str, known: Iterable[str]) -> str | None:
    """The most similar of the `known` words, capitals or not; None where none is similar."""
    by_lower = {one.lower(): one for one in sorted(map(str, known), reverse=True)}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None
