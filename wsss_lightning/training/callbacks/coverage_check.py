"""Checks that an evaluation covers every image exactly once."""

from collections import Counter
from typing import Any, final

import pytorch_lightning as pl
from torch import distributed

from wsss_lightning.data.batch import Batch
from wsss_lightning.utils.console import console
from wsss_lightning.utils.text import shorten


@final
class CoverageCheck(pl.Callback):
    """Checks that a validation or prediction covers every image once, over all processes.

    Reads the names of batches, and the names of all images from the data module. A validation that
    `limit_val_batches` restricts to some batches is not checked.
    """

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.names = []

    def on_predict_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.names = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        self.names += batch["name"]

    def on_predict_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        self.names += batch["name"]

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        limit = trainer.limit_val_batches
        whole = isinstance(limit, float) and limit == 1  # an int counts batches
        if whole and not trainer.sanity_checking:
            self._check(trainer, "val")

    def on_predict_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._check(trainer, "predict")

    def _check(self, trainer: pl.Trainer, use: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        expected: Counter[str] = Counter(data.expected_names[use])
        processed = Counter(_gather_names(self.names))
        if processed != expected:
            missing, repeated = sorted(expected - processed), sorted(processed - expected)
            raise RuntimeError(
                f"{processed.total()} images were processed instead of {expected.total()}, by "
                f"{trainer.world_size} processes. Missing: {shorten(missing) or 'none'}; too "
                f"often: {shorten(repeated) or 'none'}. The results of this stage are wrong: "
                "another sampler replaced that of the data module "
                "(trainer.use_distributed_sampler?)."
            )
        if trainer.world_size > 1 and trainer.is_global_zero and trainer.state.fn != "fit":
            count = f"{processed.total()}/{expected.total()} images, each once"
            console.print(f"[dim]{count}, {trainer.world_size} processes[/]")


def _gather_names(names: list[str]) -> list[str]:
    """Names of all processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return names
    parts: list[list[str]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(parts, names)
    return [name for part in parts for name in part]
