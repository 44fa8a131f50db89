"""The terminal: one console for all output, and progress bars."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
console = Console()


def print_plain(message: str, style: str | None = None) -> None:
    """Print text that may hold file names or keys: without markup, highlighting or line breaks."""
    console.print(message, style=style, markup=False, highlight=False, soft_wrap=True)


def warn(message: str) -> None:
    """Print a warning in yellow."""
    print_plain(message, "yellow")


def track(items: Iterable[T], total: int | None, description: str) -> Iterator[T]:
    """Iterate with a progress bar; silent where the output is not a terminal.

    Args:
        items: items to iterate over.
        total: number of items; None: unknown.
        description: text before the bar.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(escape(description), total=total)
        for item in items:
            yield item
            bar.advance(task)
