"""Prediction of many image files into a folder; what is finished is skipped."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from wsss_lightning.data.file_facts import digest_of
from wsss_lightning.data.module import exit_with_parent, fork_context
from wsss_lightning.errors import InputError
from wsss_lightning.predict.images import Photo
from wsss_lightning.predict.output import OutputFolder
from wsss_lightning.predict.prediction import Prediction
from wsss_lightning.predict.predictor import Predictor, size_hint
from wsss_lightning.utils.console import track, warn
from wsss_lightning.utils.text import shorten

Loaded = tuple[int, Tensor | None, str]  # position, image, and its digest or the error


@dataclass
class Summary:
    """What `predict_files` did.

    Args:
        predicted: number of images.
        skipped: number of images that were finished before.
        seconds: duration of reading, predicting and writing.
        unreadable: errors of images that could not be read.
    """

    predicted: int = 0
    skipped: int = 0
    seconds: float = 0.0
    unreadable: list[str] = field(default_factory=list)


def predict_files(
    predictor: Predictor, files: Sequence[tuple[str, Path]], output: OutputFolder, workers: int
) -> Summary:
    """Predict image files; unreadable ones are listed, and the others are done.

    Args:
        predictor: of the masks.
        files: name and path of each image.
        output: folder of the results.
        workers: processes that read images; 0 reads in this process.
    """
    summary = Summary()
    readable, sizes = [], []
    for name, path in files:
        try:
            sizes.append(Photo(name, path).size)
            readable.append((name, path))
        except InputError as error:
            summary.unreadable.append(str(error))
    _note_tiles(predictor, readable, sizes)
    finished = output.finished(readable)
    done = {i for i, (name, _) in enumerate(readable) if name in finished}
    summary.skipped = len(done)
    # a batch is predicted as a whole, so that masks do not depend on where a command stopped
    batches = [batch for batch in predictor.batches(sizes) if not done.issuperset(batch)]
    start, failed = time.monotonic(), set[str]()
    predictions = _predictions(predictor, readable, batches, workers, summary, failed)
    missing = (one for one in predictions if one[0].name not in finished)
    for prediction, digest in track(missing, len(readable) - len(done), "predict"):
        output.write(prediction, digest)
        summary.predicted += 1
    summary.seconds = time.monotonic() - start
    names = [name for name, _ in readable if name not in failed]
    output.write_summary(names, predictor.model.info)
    return summary


def _predictions(
    predictor: Predictor,
    files: Sequence[tuple[str, Path]],
    batches: list[list[int]],
    workers: int,
    summary: Summary,
    failed: set[str],
) -> Iterator[tuple[Prediction, str]]:
    """Predictions with the digests of their files; adds images that cannot be read to `failed`."""
    for loaded in _loader(files, batches, workers):
        images, names, digests = [], [], []
        for i, image, text in loaded:
            if image is None:
                summary.unreadable.append(text)
                failed.add(files[i][0])
            else:
                images.append(image)
                names.append(files[i][0])
                digests.append(text)
        if images:
            predictions = predictor.predict_batch(names, torch.stack(images))
            yield from zip(predictions, digests, strict=True)


@final
class _Files(Dataset[Loaded]):
    """Reads image files; an error is returned instead of an image."""

    def __init__(self, files: Sequence[tuple[str, Path]]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Loaded:
        name, path = self.files[i]
        try:
            return i, Photo(name, path).read(), digest_of(path)
        except InputError as error:
            return i, None, str(error)


def _loader(
    files: Sequence[tuple[str, Path]], batches: list[list[int]], workers: int
) -> DataLoader[Any]:
    return DataLoader(
        _Files(files),
        batch_sampler=batches,
        collate_fn=list,
        num_workers=workers,
        multiprocessing_context=fork_context() if workers else None,
        worker_init_fn=exit_with_parent,
    )


def _note_tiles(
    predictor: Predictor, files: Sequence[tuple[str, Path]], sizes: Sequence[tuple[int, int]]
) -> None:
    tiled = [name for (name, _), size in zip(files, sizes, strict=True) if predictor.tile_of(size)]
    if tiled and predictor.tile is None:
        warn(
            f"{len(tiled)} large photos are predicted in tiles ({shorten(tiled)}). "
            f"{size_hint(predictor.model)}"
        )
