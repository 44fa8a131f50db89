import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsss_lightning.evaluation.error_analysis import BAND, ErrorType, error_types, near_boundary
from wsss_lightning.ops.masks import IGNORE


def painted(size: int, *blocks: tuple[int, int, int, int, int]) -> torch.Tensor:
    """Background and rectangles (label, top, left, bottom, right)."""
    label = torch.zeros(size, size, dtype=torch.int64)
    for value, top, left, bottom, right in blocks:
        label[top:bottom, left:right] = value
    return label


def counted(prediction: torch.Tensor, truth: torch.Tensor) -> dict[ErrorType, int]:
    found = error_types(prediction, truth)
    return {cause: int((found == cause).sum()) for cause in ErrorType if (found == cause).any()}


TRUTH = painted(40, (1, 5, 5, 25, 25))


def test_a_part_of_an_object_called_background_is_missed():
    prediction = painted(40, (1, 5, 5, 25, 15))
    # 20 x 10 pixels, less the band of one pixel along three sides
    assert counted(prediction, TRUTH) == {
        ErrorType.RIGHT: 1400,
        ErrorType.BOUNDARY: 200 - 18 * 9,
        ErrorType.MISSED: 18 * 9,
    }


def test_background_called_a_class_of_the_image_is_spill():
    prediction = painted(40, (1, 5, 5, 25, 35))
    assert counted(prediction, TRUTH) == {
        ErrorType.RIGHT: 1400,
        ErrorType.BOUNDARY: 20,
        ErrorType.SPILL: 20 * 9,
    }


def test_an_object_called_another_class_of_the_image_is_confused():
    truth = painted(40, (1, 5, 5, 25, 25), (2, 30, 30, 38, 38))
    prediction = painted(40, (1, 5, 5, 25, 25), (2, 30, 30, 38, 38), (2, 10, 10, 20, 20))
    assert counted(prediction, truth) == {ErrorType.RIGHT: 1500, ErrorType.CONFUSED: 100}


def test_a_class_that_is_found_nowhere_is_an_error_of_tags_up_to_its_boundary():
    assert counted(painted(40), TRUTH) == {ErrorType.RIGHT: 1200, ErrorType.TAG: 400}


def test_a_class_that_the_image_does_not_show_is_an_error_of_tags():
    prediction = painted(40, (1, 5, 5, 25, 25), (3, 30, 30, 38, 38))
    assert counted(prediction, TRUTH) == {ErrorType.RIGHT: 1536, ErrorType.TAG: 64}


def test_pixels_without_a_label_or_without_a_truth_are_told_apart():
    prediction, truth = TRUTH.clone(), TRUTH.clone()
    prediction[:2], truth[38:] = IGNORE, IGNORE
    found = error_types(prediction, truth)
    assert (found[:2] == ErrorType.UNLABELLED).all()
    assert (found[38:] == IGNORE).all()
    assert (found[2:38] == ErrorType.RIGHT).all()


def test_the_band_is_as_wide_as_a_share_of_the_diagonal():
    truth = painted(300)
    truth[:, 150:] = 1
    near = near_boundary(truth, 0.01)  # 4.24 pixels, rounded
    assert near[0].nonzero().flatten().tolist() == list(range(146, 154))
    assert near.sum() == 8 * 300


@given(seed=st.integers(0, 1000), height=st.integers(1, 12), width=st.integers(1, 12))
def test_every_known_pixel_has_one_cause_and_only_wrong_ones_have_another_than_right(
    seed, height, width
):
    rng = torch.Generator().manual_seed(seed)
    values = torch.tensor([0, 1, 2, IGNORE])
    prediction, truth = (values[torch.randint(4, (height, width), generator=rng)] for _ in range(2))
    found = error_types(prediction, truth, BAND)
    known = truth != IGNORE
    assert ((found == ErrorType.RIGHT) == ((prediction == truth) & known)).all()
    assert (found[known] <= max(ErrorType)).all()
    assert (found[~known] == IGNORE).all()


@pytest.mark.parametrize("label", [0, 1])
def test_an_image_of_one_label_has_no_boundary(label):
    assert not near_boundary(torch.full((8, 8), label), 0.5).any()
