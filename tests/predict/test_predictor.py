"""Predictions of new images equal those of the run, and are complete and checked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from facts import raises_naming, warns_naming
from PIL import Image
from small_models import info_of, module_of

from wsss_lightning.data.scores import as_stored, dense, load_mask, load_score
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.errors import InputError
from wsss_lightning.methods.segmentation.predictor import TestSettings, marginals
from wsss_lightning.ops.masks import voc_palette
from wsss_lightning.predict import predictor as predictor_module
from wsss_lightning.predict.model_file import load
from wsss_lightning.predict.predictor import Predictor
from wsss_lightning.predict.trained_model import TrainedModel
from wsss_lightning.results.schema import read_results


@pytest.fixture
def model():
    return TrainedModel(module_of("segmentation"), info_of("segmentation"))


def images(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]


def split_files(run: Path, split: str) -> dict[str, Path]:
    """Path of each image of a split of the run's data."""
    root = Path(read_results(run / "results.json").dataset["root"])
    names = (root / f"ImageSets/Segmentation/{split}.txt").read_text().split()
    return {name: next(root.glob(f"JPEGImages/{name}.*")) for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "val"])
def test_masks_equal_those_of_the_run_with_and_without_its_crf(finished_run, split):
    files = split_files(finished_run, split)
    for crf, folder in ((None, "predictions_crf_masks"), (False, "predictions")):
        predictions = Predictor(finished_run, crf=crf)(files.values())
        assert [one.name for one in predictions] == list(files)
        for one in predictions:
            expected = load_mask(finished_run / folder / split / f"{one.name}.png")
            np.testing.assert_array_equal(one.mask, expected)


@pytest.mark.slow
def test_cams_equal_the_seeds_of_the_run(finished_run):
    model = load(finished_run, "classifier")
    root = Path(read_results(finished_run / "results.json").dataset["root"])
    tags_of = np.load(root / "cls_labels.npy", allow_pickle=True).item()
    compared = 0
    for name, path in split_files(finished_run, "train").items():
        tags = [c for c, tag in zip(model.classes, tags_of[name], strict=True) if tag]
        maps = model.cams(path, tags)
        assert list(maps) == tags
        stored = dense(*load_score(finished_run / "seeds/train" / f"{name}.npz"), 7)
        for tag, cam in maps.items():
            rounded = as_stored(torch.from_numpy(cam), bits=8).numpy()
            # classes without positive scores are not stored
            if cam.any():
                compared += 1
                np.testing.assert_array_equal(rounded, stored[model.classes.index(tag) + 1])
    assert compared


def test_each_image_has_one_prediction_in_its_order_and_size(model):
    sizes = [(40, 50), (64, 48), (40, 50), (30, 30), (40, 50)]
    predictions = Predictor(model)(images(*sizes))
    assert [one.mask.shape for one in predictions] == sizes
    assert [one.name for one in predictions] == [f"image_{i}" for i in range(5)]
    settings = TestSettings(flip=True)
    for one, image in zip(predictions, images(*sizes), strict=True):
        tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())[None] / 255
        with torch.no_grad():
            expected = marginals(model.module, tensor, settings)[0].numpy()
        np.testing.assert_allclose(one.probabilities, expected, atol=1e-5)
        np.testing.assert_array_equal(one.mask, one.probabilities.argmax(0))
        np.testing.assert_array_equal(one.image, image)
        assert one.classes == ["cat", "dog"]
        assert list(one.areas) == ["background", "cat", "dog"]
        assert sum(one.areas.values()) == pytest.approx(1)
        assert one.areas["dog"] == np.mean(one.mask == 2)
        largest = max(["cat", "dog"], key=one.areas.get)
        assert one.present[:1] == [largest][: len(one.present)]


def test_a_stream_yields_what_a_call_returns(model):
    given = images(*[(40, 40), (32, 48)] * 6)
    streamed = Predictor(model).stream(image for image in given)
    for one, other in zip(streamed, Predictor(model)(given), strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.mask, other.mask)


def test_settings_of_the_run_hold_unless_others_are_given(model):
    run = replace(model.info, test={"scales": [1.0, 1.5], "flip": False, "long_side": 64})
    mine = TrainedModel(model.module, run)
    assert Predictor(mine).settings == TestSettings([1.0, 1.5], False, 64)
    assert Predictor(mine, scales=(0.5,), flip=True, long_side=0).settings == TestSettings(
        [0.5], True, None
    )
    assert Predictor(mine, batch_size=None).batch_size == 2


def test_probabilities_can_be_left_out(model, tmp_path):
    (one,) = Predictor(model, probabilities=False)(images((40, 40)))
    assert one.probabilities is None
    with raises_naming(ValueError, "probabilities"):
        one.save(tmp_path, probabilities=True)


def test_a_crf_changes_masks_and_keeps_probabilities_probable(model):
    given = images((40, 48))
    (plain,), (refined,) = Predictor(model)(given), Predictor(model, crf=True)(given)
    own = CRFParameters(24, 13, 1, 10, 3, 3)
    (other,) = Predictor(model, crf=own)(given)
    assert not np.allclose(plain.probabilities, refined.probabilities)
    np.testing.assert_allclose(refined.probabilities.sum(0), 1, atol=5e-3)
    np.testing.assert_allclose(refined.probabilities, other.probabilities, atol=1e-3)


def test_large_images_are_tiled_and_said_so(model, monkeypatch):
    (image,) = images((200, 260))
    monkeypatch.setattr(predictor_module, "LARGE", 200 * 200)
    monkeypatch.setattr(predictor_module, "TILE", 128)
    predict = Predictor(model)
    with warns_naming(UserWarning, "image_0", "260x200", 128, "long_side", "crop_size 64"):
        (tiled,) = predict(image)
    (whole,) = Predictor(model, tile=0)(image)
    assert tiled.mask.shape == whole.mask.shape == (200, 260)
    assert np.abs(tiled.probabilities - whole.probabilities).max() > 0
    assert predict.tile_of((100, 100)) is None
    assert predict.tile_of((400, 100)) is None  # of a few pixels, though long
    assert Predictor(model, tile=64).tile_of((100, 30)) == 64
    assert Predictor(model, long_side=100).tile_of((2000, 2000)) is None  # its view is small
    assert Predictor(model, scales=[2.0], long_side=150).tile_of((2000, 2000)) == 128


def test_batches_hold_images_of_one_size_and_few_large_ones(model, monkeypatch):
    predict = Predictor(model, batch_size=4)
    sizes = [(40, 40), (50, 50)] * 5
    batches = predict.batches(sizes)
    assert sorted(i for batch in batches for i in batch) == list(range(10))
    assert all(len({sizes[i] for i in batch}) == 1 for batch in batches)
    assert max(map(len, batches)) == 4
    monkeypatch.setattr(predictor_module, "LARGE", 2 * 50 * 50)
    assert max(len(batch) for batch in predict.batches([(50, 50)] * 5)) == 2


def test_a_prediction_is_saved_as_mask_overlay_and_probabilities(model, tmp_path):
    (one,) = Predictor(model)(images((40, 50)))
    paths = one.save(tmp_path / "new", overlay=True, probabilities=True)
    assert [path.name for path in paths] == ["image_0.png", "image_0_overlay.jpg", "image_0.npz"]
    with Image.open(paths[0]) as mask:
        assert mask.mode == "P"
        assert bytes(mask.getpalette())[:9] == voc_palette()[:9]
        np.testing.assert_array_equal(np.asarray(mask), one.mask)
    with Image.open(paths[1]) as overlay:
        assert overlay.size == (50, 40)
    with np.load(paths[2]) as stored:
        assert stored["probabilities"].dtype == np.float16
        np.testing.assert_allclose(stored["probabilities"], one.probabilities, atol=5e-4)
        assert stored["labels"].tolist() == ["background", "cat", "dog"]
    overlay = np.asarray(one.overlay())
    np.testing.assert_array_equal(overlay[one.mask == 0], one.image[one.mask == 0])
    assert (overlay[one.mask > 0] != one.image[one.mask > 0]).any()


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({"scales": []}, ["scales"]),
        ({"scales": [0.0]}, ["scales"]),
        ({"long_side": -3}, ["long_side", -3]),
        ({"tile": 10}, ["tile", 10]),
        ({"overlap": 0.8}, ["overlap", 0.8]),
        ({"batch_size": 0}, ["batch_size", 0]),
        ({"device": "cuda:99"}, ["cuda:99"]),
    ],
)
def test_arguments_out_of_range_are_named(model, arguments, facts):
    with raises_naming(InputError, *facts):
        Predictor(model, **arguments)


def test_a_classifier_has_no_masks():
    classifier = TrainedModel(module_of("classification"), info_of("classification"))
    with raises_naming(InputError, "classifier", "cams"):
        Predictor(classifier)
    without = TrainedModel(module_of("segmentation"), replace(info_of("segmentation"), crf=None))
    with raises_naming(InputError, "crf", "CRFParameters"):
        Predictor(without, crf=True)
