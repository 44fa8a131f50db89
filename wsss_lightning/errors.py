"""The exception for errors that users can correct, and suggestions for misspelt names."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Data, configuration or weights cannot be used; the message says why and how to fix it.

    The command line prints only the message. Any other exception is a defect of this package and
    keeps its traceback.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """End of a message: the most similar known name, or all known names if none is similar."""
    names = sorted(map(str, known))
    near = closest(name, names)
    if near is not None:
        return f"did you mean {near}?"
    return f"known are {', '.join(names)}." if names else "none is known."


def closest(name: str, known: Iterable[str]) -> str | None:
    """The most similar known name, ignoring case; None if none is similar."""
    by_lower = {one.lower(): one for one in sorted(map(str, known), reverse=True)}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None
