"""No figure of a part of the images, or of some of them twice."""

from collections import Counter
from typing import Any, final

import pytorch_lightning as pl
from torch import distributed

from wsss_lightning.data.batch import Batch
from wsss_lightning.utils.console import console
from wsss_lightning.utils.text import shorten


@final
class CoverageCheck(pl.Callback):
    """Stops a validation or prediction that has not seen every image once, over all processes.

    Reads the names of batches, and of the data module what whole images its loaders give; where
    the trainer was told to see a part (`limit_val_batches`), a part it is.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.seen = []

    def on_predict_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.seen = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        self.seen += batch["name"]

    def on_predict_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        self.seen += batch["name"]

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        limit = trainer.limit_val_batches
        whole = isinstance(limit, float) and limit == 1  # an int counts batches
        if whole and not trainer.sanity_checking:
            self._check(trainer, "val")

    def on_predict_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._check(trainer, "predict")

    def _check(self, trainer: pl.Trainer, use: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        wanted: Counter[str] = Counter(data.expected_names[use])
        seen = Counter(_of_all_processes(self.seen))
        if seen != wanted:
            raise RuntimeError(
                f"{seen.total()} images were seen where there are {wanted.total()}, each to be "
                f"seen once, by {trainer.world_size} processes: {_list(wanted - seen)} not seen, "
                f"{_list(seen - wanted)} too often. No figure of this stage is right; another "
                "sampler than the data module's is at work (trainer.use_distributed_sampler?)."
            )
        if trainer.world_size > 1 and trainer.is_global_zero and trainer.state.fn != "fit":
            counted = f"{seen.total()}/{wanted.total()} images, each once"
            console.print(f"[dim]{counted}, {trainer.world_size} processes[/]")


def _of_all_processes(names: list[str]) -> list[str]:
    if not (distributed.is_available() and distributed.is_initialized()):
        return names
    parts: list[list[str]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(parts, names)
    return [name for part in parts for name in part]


def _list(names: Counter[str]) -> str:
    return shorten(sorted(names)) or "none"
