import numpy as np
import torch
from facts import raises_naming
from hypothesis import given
from hypothesis import strategies as st

from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.error_analysis import WRONG, error_types
from wsss_lightning.evaluation.metrics import Confusion
from wsss_lightning.evaluation.pixel_counts import (
    PIXEL_COUNTS_FILE,
    PixelCountWriter,
    load_pixel_counts,
)
from wsss_lightning.ops.masks import IGNORE


def pairs(seed: int, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    rng = torch.Generator().manual_seed(seed)
    values = torch.tensor([0, 1, 2, IGNORE])
    return [
        (values[torch.randint(4, (9, 7), generator=rng)], values[torch.randint(4, (9, 7))])
        for _ in range(count)
    ]


@given(seed=st.integers(0, 1000), count=st.integers(0, 4))
def test_what_is_read_back_adds_up_to_the_confusion_of_the_split(tmp_path_factory, seed, count):
    folder = tmp_path_factory.mktemp("tally")
    writer, confusion = PixelCountWriter(3), Confusion(3)
    found = pairs(seed, count)
    for i, (prediction, truth) in enumerate(found):
        writer.add(f"image {i}", prediction, truth)
        confusion.update(prediction, truth)
    writer.save(folder)
    tally = load_pixel_counts(folder)
    assert tally.names == [f"image {i}" for i in range(count)]
    assert tally.matrices.sum(0).tolist() == confusion.compute().tolist()
    assert writer.matrix().tolist() == confusion.compute().tolist()
    # every wrong pixel has one cause
    right = tally.matrices[:, :, :3].diagonal(axis1=1, axis2=2).sum(-1)
    assert (tally.wrong.sum(1) == tally.matrices.sum((1, 2)) - right).all()
    assert tally.by_error_type.sum((1, 2)).tolist() == tally.wrong.sum(0).tolist()
    for i, pair in enumerate(found):
        expected = [int((error_types(*pair) == cause).sum()) for cause in WRONG]
        assert tally.wrong[i].tolist() == expected


def test_a_damaged_file_is_named(tmp_path):
    writer = PixelCountWriter(2)
    writer.add("a", torch.zeros(2, 2, dtype=torch.int64), torch.ones(2, 2, dtype=torch.int64))
    writer.save(tmp_path)
    path = tmp_path / PIXEL_COUNTS_FILE
    path.write_bytes(path.read_bytes()[:60])
    with raises_naming(InputError, "images.npz"):
        load_pixel_counts(tmp_path)


def test_large_counts_are_exact(tmp_path):
    writer = PixelCountWriter(2)
    writer.add("a", torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.int64))
    writer.matrices[0][0, 0] = 2**40 + 1
    writer.save(tmp_path)
    assert load_pixel_counts(tmp_path).matrices.dtype == np.int64
    assert int(load_pixel_counts(tmp_path).matrices[0, 0, 0]) == 2**40 + 1


def test_files_of_earlier_versions_are_read(tmp_path):
    writer = PixelCountWriter(2)
    writer.add("a", torch.zeros(2, 2, dtype=torch.int64), torch.ones(2, 2, dtype=torch.int64))
    writer.save(tmp_path)
    expected = load_pixel_counts(tmp_path).by_error_type
    assert expected.any()
    with np.load(tmp_path / PIXEL_COUNTS_FILE) as stored:
        arrays = dict(stored)
    arrays["by_cause"] = arrays.pop("by_error_type")
    np.savez_compressed(tmp_path / PIXEL_COUNTS_FILE, **arrays)
    assert (load_pixel_counts(tmp_path).by_error_type == expected).all()
