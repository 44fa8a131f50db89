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
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"known are {', '.join(words)}." if words else "none is known here."
