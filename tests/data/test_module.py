from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from facts import raises_naming
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import distributed
from torch.utils.data import DistributedSampler

from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.module import DataModule, EpochSampler, SameSizeBatchSampler
from wsss_lightning.data.scores import save_mask, save_score
from wsss_lightning.data.transforms import TrainTransform
from wsss_lightning.errors import InputError

SIZES = [(12, 16), (16, 12), (12, 16), (12, 16), (9, 9)]  # (H, W)
NAMES = [f"x{i}" for i in range(len(SIZES))]


@pytest.fixture(scope="module")
def open_split(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc")
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    rng = np.random.default_rng(0)
    for name, size in zip(NAMES, SIZES, strict=True):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(
            root / f"images/{name}.png"
        )
        save_mask(root / f"masks/{name}.png", rng.integers(0, 3, size, np.uint8))
    (root / "train.txt").write_text("\n".join(NAMES))
    (root / "tags.csv").write_text("\n".join(["image,cat,dog", *(f"{n},1,0" for n in NAMES)]))

    def open_split(split, mask_dir="masks", **contents) -> VOCDataset:
        dataset = VOCDataset(
            root,
            split,
            classes=["cat", "dog"],
            lists={"train": "train.txt", "val": "train.txt"},
            tags="tags.csv",
            mask_ids=None,
            image_dir="images",
            mask_dir=mask_dir,
            annotation_dir="none",
            on_missing_labels="error",
        )
        return dataset.view(**contents)

    return open_split


def module(open_split, **changes) -> DataModule:
    transform = TrainTransform(
        crop_size=8,
        long_side=[8, 20],
        scale=None,
        scale_step=None,
        flip=True,
        brightness=0.3,
        contrast=0.3,
        saturation=0.3,
        hue=0.1,
        hsv=None,
        padding=(0.5, 0.5, 0.5),
    )
    usual = {
        "train": "train",
        "val": "val",
        "transform": transform,
        "batch_size": 2,
        "eval_batch_size": 2,
        "num_workers": 0,
        "seed": 0,
    }
    return DataModule(open_split, **{**usual, **changes})


def epoch(loader, number: int) -> list:
    loader.sampler.set_epoch(number)
    return list(loader)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=30),
    batch_size=st.integers(1, 7),
)
def test_every_image_comes_once_in_batches_of_one_size(sizes, batch_size):
    sampler = SameSizeBatchSampler(sizes, batch_size)
    batches = list(sampler)
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))
    assert all(len({sizes[i] for i in batch}) == 1 for batch in batches)
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert all(batch == sorted(batch) for batch in batches)
    assert len(sampler) == len(batches)
    assert list(sampler) == batches == list(SameSizeBatchSampler(sizes, batch_size))


@given(
    sizes=st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2)), max_size=30),
    batch_size=st.integers(1, 7),
    data=st.data(),
)
def test_what_was_done_changes_no_batch_that_is_left(sizes, batch_size, data):
    done = data.draw(st.sets(st.sampled_from(range(len(sizes))))) if sizes else set()
    whole = list(SameSizeBatchSampler(sizes, batch_size))
    sampler = SameSizeBatchSampler(sizes, batch_size, done)
    assert list(sampler) == [batch for batch in whole if not set(batch) <= done]
    assert set(range(len(sizes))) - done <= set(sampler.indices)


@given(
    length=st.integers(1, 40),
    seed=st.integers(0, 99),
    number=st.integers(0, 9),
    batch_size=st.integers(1, 12),
)
def test_an_epoch_takes_every_image_once_and_names_itself(length, seed, number, batch_size):
    sampler = EpochSampler(length, seed, batch_size)
    sampler.set_epoch(number)
    pairs = list(sampler)
    assert {e for e, _ in pairs} == {number}
    taken = [i for _, i in pairs]
    assert len(set(taken)) == len(taken) == len(sampler)
    # images that fill no batch are left to other epochs
    assert length - len(taken) == (length % batch_size if length >= batch_size else 0)
    assert list(sampler) == pairs


def test_the_order_depends_on_epoch_and_seed():
    orders = set()
    for seed in (0, 1):
        sampler = EpochSampler(20, seed, 1)
        for number in (0, 1):
            sampler.set_epoch(number)
            orders.add(tuple(i for _, i in sampler))
    assert len(orders) == 4


@contextmanager
def several(processes):
    """Samplers of each rank, as made by the function that is given out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "is_initialized", lambda: True)
        patch.setattr(distributed, "get_world_size", lambda: processes)

        def of_all(make):
            made = []
            for rank in range(processes):
                patch.setattr(distributed, "get_rank", lambda rank=rank: rank)
                made.append(make())
            return made

        yield of_all


@given(length=st.integers(1, 40), processes=st.integers(1, 4), share=st.integers(1, 4))
def test_a_step_sees_the_same_images_however_many_processes(length, processes, share):
    batch_size = processes * share
    with several(processes) as of_all:
        samplers = of_all(lambda: EpochSampler(length, 0, batch_size))
    alone = [i for _, i in EpochSampler(length, 0, batch_size)]
    shares = [[i for _, i in sampler] for sampler in samplers]
    assert len({len(part) for part in shares}) == 1
    if length < batch_size:  # one batch of all
        assert {i for part in shares for i in part} == set(alone)
        return
    for step in range(len(alone) // batch_size):
        together = [i for part in shares for i in part[step * share : (step + 1) * share]]
        assert sorted(together) == sorted(alone[step * batch_size : (step + 1) * batch_size])


@given(length=st.integers(1, 20), processes=st.integers(1, 8))
def test_processes_share_whole_images_out_without_padding(length, processes):
    sizes = [(1, i % 2) for i in range(length)]
    with several(processes) as of_all:
        samplers = of_all(lambda: SameSizeBatchSampler(sizes, 3))
    batches = [batch for sampler in samplers for batch in sampler]
    # the same batches as alone, so that results are the same to the last bit
    assert sorted(batches) == sorted(SameSizeBatchSampler(sizes, 3))
    assert all(sampler.indices == samplers[0].indices for sampler in samplers)
    # Lightning leaves a process whose length is 0 out of what all do together
    assert {len(sampler) for sampler in samplers} == {max(len(s.batches) for s in samplers)}


@pytest.mark.parametrize("length", [5, 7])
def test_the_usual_sampler_would_count_images_twice(length):
    usual = [
        i
        for rank in range(2)
        for i in DistributedSampler(range(length), num_replicas=2, rank=rank, shuffle=False)
    ]
    assert len(usual) == length + 1


def test_a_batch_that_processes_cannot_share_evenly_is_refused(open_split):
    with several(2) as of_all, raises_naming(InputError, "batch_size", 5, 2):
        of_all(lambda: module(open_split, batch_size=5).train_dataloader())


def test_samples_are_bit_identical_for_any_number_of_workers(open_split):
    def seen(workers):
        loader = module(open_split, num_workers=workers, target="masks").train_dataloader()
        return [*epoch(loader, 0), *epoch(loader, 1)]

    alone, helped = seen(0), seen(2)
    assert len(alone) == len(helped) == 4
    for one, other in zip(alone, helped, strict=True):
        assert one["name"] == other["name"]
        for key in ("image", "mask", "tags"):
            assert torch.equal(one[key], other[key])


def test_an_image_is_changed_anew_each_epoch_and_each_seed(open_split):
    def crop_of(name, loader, number):
        for batch in epoch(loader, number):
            if name in batch["name"]:
                return batch["image"][batch["name"].index(name)]
        raise AssertionError(f"{name} did not come")

    loader = module(open_split, batch_size=1).train_dataloader()
    other_seed = module(open_split, batch_size=1, seed=1).train_dataloader()
    first = crop_of("x0", loader, 0)
    assert torch.equal(first, crop_of("x0", loader, 0))
    assert not torch.equal(first, crop_of("x0", loader, 1))
    assert not torch.equal(first, crop_of("x0", other_seed, 0))


def test_no_sample_draws_the_numbers_that_shuffle_the_epoch():
    # numpy takes [seed, epoch] and [seed, epoch, 0] for the same seed
    order = np.array([i for _, i in EpochSampler(50, seed=3, batch_size=1)])
    assert not np.array_equal(order, np.random.default_rng([3, 0, 0]).permutation(50))


def test_an_incomplete_batch_is_dropped_unless_it_is_the_only_one(open_split):
    assert [len(b["name"]) for b in module(open_split).train_dataloader()] == [2, 2]
    assert [len(b["name"]) for b in module(open_split, batch_size=8).train_dataloader()] == [5]


def test_training_carries_masks_only_if_they_supervise(open_split):
    assert "mask" not in next(iter(module(open_split).train_dataloader()))
    batch = next(iter(module(open_split, target="masks").train_dataloader()))
    assert batch["mask"].shape == (2, 8, 8)
    assert batch["image"].shape == (2, 3, 8, 8)


def test_pseudo_masks_are_for_training_and_never_for_validation(open_split, tmp_path):
    for name, size in zip(NAMES, SIZES, strict=True):
        save_mask(tmp_path / f"{name}.png", np.full(size, 2, np.uint8))
    data = module(open_split, target="masks", masks=tmp_path)
    for batch in data.train_dataloader():
        assert set(batch["mask"].unique().tolist()) <= {2, 255}
    for loader in (data.val_dataloader(), data.test_dataloader()):
        assert {int(x) for b in loader for x in b["mask"].unique()} == {0, 1, 2}


def test_training_carries_the_maps_of_all_folders_in_their_order(open_split, tmp_path):
    for folder, value, count in (("low", 0.0, 1), ("high", 1.0, 2)):
        for name, size in zip(NAMES, SIZES, strict=True):
            score = np.full((count, *size), value, np.float32)
            save_score(tmp_path / folder / f"{name}.npz", score, np.arange(count), bits=8)
    scores = [tmp_path / "low", tmp_path / "high"]
    for batch in module(open_split, scores=scores).train_dataloader():
        for maps in batch["score"]:
            assert maps.shape == (3, 8, 8)
            # what lies outside an image is zero
            assert [set(one.unique().tolist()) - {0.0} for one in maps] == [set(), {1.0}, {1.0}]


def test_validation_sees_whole_images_as_they_are(open_split):
    data = open_split(split="val")
    whole = {data.names[i]: data[i] for i in range(len(data))}
    names = []
    for batch in module(open_split, target="masks").val_dataloader():
        for i, name in enumerate(batch["name"]):
            names.append(name)
            assert torch.equal(batch["image"][i], whole[name]["image"])
            assert torch.equal(batch["mask"][i], whole[name]["mask"])
    assert sorted(names) == NAMES


def test_prediction_leaves_out_what_is_done_and_needs_no_masks(open_split):
    data = module(partial(open_split, mask_dir="none"), predict="train", skip={"x0", "x2", "x4"})
    batches = list(data.predict_dataloader())
    assert [batch["name"] for batch in batches] == [["x3"], ["x1"]]
    assert data.expected_names["predict"] == ["x3", "x1"]
    assert all("mask" not in batch for batch in batches)
    everything = module(open_split, predict="train", skip=NAMES)
    assert list(everything.predict_dataloader()) == []


@pytest.mark.parametrize(
    ("loader", "facts"),
    [
        ("train_dataloader", ["transform"]),
        ("val_dataloader", ["split", "validate"]),
        ("predict_dataloader", ["split", "predict"]),
    ],
)
def test_a_loader_says_what_it_lacks(open_split, loader, facts):
    with raises_naming(ValueError, *facts):
        getattr(module(open_split, transform=None, val=None), loader)()


class _Notes(pl.LightningModule):
    """Notes which images it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.trained: list[list[str]] = []
        self.predicted: list[str] = []

    def on_train_epoch_start(self) -> None:
        self.trained.append([])

    def training_step(self, batch, batch_idx) -> None:
        self.trained[-1] += batch["name"]

    def validation_step(self, batch, batch_idx) -> None:
        pass

    def predict_step(self, batch, batch_idx) -> None:
        self.predicted += batch["name"]

    def configure_optimizers(self) -> None:
        return None


def quiet_trainer(**how) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **how,
    )


@pytest.mark.filterwarnings("ignore")
def test_lightning_tells_the_epoch_and_predicts_each_image_once(open_split):
    notes = _Notes()
    data = module(open_split, batch_size=1, predict="train", skip={"x3"})
    quiet_trainer(max_epochs=3).fit(notes, data)
    assert [sorted(names) for names in notes.trained] == [NAMES] * 3
    assert len({tuple(names) for names in notes.trained}) == 3
    quiet_trainer().predict(notes, data, return_predictions=False)
    assert sorted(notes.predicted) == ["x0", "x1", "x2", "x4"]


@pytest.mark.filterwarnings("ignore")
def test_lightning_predicts_nothing_when_all_is_done(open_split):
    notes = _Notes()
    data = module(open_split, predict="train", skip=NAMES)
    quiet_trainer().predict(notes, data, return_predictions=False)
    assert notes.predicted == []


@pytest.mark.parametrize(("batches", "epoch", "past"), [(1, 3, 4), (2, 3, 8), (3, 4, 0)])
def test_an_order_that_goes_on_leaves_out_what_was_seen(batches, epoch, past):
    whole = EpochSampler(12, seed=5, batch_size=4)
    whole.set_epoch(epoch)
    rest = EpochSampler(12, seed=5, batch_size=4, start=(3, batches))
    # before Lightning tells the epoch, since workers read ahead by then
    assert list(rest) == list(whole)[past:]
    assert len(rest) == 3 * 4
    for sampler in (whole, rest):
        sampler.set_epoch(epoch + 1)
    assert list(rest) == list(whole)


def test_images_whose_pseudo_mask_is_ignored_everywhere_are_left_out(open_split, tmp_path):
    for name, size in zip(NAMES, SIZES, strict=True):
        label = 255 if name in ("x1", "x3") else 1
        save_mask(tmp_path / f"{name}.png", np.full(size, label, np.uint8))
    data = module(open_split, masks=tmp_path, target="masks", batch_size=3)
    loader = data.train_dataloader()
    assert len(loader) == 1
    assert sorted(name for batch in loader for name in batch["name"]) == ["x0", "x2", "x4"]
    # tags do not need the masks
    tags = module(open_split, masks=tmp_path, target="tags", batch_size=5).train_dataloader()
    assert sorted(name for batch in tags for name in batch["name"]) == NAMES


def test_training_on_masks_without_any_label_is_refused(open_split, tmp_path):
    for name, size in zip(NAMES, SIZES, strict=True):
        save_mask(tmp_path / f"{name}.png", np.full(size, 255, np.uint8))
    with raises_naming(InputError, len(NAMES), "train"):
        module(open_split, masks=tmp_path, target="masks").train_dataloader()
