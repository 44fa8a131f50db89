"""One DataModule for all stages."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pytorch_lightning as pl
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from wsss_lightning.data.batch import Batch, Sample, collate
from wsss_lightning.data.transforms import TrainTransform
from wsss_lightning.data.voc_layout import VOCLayout


@final
class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, index) pairs, shuffled anew each epoch; Lightning calls `set_epoch`.

    A sample that knows its epoch draws the same random numbers in whatever worker it is made. Of
    several processes each takes an equal share; where it does not come out even, the first
    images are taken twice, since a process with a batch less would leave the others waiting.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0
        self.rank, self.processes = _process()

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.length / self.processes)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # the length is no index, so no sample's stream of numbers repeats this one
        order = np.random.default_rng([self.seed, self.epoch, self.length]).permutation(self.length)
        shared = np.resize(order, len(self) * self.processes)[self.rank :: self.processes]
        return iter([(self.epoch, int(i)) for i in shared])


@final
class SameSizeBatchSampler(Sampler[list[int]]):
    """Each image once, in batches of one size, so that whole images can be stacked unpadded.

    Several processes share the batches out among themselves.

    Args:
        sizes: (H, W) of each image.
        batch_size: at most so many images.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], batch_size: int) -> None:
        by_size = defaultdict(list)
        for i, size in enumerate(sizes):
            by_size[size].append(i)
        rank, processes = _process()
        batches = [
            group[start : start + batch_size]
            for group in by_size.values()
            for start in range(0, len(group), batch_size)
        ]
        self.batches = batches[rank::processes]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


@final
class _Augmented(Dataset[Sample]):
    """A split as training sees it; its randomness depends on seed, epoch and index alone."""

    def __init__(
        self,
        data: VOCLayout,
        transform: TrainTransform,
        seed: int,
        sub_tags: Mapping[str, Tensor] | None,
    ) -> None:
        self.data, self.transform, self.seed = data, transform, seed
        self.sub_tags = sub_tags

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, at: tuple[int, int]) -> Sample:
        epoch, i = at
        sample = self.data[i]
        if self.sub_tags is not None:
            sample["sub_tags"] = self.sub_tags[sample["name"]]
        return self.transform(sample, np.random.default_rng([self.seed, epoch, i]))


@final
class DataModule(pl.LightningDataModule):
    """Training crops, and whole images for validation and prediction.

    Args:
        reader: builds a split, given `split` and what samples shall carry.
        train: split to train on.
        val: split to validate on.
        transform: what training sees.
        batch_size: of training.
        eval_batch_size: of whole images.
        num_workers: processes that read ahead.
        seed: of order and transforms.
        supervision: what training samples carry: `tags`, or `masks`.
        masks: folder of pseudo masks that stand for the true ones in training.
        sub_tags: sub-categories of each training image by its name, which samples shall carry.
        predict: split to predict.
        skip: names that prediction leaves out.
    """

    def __init__(
        self,
        reader: Callable[..., VOCLayout],
        train: str,
        val: str,
        transform: TrainTransform | None,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int,
        seed: int,
        supervision: str = "tags",
        masks: Path | None = None,
        sub_tags: Mapping[str, Tensor] | None = None,
        predict: str | None = None,
        skip: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.reader, self.train, self.val, self.transform = reader, train, val, transform
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers, self.seed = num_workers, seed
        self.supervision, self.masks, self.sub_tags = supervision, masks, sub_tags
        self.predict, self.skip = predict, frozenset(skip)

    def train_dataloader(self) -> DataLoader[Batch]:
        if self.transform is None:
            raise ValueError("the DataModule has no transform, but training needs one")
        data = self.reader(
            split=self.train, masks=self.masks, with_masks=self.supervision == "masks"
        )
        sampler = EpochSampler(len(data), self.seed)
        return self._loader(
            _Augmented(data, self.transform, self.seed, self.sub_tags),
            batch_size=self.batch_size,
            sampler=sampler,
            # a last batch of one image is no base for batch statistics
            drop_last=len(sampler) > self.batch_size,
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        data = self.reader(split=self.val, with_masks=self.supervision == "masks")
        return self._whole(data, range(len(data)))

    def test_dataloader(self) -> DataLoader[Batch]:
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[Batch]:
        if self.predict is None:
            raise ValueError("the DataModule has no split to predict")
        data = self.reader(split=self.predict, with_masks=False)
        left = [i for i, name in enumerate(data.names) if name not in self.skip]
        return self._whole(data, left)

    def _whole(self, data: VOCLayout, indices: Sequence[int]) -> DataLoader[Batch]:
        sizes = [data.image_size(i) for i in indices]
        sampler = SameSizeBatchSampler(sizes, self.eval_batch_size)
        return self._loader(Subset(data, list(indices)), batch_sampler=sampler)

    def _loader(self, data: Dataset[Any], **how: Any) -> DataLoader[Batch]:
        return DataLoader(
            dataset=data,
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            **how,
        )


def _process() -> tuple[int, int]:
    """Rank of this process, and how many take part in the run."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
