"""Text for messages."""

from collections.abc import Collection
from typing import Any


def shorten(items: Collection[Any], most: int = 3) -> str:
    """List items separated by commas; of a long list the first `most`: `a, b, c and 4 more`."""
    shown = ", ".join(str(item) for item in list(items)[:most])
    return f"{shown} and {len(items) - most} more" if len(items) > most else shown
