"""What is seen of a stage while it runs."""

from collections.abc import Iterable, Iterator
from typing import TypeVar, final

from pytorch_lightning.callbacks import RichProgressBar
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
console = Console()


@final
class StageProgress(RichProgressBar):
    """Lightning's bar, each line led by the name of the stage."""

    def __init__(self, stage: str) -> None:
        super().__init__(leave=False)
        self.stage = stage

    def _get_train_description(self, current_epoch: int) -> str:
        return f"{self.stage} {super()._get_train_description(current_epoch).lower()}"

    @property
    def validation_description(self) -> str:
        return f"{self.stage} validation"

    @property
    def predict_description(self) -> str:
        return f"{self.stage} images"


def track(items: Iterable[T], total: int, stage: str) -> Iterator[T]:
    """Iterate with a bar, its pace and the time left; silent where there is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(escape(stage), total=total)
        for item in items:
            yield item
            bar.advance(task)
