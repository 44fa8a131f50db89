import os

import numpy as np
import pytest
import torch
from facts import raises_naming
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from wsss_lightning.data.scores import (
    STORED,
    dense,
    load_mask,
    load_score,
    save_mask,
    save_score,
)
from wsss_lightning.data.sources.masks import read_ids
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import voc_palette

one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@one_folder
@given(
    bits=st.sampled_from([8, 16]),
    shape=st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
def test_a_stored_score_is_off_by_at_most_half_a_part(tmp_path, bits, shape, seed):
    score = np.random.default_rng(seed).random(shape, np.float32)
    keys = np.arange(shape[0]) * 3
    save_score(tmp_path / "a.npz", score, keys, bits)
    back, back_keys = load_score(tmp_path / "a.npz")
    assert back.dtype == np.float32
    assert back.shape == shape
    np.testing.assert_array_equal(back_keys, keys)
    assert (abs(back - score) <= 0.5 / STORED[bits][1] + 1e-7).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_stored_scores_exceed_every_threshold_of_the_grid_where_the_scores_do(tmp_path, bits):
    rng = np.random.default_rng(0)
    thresholds = (torch.arange(101, dtype=torch.float64) / 100).float()
    near = thresholds[:, None] + torch.linspace(-0.004, 0.004, 201)
    exact = torch.cat([thresholds, near.flatten(), torch.from_numpy(rng.random(5000, np.float32))])
    score = exact.clamp(0, 1)[None, None]
    save_score(tmp_path / "a.npz", score, torch.tensor([1]), bits)
    back = torch.from_numpy(load_score(tmp_path / "a.npz")[0])
    for threshold in thresholds:  # closed form: no pixel changes its label, to either side
        assert torch.equal(back > threshold, score > threshold)
    # between thresholds of the grid the labels that change are those of half a part at most
    for threshold in (0.2012, 0.4137):
        changed = (back > threshold) != (score > threshold)
        assert ((score - threshold).abs()[changed] <= 0.5 / STORED[bits][1]).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_stored_probabilities_add_up_to_one_but_for_half_a_part_each(tmp_path, bits):
    marginal = (3 * torch.randn(5, 40, 40)).softmax(0)
    save_score(tmp_path / "a.npz", marginal, torch.arange(5), bits)
    back = load_score(tmp_path / "a.npz")[0]
    assert abs(back.sum(0) - 1).max() <= 5 * 0.5 / STORED[bits][1] + 1e-6


@pytest.mark.parametrize("bits", [8, 16])
def test_zero_and_one_come_back_exactly(tmp_path, bits):
    save_score(tmp_path / "a.npz", torch.tensor([[[0.0, 1.0]]]), torch.tensor([4]), bits)
    back, keys = load_score(tmp_path / "a.npz")
    assert back.tolist() == [[[0.0, 1.0]]]
    assert keys.tolist() == [4]


@pytest.mark.parametrize("wrong", [-0.01, 1.01, float("nan")])
def test_a_score_outside_zero_to_one_is_refused(tmp_path, wrong):
    with raises_naming(ValueError, "a.npz", "[0, 1]"):
        save_score(tmp_path / "a.npz", torch.tensor([[[0.5, wrong]]]), torch.tensor([1]), 8)
    assert not list(tmp_path.iterdir())


def test_every_damage_to_a_score_file_is_an_input_error_that_names_it(tmp_path):
    path = tmp_path / "a.npz"
    save_score(path, np.random.default_rng(0).random((2, 8, 8)), np.array([1, 2]), 8)
    whole, expected = path.read_bytes(), load_score(path)[0]
    cut = [whole[:n] for n in range(0, len(whole), 23)]
    flipped = []
    for at in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        flipped.append(bytes(damaged))
    messages = []
    for content in [*cut, *flipped, b"", b"no archive"]:
        path.write_bytes(content)
        try:
            # bytes that nothing depends on, such as a file's date, may change
            np.testing.assert_array_equal(load_score(path)[0], expected)
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 0.8 * (len(cut) + len(flipped))
    assert all(str(path) in message for message in messages)


def test_an_absent_score_file_is_said_to_be_missing(tmp_path):
    with raises_naming(InputError, "a.npz"):
        load_score(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "content",
    [
        {"score": np.zeros((2, 3, 3), np.uint8)},
        {"score": np.zeros((2, 3, 3), np.uint8), "keys": np.arange(2)},
        {"score": np.full((2, 3, 3), 202, np.uint8), "keys": np.arange(2), "parts": 200},
        {"score": np.zeros((2, 3, 3), np.uint8), "keys": np.arange(2), "parts": 255},
        {"score": np.zeros((2, 3, 3), np.uint8), "keys": np.arange(3), "parts": 200},
        {"score": np.zeros((2, 3), np.uint8), "keys": np.arange(2), "parts": 200},
        {"score": np.zeros((2, 3, 3), np.float32), "keys": np.arange(2), "parts": 200},
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path, content):
    np.savez(tmp_path / "a.npz", **content)
    with raises_naming(InputError, "a.npz"):
        load_score(tmp_path / "a.npz")


def test_pickled_objects_in_a_score_file_are_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", score=np.array([{1: 2}], dtype=object), keys=np.arange(1))
    with raises_naming(InputError, "allow_pickle=False"):
        load_score(tmp_path / "a.npz")


def test_the_same_scores_make_the_same_bytes(tmp_path):
    score = np.random.default_rng(0).random((2, 8, 8))
    for name in ("a.npz", "b.npz"):
        save_score(tmp_path / name, score, np.array([1, 2]), 8)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_file_that_could_not_be_finished_leaves_the_old_one_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_mask(path, np.ones((2, 2), np.uint8))

    def full_disk(_descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full_disk)
    with raises_naming(OSError, "no space left"):
        save_mask(path, np.zeros((2, 2), np.uint8))
    assert load_mask(path).tolist() == [[1, 1], [1, 1]]
    assert [found.name for found in tmp_path.iterdir()] == ["a.png"]


def test_labels_without_a_stored_map_are_zero():
    score = np.array([[[0.5]], [[0.25]]], np.float32)
    assert dense(score, np.array([3, 1]), 5)[:, 0, 0].tolist() == [0, 0.25, 0, 0.5, 0]


def test_an_image_without_any_map_is_zero_in_all_labels(tmp_path):
    save_score(tmp_path / "a.npz", torch.zeros(0, 2, 3), torch.zeros(0, dtype=torch.int64), 8)
    score, keys = load_score(tmp_path / "a.npz")
    np.testing.assert_array_equal(dense(score, keys, 3), np.zeros((3, 2, 3)))


@one_folder
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), seed=st.integers(0, 99))
def test_a_mask_comes_back_as_it_was_stored(tmp_path, shape, seed):
    mask = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    save_mask(tmp_path / "a.png", mask)
    np.testing.assert_array_equal(load_mask(tmp_path / "a.png"), mask)


def test_a_mask_is_shown_in_the_colours_of_voc(tmp_path):  # methods.md 2.1, and VOC's own void
    save_mask(tmp_path / "a.png", np.array([[0, 1, 2, 3, 4, 255]], np.uint8))
    colours = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (224, 224, 192)]
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image.convert("RGB"))[0], colours)
    assert len(voc_palette()) == 768


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK"])
def test_a_mask_of_colours_is_refused_with_the_mend(tmp_path, mode):
    Image.new(mode, (3, 2)).save(tmp_path / "a.tif")
    with raises_naming(InputError, "a.tif", mode):
        load_mask(tmp_path / "a.tif")


def test_a_mask_of_two_levels_holds_the_labels_zero_and_one(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert load_mask(tmp_path / "a.png").tolist() == [[1, 0]]


def test_ids_of_16_bits_are_read_but_are_no_labels(tmp_path):
    Image.fromarray(np.array([[7, 40000]], np.uint16)).save(tmp_path / "a.png")
    assert read_ids(tmp_path / "a.png").tolist() == [[7, 40000]]
    with raises_naming(InputError, "a.png", 16):
        load_mask(tmp_path / "a.png")


def test_a_damaged_or_absent_mask_is_named(tmp_path):
    with raises_naming(InputError, "a.png"):
        load_mask(tmp_path / "a.png")
    save_mask(tmp_path / "a.png", np.random.default_rng(0).integers(0, 9, (40, 40), np.uint8))
    content = (tmp_path / "a.png").read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 100):
        (tmp_path / "a.png").write_bytes(content[:size])
        with raises_naming(InputError, "a.png"):
            load_mask(tmp_path / "a.png")
