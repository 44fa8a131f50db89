"""Labels that a classifier predicts which has learnt from other images."""

import numpy as np
import pytest

from wsss_lightning.evaluation.consistency import (
    FOLDS,
    FoldClassifiers,
    at_cells,
    sample_cells,
)
from wsss_lightning.ops.masks import IGNORE

SIZE = (6, 8)


def image(label, seed):
    """A map of 2 channels whose left half is background and whose right half has a label."""
    mask = np.zeros(SIZE, np.int64)
    mask[:, 4:] = label
    centre = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])[mask]
    noise = np.random.default_rng(seed).normal(0, 0.3, (*SIZE, 2))
    return np.moveaxis(centre + noise, -1, 0).astype(np.float32), mask


def fitted(maps, masks):
    return FoldClassifiers([m.reshape(2, -1).T for m in maps], [mask.ravel() for mask in masks])


IMAGES = [image(1 + i % 2, i) for i in range(12)]
MAPS, MASKS = [one for one, _ in IMAGES], [mask for _, mask in IMAGES]


def test_masks_that_agree_with_the_other_images_are_predicted():
    models = fitted(MAPS, MASKS)
    for i, (maps, mask) in enumerate(IMAGES):
        assert (models.predict(i, maps, [0, 1 + i % 2]) == mask).mean() > 0.95


def test_an_image_does_not_take_part_in_its_own_prediction():
    wrong = [mask.copy() for mask in MASKS]
    wrong[3] = np.where(MASKS[3] == 0, 2, 0)  # inside out
    predicted = fitted(MAPS, wrong).predict(3, MAPS[3], [0, 2])
    assert (predicted == MASKS[3]).mean() > 0.9
    others = [i for i in range(12) if i % FOLDS != 3 % FOLDS]
    without = fitted([MAPS[i] for i in others], [MASKS[i] for i in others])
    assert len(without.models) == FOLDS


def test_labels_that_are_not_allowed_are_never_predicted():
    models = fitted(MAPS, MASKS)
    assert set(np.unique(models.predict(0, MAPS[0], [0, 2]))) <= {0, 2}


def test_ignored_cells_are_not_learnt():
    ignored = [np.where(np.arange(8) % 2 == 0, IGNORE, mask) for mask in MASKS]
    models = fitted(MAPS, ignored)
    assert all(IGNORE not in known for known, _ in models.models)
    assert (models.predict(0, MAPS[0], [0, 1]) == MASKS[0]).mean() > 0.95


def test_a_class_of_a_single_image_is_unknown_to_its_classifier():
    masks = [mask.copy() for mask in MASKS]
    masks[0] = np.where(masks[0] == 0, 0, 3)
    models = fitted(MAPS, masks)
    assert (models.predict(0, MAPS[0], [0, 3]) == 0).all()
    assert (models.predict(0, MAPS[0], [3]) == IGNORE).all()


def test_images_with_one_label_predict_it_everywhere():
    models = fitted(MAPS, [np.zeros_like(mask) for mask in MASKS])
    assert (models.predict(0, MAPS[0], [0, 1]) == 0).all()


def test_an_image_alone_has_no_prediction():
    assert (fitted(MAPS[:1], MASKS[:1]).predict(0, MAPS[0], [0, 1]) == IGNORE).all()


def test_cells_take_the_label_at_their_centre():
    mask = np.arange(9 * 5).reshape(9, 5).astype(np.uint8)
    assert at_cells(mask, (3, 2)).tolist() == mask[::4, ::4].tolist()
    assert (at_cells(mask, (9, 5)) == mask).all()


@pytest.mark.parametrize(("images", "count"), [(10, 48), (5_000, 40), (10**6, 1)])
def test_the_number_of_cells_is_bounded(images, count):
    chosen = sample_cells(SIZE, images, seed=0)
    assert len(chosen) == len(set(chosen.tolist())) == count
    assert set(chosen.tolist()) <= set(range(48))
