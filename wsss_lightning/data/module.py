"""The DataModule of every training, validation and prediction.

Letters: b images, c classes, d sub-categories a class, n maps, h w a crop, H W an image.
"""

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
from wsss_lightning.data.scores import load_mask, load_score
from wsss_lightning.data.stage_files import image_file
from wsss_lightning.data.transforms import TrainTransform
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE


@final
class EpochSampler(Sampler[tuple[int, int]]):
    """Yield (epoch, index) pairs in an order that depends on seed and epoch only.

    The pair lets a sample draw the same random numbers in any worker process. An epoch consists of
    full batches, each split evenly between processes, so that a step uses the same images for any
    number of processes. Images that fill no batch are left out of this epoch; the next one has
    another order. A dataset smaller than a batch forms one batch, in which the first images are
    repeated if the processes need them.

    Args:
        length: number of images.
        seed: seed of the order.
        batch_size: batch size of all processes together; a multiple of their number.
        start: epoch and number of its batches that are already done, from which a resumed training
            continues.
    """

    def __init__(
        self, length: int, seed: int, batch_size: int, start: tuple[int, int] = (0, 0)
    ) -> None:
        self.length, self.seed = length, seed
        self.rank, self.processes = _rank_and_world_size()
        if length >= batch_size:
            self.count = length // batch_size * batch_size
        else:
            self.count = math.ceil(length / self.processes) * self.processes
        epoch, past = start[0], start[1] * batch_size
        self.start = (epoch, past) if past < self.count else (epoch + 1, 0)
        # workers prefetch before Lightning calls `set_epoch`
        self.epoch = self.start[0]

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.processes

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # samples use [seed, epoch, index]; the length is never an index, so the streams differ
        order = np.random.default_rng([self.seed, self.epoch, self.length]).permutation(self.length)
        epoch, past = self.start
        past = past if self.epoch == epoch else 0
        indices = np.resize(order, self.count)[past:][self.rank :: self.processes]
        return iter([(self.epoch, int(i)) for i in indices])


@final
class SameSizeBatchSampler(Sampler[list[int]]):
    """Yield each image once, in batches of images of equal size, which need no padding.

    Processes share the batches without padding or repetition. The composition of a batch depends
    neither on the number of processes nor on what is already done, so results are bit-identical.
    Every process reports the length of the longest share: Lightning excludes a process of length 0
    from the loop, and the others would wait for it in collective operations. The iterator of a
    shorter share ends early.

    Args:
        sizes: (H, W) of each image.
        batch_size: maximum number of images in a batch.
        done: images that need no prediction; batches of such images only are left out.
    """

    def __init__(
        self, sizes: Sequence[tuple[int, int]], batch_size: int, done: Collection[int] = ()
    ) -> None:
        by_size = defaultdict(list)
        for i, size in enumerate(sizes):
            by_size[size].append(i)
        done = frozenset(done)
        batches = [
            batch
            for group in by_size.values()
            for start in range(0, len(group), batch_size)
            if not done.issuperset(batch := group[start : start + batch_size])
        ]
        self.indices = [i for batch in batches for i in batch]  # of all processes
        rank, processes = _rank_and_world_size()
        self.batches = batches[rank::processes]
        self.longest = math.ceil(len(batches) / processes)

    def __len__(self) -> int:
        return self.longest

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


@final
class _AugmentedSplit(Dataset[Sample]):
    """Images of a split with training transforms; randomness depends on seed, epoch and index only.

    `images` are the indices of the images; a key's index counts these.
    """

    def __init__(
        self,
        dataset: VOCDataset,
        images: Sequence[int],
        transform: TrainTransform,
        seed: int,
        sub_tags: Mapping[str, Tensor] | None,
        scores: Sequence[Path],
    ) -> None:
        self.dataset, self.images = dataset, images
        self.transform, self.seed = transform, seed
        self.sub_tags, self.scores = sub_tags, scores

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, i = key
        sample = self.dataset[self.images[i]]
        if self.sub_tags is not None:
            sample["sub_tags"] = self.sub_tags[sample["name"]]
        if self.scores:
            files = [image_file(folder, sample["name"], ".npz") for folder in self.scores]
            maps = np.concatenate([load_score(file)[0] for file in files])
            sample["score"] = torch.from_numpy(maps)
        return self.transform(sample, np.random.default_rng([self.seed, epoch, i]))


@final
class DataModule(pl.LightningDataModule):
    """Batches of random crops for training, and of whole images for validation and prediction.

    A training batch holds `image` (b 3 h w) in [0, 1], `tags` (b c), `name`, and `mask` (b h w),
    `sub_tags` (b c * d) or `score` (list of b, n h w) if requested; h = w = `crop_size`. Other
    batches hold whole images of one size (b 3 H W), with `mask` (b H W) if masks are the target.

    Args:
        open_split: returns a `VOCDataset`, given `split`, `with_masks` and `masks`, the folder of
            pseudo masks (`VOCDataset.view`).
        train: split to train on.
        val: split to validate on; None: there is none.
        transform: transform of training images; None if the module is not used for training.
        batch_size: batch size of training, over all processes.
        eval_batch_size: batch size of whole images, per process.
        num_workers: data loading processes; 0 loads in this process.
        seed: seed of the order and the transforms.
        target: `masks` adds masks to training and validation samples; `tags` does not.
        masks: folder of pseudo masks that replace the true masks in training.
        sub_tags: (c * d) multi-hot sub-categories by image name, added to training samples.
        scores: folders of score maps of the training images (`save_score`), added to training
            samples as one `score` in the order of the folders.
        predict: split to predict.
        skip: names of images that are already predicted; batches of such images are left out.
    """

    def __init__(
        self,
        open_split: Callable[..., VOCDataset],
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
        self.open_split, self.train, self.val, self.transform = open_split, train, val, transform
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers, self.seed = num_workers, seed
        self.target, self.masks, self.sub_tags = target, masks, sub_tags
        self.scores = tuple(scores)
        self.predict, self.skip = predict, frozenset(skip)
        # names that the loaders of whole images yield over all processes, by "val" and "predict"
        self.expected_names: dict[str, list[str]] = {}
        self.start = (0, 0)  # epoch and its batches that a resumed training has done

    def state_dict(self) -> dict[str, int]:
        """Position in the order of images, for checkpoints."""
        trainer: Any = self.trainer
        progress = trainer.fit_loop.epoch_loop.batch_progress.current
        return {"epoch": trainer.current_epoch, "batches": progress.ready}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue at the position that `state_dict` returned."""
        self.start = state_dict["epoch"], state_dict["batches"]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of random crops, shuffled by `EpochSampler`.

        Images whose pseudo mask is ignored everywhere, such as those that a reviewer rejected, are
        left out: they would teach nothing, but take the place of others in a batch.

        Raises:
            InputError: `batch_size` is no multiple of the number of processes, or no pseudo mask
                has a label.
        """
        if self.transform is None:
            raise ValueError("the DataModule has no transform, but training needs one")
        dataset = self.open_split(
            split=self.train, masks=self.masks, with_masks=self.target == "masks"
        )
        _, processes = _rank_and_world_size()
        if self.batch_size % processes:
            raise InputError(
                f"batch_size is {self.batch_size}, of all {processes} processes together, which "
                f"cannot share it evenly; set a multiple of {processes}, or use another number of "
                "devices."
            )
        images = _labelled_images(dataset)
        return self._loader(
            _AugmentedSplit(dataset, images, self.transform, self.seed, self.sub_tags, self.scores),
            batch_size=self.batch_size // processes,
            sampler=EpochSampler(len(images), self.seed, self.batch_size, self.start),
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Whole images of the validation split, each once over all processes.

        Raises:
            ValueError: there is no validation split.
        """
        if self.val is None:
            raise ValueError("the DataModule has no split to validate on")
        dataset = self.open_split(split=self.val, with_masks=self.target == "masks")
        return self._whole_images(dataset, "val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """The same as for validation."""
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Whole images of the split to predict, without those of `skip`.

        Raises:
            ValueError: there is no split to predict.
        """
        if self.predict is None:
            raise ValueError("the DataModule has no split to predict")
        dataset = self.open_split(split=self.predict, with_masks=False)
        return self._whole_images(dataset, "predict", self.skip)

    def _whole_images(
        self, dataset: VOCDataset, use: str, skip: Collection[str] = ()
    ) -> DataLoader[Batch]:
        sizes = [dataset.image_size(i) for i in range(len(dataset))]
        done = [i for i, name in enumerate(dataset.names) if name in skip]
        sampler = SameSizeBatchSampler(sizes, self.eval_batch_size, done)
        self.expected_names[use] = [dataset.names[i] for i in sampler.indices]
        return self._loader(dataset, batch_sampler=sampler)

    def _loader(self, dataset: Dataset[Any], **arguments: Any) -> DataLoader[Batch]:
        return DataLoader(
            dataset=dataset,
            collate_fn=collate,
            num_workers=self.num_workers,
            multiprocessing_context=fork_context() if self.num_workers else None,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=exit_with_parent,
            **arguments,
        )


def _labelled_images(dataset: VOCDataset) -> list[int]:
    """Indices of the images to train on: all, but those whose whole pseudo mask is ignored.

    Raises:
        InputError: there is none.
    """
    if not dataset.with_masks or dataset.pseudo_masks is None:
        return list(range(len(dataset)))
    files = [image_file(dataset.pseudo_masks, name, ".png") for name in dataset.names]
    images = [i for i, file in enumerate(files) if (load_mask(file) != IGNORE).any()]
    if not images:
        raise InputError(
            f"the masks of all {len(dataset)} images of {dataset.split} are ignored everywhere, so "
            "there is nothing to train on; reject fewer images, or lower pseudo.confidence."
        )
    return images


def exit_with_parent(_worker: int) -> None:
    """Let the kernel end this worker with its parent; otherwise its clean-up prints errors."""
    _prctl_pr_set_pdeathsig(signal.SIGKILL)  # has an effect on Linux only


def fork_context() -> Any:
    """The multiprocessing context `fork` where it exists, else `spawn`.

    Forked processes share the memory of their parent. It is requested explicitly because inside
    a joblib worker the default context pickles everything.
    """
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if "fork" in methods else "spawn")


def _rank_and_world_size() -> tuple[int, int]:
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
