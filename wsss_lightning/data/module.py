"""One DataModule for all stages."""

import math
import multiprocessing
import signal
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, distributed
from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]
from torch.utils.data import DataLoader, Dataset, Sampler

from wsss_lightning.data.batch import Batch, Sample, collate
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.scores import load_score
from wsss_lightning.data.stage_files import image_file
from wsss_lightning.data.transforms import TrainTransform
from wsss_lightning.errors import InputError


@final
class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, index) pairs, shuffled anew each epoch; Lightning calls `set_epoch`.

    A sample that knows its epoch draws the same random numbers in whatever worker it is made. An
    epoch is whole batches, each shared out evenly over processes, so that a step sees the same
    images however many there are; images that fill no batch wait for another epoch's order. Of
    fewer images than a batch all make one, the first of them twice where processes need it.

    Args:
        length: images.
        seed: of the order.
        batch_size: of all processes together; a multiple of their number.
        begun: an epoch, and how many of its batches a training has behind it that goes on there.
    """

    def __init__(
        self, length: int, seed: int, batch_size: int, begun: tuple[int, int] = (0, 0)
    ) -> None:
        self.length, self.seed = length, seed
        self.rank, self.processes = _process()
        if length >= batch_size:
            self.count = length // batch_size * batch_size
        else:
            self.count = math.ceil(length / self.processes) * self.processes
        epoch, past = begun[0], begun[1] * batch_size
        self.begun = (epoch, past) if past < self.count else (epoch + 1, 0)
        # workers read ahead before Lightning tells the epoch
        self.epoch = self.begun[0]

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.processes

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # the length is no index, so no sample's stream of numbers repeats this one
        order = np.random.default_rng([self.seed, self.epoch, self.length]).permutation(self.length)
        epoch, past = self.begun
        past = past if self.epoch == epoch else 0
        shared = np.resize(order, self.count)[past:][self.rank :: self.processes]
        return iter([(self.epoch, int(i)) for i in shared])


@final
class SameSizeBatchSampler(Sampler[list[int]]):
    """Each image once, in batches of one size, so that whole images can be stacked unpadded.

    Several processes share the batches out among themselves, none padded and none twice. Which
    images meet in a batch depends neither on the number of processes nor on what was done before,
    and so no result does, to the last bit. All processes state the length of the longest share:
    Lightning leaves out a process whose length is 0, which then does not take part in collective
    operations that the others wait in. The iterator of a shorter share, or of an empty one, ends
    early.

    Args:
        sizes: (H, W) of each image.
        batch_size: at most so many images.
        done: images whose batch is left out where it holds no other.
    """

    def __init__(
        self, sizes: Sequence[tuple[int, int]], batch_size: int, done: Collection[int] = ()
    ) -> None:
        by_size = defaultdict(list)
        for i, size in enumerate(sizes):
            by_size[size].append(i)
        done = frozenset(done)
        whole = [
            batch
            for group in by_size.values()
            for start in range(0, len(group), batch_size)
            if not done.issuperset(batch := group[start : start + batch_size])
        ]
        self.all_left = [i for batch in whole for i in batch]
        rank, processes = _process()
        self.batches = whole[rank::processes]
        self.longest = math.ceil(len(whole) / processes)

    def __len__(self) -> int:
        return self.longest

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


@final
class _Augmented(Dataset[Sample]):
    """A split as training sees it; its randomness depends on seed, epoch and index alone."""

    def __init__(
        self,
        data: VOCDataset,
        transform: TrainTransform,
        seed: int,
        sub_tags: Mapping[str, Tensor] | None,
        scores: Sequence[Path],
    ) -> None:
        self.data, self.transform, self.seed = data, transform, seed
        self.sub_tags, self.scores = sub_tags, scores

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, at: tuple[int, int]) -> Sample:
        epoch, i = at
        sample = self.data[i]
        if self.sub_tags is not None:
            sample["sub_tags"] = self.sub_tags[sample["name"]]
        if self.scores:
            maps = [load_score(image_file(f, sample["name"], ".npz"))[0] for f in self.scores]
            sample["score"] = torch.from_numpy(np.concatenate(maps))
        return self.transform(sample, np.random.default_rng([self.seed, epoch, i]))


@final
class DataModule(pl.LightningDataModule):
    """Training crops, and whole images for validation and prediction.

    Args:
        reader: builds a split, given `split` and what samples shall carry.
        train: split to train on.
        val: split to validate on; None: the data set has none.
        transform: what training sees.
        batch_size: of training, of all processes together.
        eval_batch_size: of whole images.
        num_workers: processes that read ahead.
        seed: of order and transforms.
        target: what training samples hold beside the image: `tags` or `masks`.
        masks: folder of pseudo masks that stand for the true ones in training.
        sub_tags: sub-categories of each training image by its name, which samples shall carry.
        scores: folders of `save_score` files of the training images; samples carry the maps of all
            of them in one `score`.
        predict: split to predict.
        skip: names that were predicted already; prediction leaves out batches of such.
    """

    def __init__(
        self,
        reader: Callable[..., VOCDataset],
        train: str,
        val: str | None,
        transform: TrainTransform | None,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int,
        seed: int,
        target: str = "tags",
        masks: Path | None = None,
        sub_tags: Mapping[str, Tensor] | None = None,
        scores: Sequence[Path] = (),
        predict: str | None = None,
        skip: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.reader, self.train, self.val, self.transform = reader, train, val, transform
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers, self.seed = num_workers, seed
        self.target, self.masks, self.sub_tags = target, masks, sub_tags
        self.scores = tuple(scores)
        self.predict, self.skip = predict, frozenset(skip)
        self.whole: dict[str, list[str]] = {}  # names that a loader of whole images gives, by use
        self.begun = (0, 0)  # an epoch, and how many of its batches were learnt from before

    def state_dict(self) -> dict[str, int]:
        """Of a checkpoint: where in the order of images training is."""
        trainer: Any = self.trainer
        progress = trainer.fit_loop.epoch_loop.batch_progress.current
        return {"epoch": trainer.current_epoch, "batches": progress.ready}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.begun = state_dict["epoch"], state_dict["batches"]

    def train_dataloader(self) -> DataLoader[Batch]:
        if self.transform is None:
            raise ValueError("the DataModule has no transform, but training needs one")
        data = self.reader(split=self.train, masks=self.masks, with_masks=self.target == "masks")
        _, processes = _process()
        if self.batch_size % processes:
            raise InputError(
                f"batch_size is {self.batch_size}, of all {processes} processes together, and they "
                f"cannot share it evenly; set a multiple of {processes}, or other trainer.devices."
            )
        return self._loader(
            _Augmented(data, self.transform, self.seed, self.sub_tags, self.scores),
            batch_size=self.batch_size // processes,
            sampler=EpochSampler(len(data), self.seed, self.batch_size, self.begun),
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        if self.val is None:
            raise ValueError("the DataModule has no split to validate on")
        data = self.reader(split=self.val, with_masks=self.target == "masks")
        return self._whole(data, "val")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[Batch]:
        if self.predict is None:
            raise ValueError("the DataModule has no split to predict")
        data = self.reader(split=self.predict, with_masks=False)
        return self._whole(data, "predict", self.skip)

    def _whole(self, data: VOCDataset, use: str, skip: Collection[str] = ()) -> DataLoader[Batch]:
        sizes = [data.image_size(i) for i in range(len(data))]
        done = [i for i, name in enumerate(data.names) if name in skip]
        sampler = SameSizeBatchSampler(sizes, self.eval_batch_size, done)
        self.whole[use] = [data.names[i] for i in sampler.all_left]
        return self._loader(data, batch_sampler=sampler)

    def _loader(self, data: Dataset[Any], **how: Any) -> DataLoader[Batch]:
        return DataLoader(
            dataset=data,
            collate_fn=collate,
            num_workers=self.num_workers,
            multiprocessing_context=fork_context() if self.num_workers else None,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=_exit_with_parent,
            **how,
        )


def _exit_with_parent(_worker: int) -> None:
    """End with the process that reads; a worker that outlives it reports errors of its clean-up."""
    _prctl_pr_set_pdeathsig(signal.SIGKILL)  # nothing happens but on Linux


def fork_context() -> Any:
    """How processes are started that take over what this one holds, whoever started this one.

    Those of joblib would start theirs in joblib's way, which pickles what it hands over.
    """
    known = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if "fork" in known else "spawn")


def _process() -> tuple[int, int]:
    """Rank of this process, and how many take part in the run."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
