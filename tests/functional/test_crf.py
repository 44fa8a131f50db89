import inspect
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsss_lightning.errors import InputError
from wsss_lightning.functional.crf import (
    CRFParameters,
    mean_field,
    unary_from_labels,
    unary_from_scores,
)

PSA = CRFParameters(theta_alpha=80, theta_beta=13, theta_gamma=3, w1=10, w2=3, iterations=10)
IRN = replace(PSA, theta_alpha=50, theta_beta=5)


@pytest.fixture
def library():
    return pytest.importorskip("pydensecrf", reason="the CRF is an extra: wsss-lightning[crf]")


def unchecked(function):
    """Without the checks of types and shapes that only the tests add."""
    return inspect.unwrap(function)


def official_image() -> np.ndarray:
    """The image of the known answers V7 and I5."""
    y, x = np.mgrid[:20, :24]
    image = np.stack([10 * x, 12 * y, 5 * (x + y)], axis=-1) % 256
    image[5:15, 6:18] = (200, 40, 40)
    return image.astype(np.uint8)


def official_probability() -> np.ndarray:
    probability = np.random.RandomState(9).rand(3, 20, 24)
    probability[1, 5:15, 6:18] += 0.35
    return (probability / probability.sum(0)).astype(np.float32)


def counts(marginal: np.ndarray) -> list[int]:
    return np.bincount(marginal.argmax(0).ravel(), minlength=len(marginal)).tolist()


def exact(image: np.ndarray, unary: np.ndarray, p: CRFParameters) -> np.ndarray:
    """Mean field with the whole kernel matrices: self term, normalised on both sides."""

    def softmax(energy):
        power = np.exp(energy - energy.max(0))
        return power / power.sum(0)

    labels, height, width = unary.shape
    y, x = np.mgrid[:height, :width]
    position = np.stack([y, x], -1).reshape(-1, 2).astype(float)
    colour = image.reshape(-1, 3).astype(float)
    kernels = []
    for feature, weight in (
        (np.concatenate([position / p.theta_alpha, colour / p.theta_beta], 1), p.w1),
        (position / p.theta_gamma, p.w2),
    ):
        squared = ((feature[:, None] - feature[None]) ** 2).sum(-1)
        kernel = np.exp(-squared / 2)
        root = 1 / np.sqrt(kernel.sum(1))
        kernels.append(weight * root[:, None] * kernel * root)
    energy = -unary.reshape(labels, -1).astype(float)
    q = softmax(energy)
    for _ in range(p.iterations):
        # mu is 1 for different labels: the cost of a label is what the others hold nearby
        cost = sum((1 - np.eye(labels)) @ (q @ kernel) for kernel in kernels)
        q = softmax(energy - cost)
    return q.reshape(unary.shape)


@pytest.mark.parametrize(
    ("iterations", "expected", "mass"),
    [
        (1, [109, 238, 133], [118.466, 228.297, 133.237]),
        (10, [54, 298, 128], [54.396, 298.077, 127.527]),
    ],
)
def test_soft_scores_come_out_as_from_the_official_code(library, iterations, expected, mass):
    probability = official_probability()  # known answer V7
    assert counts(probability) == [142, 187, 151]
    unary = unary_from_scores(probability)
    found = mean_field(official_image(), unary, replace(PSA, iterations=iterations))
    assert counts(found) == expected
    np.testing.assert_allclose(found.sum((1, 2)), mass, atol=0.01)
    if iterations == 1:
        np.testing.assert_allclose(found[:, 0, 0], [0.00248, 0.97217, 0.02534], atol=1e-4)


def test_hard_labels_come_out_as_from_the_official_code(library):  # known answer I5
    labels = np.random.RandomState(24).choice(3, (20, 24), p=[0.6, 0.3, 0.1])
    labels[5:15, 6:18][np.random.RandomState(25).rand(10, 12) < 0.6] = 1
    assert np.bincount(labels.ravel()).tolist() == [240, 191, 49]
    unary = unary_from_labels(labels, 3, gt_prob=0.7)
    assert counts(mean_field(official_image(), unary, IRN)) == [214, 223, 43]


@pytest.mark.parametrize("parameters", [PSA, IRN, replace(PSA, w1=0), replace(PSA, w2=0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_mean_field_is_near_to_that_with_whole_kernels(library, parameters, seed):
    random = np.random.RandomState(seed)
    blocks = random.randint(0, 256, (4, 4, 3)).repeat(6, 0).repeat(7, 1)
    image = np.clip(blocks + random.randint(-8, 9, blocks.shape), 0, 255).astype(np.uint8)
    score = random.rand(4, 24, 28) + (random.rand(4, 4, 4) < 0.3).repeat(6, 1).repeat(7, 2)
    unary = unary_from_scores((score / score.sum(0)).astype(np.float32))
    found, expected = mean_field(image, unary, parameters), exact(image, unary, parameters)
    assert (found.argmax(0) == expected.argmax(0)).mean() >= 0.95
    assert np.abs(found - expected).mean() <= 0.02


def test_the_whole_kernels_give_the_official_counts_too():
    found = exact(official_image(), unary_from_scores(official_probability()), PSA)
    # within 5 %: the official code filters approximately
    np.testing.assert_allclose(counts(found), [54, 298, 128], atol=0.05 * 480)


def test_without_iterations_the_marginals_are_the_softmax_of_the_unary(library):
    unary = np.random.RandomState(0).rand(3, 5, 6).astype(np.float32)
    found = mean_field(np.zeros((5, 6, 3), np.uint8), unary, replace(PSA, iterations=0))
    np.testing.assert_allclose(found, torch.from_numpy(-unary).softmax(0), atol=1e-6)


def test_a_kernel_that_reaches_nobody_still_holds_the_pixel_itself(library):  # closed form
    unary = np.log([[1.0, 3.0], [2.0, 1.0]]).astype(np.float32).reshape(2, 1, 2)
    own = torch.from_numpy(-unary).softmax(0)
    alone = CRFParameters(80, 13, theta_gamma=0.1, w1=0, w2=3, iterations=1)
    found = mean_field(np.zeros((1, 2, 3), np.uint8), unary, alone)
    np.testing.assert_allclose(found, (3 * own - unary).softmax(0), atol=1e-5)


def test_a_kernel_that_reaches_all_alike_pulls_towards_their_mean(library):  # closed form
    unary = np.log([[1.0, 3.0], [2.0, 1.0]]).astype(np.float32).reshape(2, 1, 2)
    mean = torch.from_numpy(-unary).softmax(0).mean((1, 2), keepdim=True)
    wide = CRFParameters(80, 13, theta_gamma=1e6, w1=0, w2=3, iterations=1)
    found = mean_field(np.zeros((1, 2, 3), np.uint8), unary, wide)
    np.testing.assert_allclose(found, (3 * mean - unary).softmax(0), atol=1e-5)


def test_like_colours_pull_labels_together_and_unlike_colours_do_not(library):
    score = np.array([[0.99, 0.45], [0.01, 0.55]], np.float32).reshape(2, 1, 2)
    by_colour = CRFParameters(80, 13, 3, w1=10, w2=0, iterations=5)
    same = np.zeros((1, 2, 3), np.uint8)
    different = same.copy()
    different[0, 1] = 255
    unary = unary_from_scores(score)
    assert mean_field(same, unary, by_colour).argmax(0).tolist() == [[0, 0]]
    assert mean_field(different, unary, by_colour).argmax(0).tolist() == [[0, 1]]


@given(seed=st.integers(0, 1000), labels=st.integers(1, 5), height=st.integers(1, 9))
def test_marginals_are_probabilities_of_the_units_shape(seed, labels, height):
    pytest.importorskip("pydensecrf", reason="the CRF is an extra: wsss-lightning[crf]")
    random = np.random.RandomState(seed)
    image = random.randint(0, 256, (height, 6, 3)).astype(np.uint8)
    found = mean_field(image, (9 * random.rand(labels, height, 6)).astype(np.float32), PSA)
    assert found.shape == (labels, height, 6)
    assert found.dtype == np.float32
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_views_tensors_and_read_only_arrays_serve_as_well_as_copies(library):
    image, unary = official_image(), unary_from_scores(official_probability())
    expected = mean_field(image, unary, PSA)
    frozen = image.copy()
    frozen.flags.writeable = False
    mirrored = np.ascontiguousarray(image[:, ::-1])[:, ::-1]
    for picture, energy in [
        (frozen, unary),
        (mirrored, np.asfortranarray(unary)),
        (image, unary[::-1].copy()[::-1]),
        (image, torch.from_numpy(unary)),
        (image, torch.from_numpy(unary).double().requires_grad_()),
    ]:
        np.testing.assert_array_equal(mean_field(picture, energy, PSA), expected)
    assert np.array_equal(image, official_image())
    assert expected.flags.writeable
    assert expected.flags.c_contiguous


def test_one_label_needs_no_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    unary = np.full((1, 4, 5), 7.0, np.float32)
    found = mean_field(np.zeros((4, 5, 3), np.uint8), unary, PSA)
    assert np.array_equal(found, np.ones((1, 4, 5)))


def test_an_absent_library_is_named_with_ways_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(InputError, match=r"wsss-lightning\[crf\].*refine=none"):
        mean_field(np.zeros((4, 5, 3), np.uint8), np.zeros((2, 4, 5), np.float32), PSA)


def test_a_unary_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"\(4, 6\) pixels, but the image \(4, 5\); resize"):
        unchecked(mean_field)(np.zeros((4, 5, 3), np.uint8), np.zeros((2, 4, 6), np.float32), PSA)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_unary_that_is_not_finite_is_refused(value):
    unary = np.zeros((2, 4, 5), np.float32)
    unary[1, 2, 3] = value
    with pytest.raises(InputError, match="NaN or infinite"):
        mean_field(np.zeros((4, 5, 3), np.uint8), unary, PSA)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4, 5, 3), np.float32), ((4, 5, 4), np.uint8), ((4, 5), np.uint8)]
)
def test_an_image_that_is_not_of_levels_is_refused(shape, dtype):
    with pytest.raises(InputError, match="give uint8 RGB"):
        unchecked(mean_field)(np.zeros(shape, dtype), np.zeros((2, 4, 5), np.float32), PSA)


def test_scores_become_energies_and_zeros_stay_finite():
    score = np.array([0.0, 0.5, 1.0, 1.2], np.float32).reshape(4, 1, 1)
    expected = [-np.log(1e-5), np.log(2), 0, 0]
    np.testing.assert_allclose(unary_from_scores(score).ravel(), expected, rtol=1e-6)
    np.testing.assert_array_equal(
        unary_from_scores(torch.from_numpy(score)), unary_from_scores(score)
    )


def test_hard_labels_become_energies():  # methods.md 5, pitfall d
    two = unary_from_labels(np.array([[0, 1]]), 2, gt_prob=0.7)
    np.testing.assert_allclose(two[:, 0], [[0.357, 1.204], [1.204, 0.357]], atol=5e-4)
    unsure = unary_from_labels(np.array([[0, 2]]), 2, gt_prob=0.7, zero_unsure=True)
    np.testing.assert_allclose(unsure[:, 0], [[0.693, 1.204], [0.693, 0.357]], atol=5e-4)


@pytest.mark.parametrize("zero_unsure", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_energies_of_hard_labels_equal_the_librarys(library, zero_unsure, dtype):
    from pydensecrf import utils

    labels = np.random.RandomState(0).randint(0, 4, (6, 7))
    count = 3 if zero_unsure else 4
    expected = utils.unary_from_labels(labels, count, gt_prob=0.6, zero_unsure=zero_unsure)
    found = unary_from_labels(labels.astype(dtype), count, 0.6, zero_unsure)
    np.testing.assert_allclose(found.reshape(count, -1), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "num_labels", "gt_prob", "message"),
    [
        ([[0, 255]], 3, 0.7, r"hold 255, but lie in 0\.\.2; set num_labels"),
        ([[-1, 0]], 3, 0.7, "hold -1"),
        ([[0, 0]], 3, 1.0, r"gt_prob is 1.0; set it within \(0, 1\)"),
        ([[0, 0]], 1, 0.7, "num_labels is 1; a CRF chooses between 2"),
    ],
)
def test_labels_that_mean_nothing_are_refused(labels, num_labels, gt_prob, message):
    with pytest.raises(InputError, match=message):
        unary_from_labels(np.array(labels), num_labels, gt_prob)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("theta_alpha", -80.0, r"crf\.theta_alpha is -80\.0; set a finite number of 0\.1 or more"),
        ("theta_beta", 0, r"crf\.theta_beta is 0; .*\(3 to 13 levels is usual\)"),
        ("theta_gamma", 1e-9, r"crf\.theta_gamma is 1e-09"),
        ("w1", float("nan"), r"crf\.w1 is nan; set a finite number of 0 or more"),
        ("w2", float("inf"), r"crf\.w2 is inf"),
        ("iterations", -1, r"crf\.iterations is -1; set a whole number of 0 or more"),
        ("iterations", 2.5, r"crf\.iterations is 2\.5; set a whole number"),
        ("theta_alpha", "80", r"crf\.theta_alpha is '80'; set a finite number"),
    ],
)
def test_parameters_without_meaning_are_refused(name, value, message):
    with pytest.raises(InputError, match=message):
        unchecked(CRFParameters.__init__)(
            object.__new__(CRFParameters), **{**asdict(PSA), name: value}
        )
