"""Writes predicted probabilities of tags to disk, one file for each batch."""

import csv
import hashlib
from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl

from wsss_lightning.utils.files import write_table


@final
class ProbabilityWriter(pl.Callback):
    """Reads `name` and `probability` (b c) of `predict_step` and writes them to files.

    Each file is complete or absent, so that an interrupted prediction can be resumed.

    Args:
        folder: folder of the files `part-*.csv`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def written(self) -> dict[str, list[float]]:
        """Probabilities of the images that have been written, by name."""
        rows: dict[str, list[float]] = {}
        for path in self._parts():
            with path.open(newline="", encoding="utf-8") as file:
                rows |= {name: [float(p) for p in values] for name, *values in csv.reader(file)}
        return rows

    def remove_parts(self) -> None:
        """Remove the files of all batches."""
        for path in self._parts():
            path.unlink()

    def on_predict_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        names, probability = outputs["name"], outputs["probability"].double().cpu().tolist()
        # batches have no image in common, so the name of the first identifies a batch
        digest = hashlib.sha256(names[0].encode()).hexdigest()[:16]
        rows = [(name, *values) for name, values in zip(names, probability, strict=True)]
        write_table(self.folder / f"part-{digest}.csv", rows)

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.csv"))
