import os

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from facts import raises_naming
from torch import nn
from torch.utils.data import DataLoader

from wsss_lightning.data.scores import STORED, dense, load_mask, load_score, load_strided
from wsss_lightning.data.stage_files import finished_images, image_file
from wsss_lightning.errors import InputError
from wsss_lightning.training.callbacks.score_writer import NEGLIGIBLE, ScoreWriter


class EchoModule(pl.LightningModule):
    """Its prediction is the batch."""

    def __init__(self):
        super().__init__()
        self.net = nn.Identity()

    def predict_step(self, batch, batch_idx):
        return batch


def predict(folder, batches, **settings):
    folder.mkdir(exist_ok=True)
    writer = ScoreWriter(folder, **{"bits": 8, **settings})
    pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[writer],
    ).predict(EchoModule(), DataLoader(batches, batch_size=None), return_predictions=False)


@pytest.fixture
def scored():
    score = torch.rand(5, 3, 6, 7)
    score[1, 0] = score[2, 1:] = score[4] = 0  # the last image has no class at all
    return score, [f"x{i}" for i in range(5)]


@pytest.mark.parametrize("bits", [8, 16])
def test_scores_of_present_classes_are_written_to_one_file_per_image(tmp_path, scored, bits):
    score, names = scored
    batches = [
        {"name": names[:2], "score": score[:2]},
        {"name": names[2:], "score": score[2:]},
    ]
    predict(tmp_path / "s", batches, bits=bits)
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [f"{n}.npz" for n in names]
    keys = []
    for name, expected in zip(names, score, strict=True):
        stored, labels = load_score(tmp_path / f"s/{name}.npz")
        keys.append(labels.tolist())
        full = dense(stored, labels, 4)  # label i + 1 is class i
        assert not full[0].any()
        assert np.abs(full[1:] - expected.numpy()).max() <= 0.5001 / STORED[bits][1]
    assert keys == [[1, 2, 3], [2, 3], [1], [1, 2, 3], []]
    assert stored.shape == (0, 6, 7)


@pytest.mark.parametrize("bits", [8, 16])
def test_strided_cams_keep_single_precision_beside_the_scores(tmp_path, scored, bits):
    score, names = scored
    strided = torch.rand(5, 3, 2, 2)
    strided[4] = 0
    strided[2, 1:] = 0  # but not the third class, which only the strided CAM has
    strided[2, 2, 0, 0] = 0.3
    predict(tmp_path, [{"name": names, "score": score, "strided": strided}], bits=bits)
    keys = []
    for i, name in enumerate(names):
        path = tmp_path / f"{name}.npz"
        maps, (stored, labels) = load_strided(path), load_score(path)
        keys.append(labels.tolist())
        assert len(stored) == len(labels)
        assert maps.dtype == np.float32
        assert (maps == strided[i, labels - 1].numpy()).all()
    assert keys == [[1, 2, 3], [1, 2, 3], [1, 3], [1, 2, 3], []]
    assert maps.shape == (0, 2, 2)


def test_files_without_strided_cams_are_recognised_and_damaged_ones_refused(tmp_path, scored):
    score, names = scored
    predict(tmp_path, [{"name": names, "score": score}])
    path = tmp_path / f"{names[0]}.npz"
    assert load_strided(path) is None
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **arrays, strided=np.zeros((2, 2, 2), np.float32))  # of three labels
    with raises_naming(InputError, f"{names[0]}.npz", 3):
        load_strided(path)
    path.write_bytes(b"nothing")
    with raises_naming(InputError, f"{names[0]}.npz"):
        load_strided(path)
    with raises_naming(InputError, "gone.npz"):
        load_strided(tmp_path / "gone.npz")


def test_marginals_become_label_maps(tmp_path):
    marginal = torch.rand(3, 4, 6, 7).softmax(1)
    predict(tmp_path / "m", [{"name": ["a", "b", "c"], "marginal": marginal}])
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["a.png", "b.png", "c.png"]
    for name, expected in zip("abc", marginal.argmax(1), strict=True):
        assert (load_mask(tmp_path / f"m/{name}.png") == expected.numpy()).all()


def test_marginals_of_negligible_labels_are_left_out(tmp_path):
    marginal = torch.zeros(1, 4, 6, 7)
    marginal[:, 0] = 0.5
    marginal[:, 1] = NEGLIGIBLE / 2
    marginal[:, 3] = 0.5
    marginal[:, 2, 0, 0] = 2 * NEGLIGIBLE
    predict(tmp_path / "m", [{"name": ["a"], "marginal": marginal}], bits=16, keep_marginals=True)
    stored, labels = load_score(tmp_path / "m/a.npz")
    assert labels.tolist() == [0, 2, 3]
    assert np.abs(stored - marginal[0, [0, 2, 3]].numpy()).max() < 1e-4
    assert (tmp_path / "m/a.png").is_file()


@pytest.mark.parametrize("kind", ["score", "marginal"])
def test_an_interrupted_write_leaves_no_incomplete_file(tmp_path, monkeypatch, kind):
    calls = []

    def full(_descriptor):
        calls.append(1)
        if len(calls) == 3:
            raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    maps = torch.rand(4, 3, 6, 7).softmax(1)
    with raises_naming(OSError, "no space left"):
        predict(tmp_path / "s", [{"name": list("abcd"), kind: maps}])
    suffix = "npz" if kind == "score" else "png"
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [f"a.{suffix}", f"b.{suffix}"]


def test_the_label_map_marks_an_image_as_done_and_is_written_last(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    maps = torch.rand(1, 3, 6, 7).softmax(1)
    with raises_naming(OSError, "no space left"):
        predict(tmp_path / "s", [{"name": ["a"], "marginal": maps}], keep_marginals=True)
    assert not list((tmp_path / "s").glob("*.png"))


def test_images_of_the_same_name_in_two_folders_have_separate_files(tmp_path):
    names = ["train/0001", "val/0001", "0001"]
    marginal = torch.nn.functional.one_hot(torch.arange(3), 3).float()[..., None, None]
    predict(tmp_path, [{"name": names, "marginal": marginal}], bits=16, keep_marginals=True)
    assert finished_images(tmp_path, ".png") == finished_images(tmp_path, ".npz") == set(names)
    assert [load_mask(image_file(tmp_path, name, ".png")).item() for name in names] == [0, 1, 2]
