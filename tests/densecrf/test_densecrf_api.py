import inspect
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from facts import raises_naming
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wsss_lightning.densecrf import native
from wsss_lightning.densecrf.api import choose, mean_field, mean_field_batch
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.densecrf.unary import unary_from_labels, unary_from_scores
from wsss_lightning.errors import InputError

PSA = CRFParameters(theta_alpha=80, theta_beta=13, theta_gamma=3, w1=10, w2=3, iterations=10)
IRN = replace(PSA, theta_alpha=50, theta_beta=5)
DEEPLAB_V2 = replace(PSA, theta_alpha=67, theta_beta=3, theta_gamma=1, w1=4)
PHOTOS = Path(__file__).parents[3] / "shared/data/voc_animals"
LATTICES = ["native", "torch", "pydensecrf"]


def there(engine: str) -> str:
    """The engine, or a skipped test where it is not to be had."""
    if engine == "native" and native.unavailable() is not None:
        pytest.skip(native.unavailable())
    if engine == "pydensecrf":
        pytest.importorskip("pydensecrf", reason="the reference is an extra: wsss-lightning[crf]")
    return engine


@pytest.fixture(params=LATTICES)
def lattice(request):
    return there(request.param)


@pytest.fixture(params=[*LATTICES, "exact"])
def engine(request):
    return there(request.param)


def unchecked(function):
    """Without the checks of types and shapes that only the tests add."""
    return inspect.unwrap(function)


def official_image() -> torch.Tensor:
    """The image of the known answers V7 and I5."""
    y, x = np.mgrid[:20, :24]
    image = np.stack([10 * x, 12 * y, 5 * (x + y)], axis=-1) % 256
    image[5:15, 6:18] = (200, 40, 40)
    return torch.from_numpy(image.astype(np.uint8))


def official_probability() -> torch.Tensor:
    probability = np.random.RandomState(9).rand(3, 20, 24)
    probability[1, 5:15, 6:18] += 0.35
    return torch.from_numpy((probability / probability.sum(0)).astype(np.float32))


def counts(marginal) -> list[int]:
    return torch.bincount(marginal.argmax(0).flatten(), minlength=len(marginal)).tolist()


def scene(height, width, labels, seed=0):
    """An image of blocks with noise, and scores that follow some of them."""
    random = np.random.RandomState(seed)
    blocks = random.randint(0, 256, (height // 8 + 1, width // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)
    noisy = blocks[:height, :width] + random.randint(-8, 9, (height, width, 3))
    image = torch.from_numpy(np.clip(noisy, 0, 255).astype(np.uint8))
    coarse = torch.from_numpy(random.rand(1, labels, height // 8 + 2, width // 8 + 2)).float()
    score = F.interpolate(coarse, (height, width), mode="bilinear")[0] ** 2
    return image, unary_from_scores(score)


@pytest.mark.parametrize(
    ("iterations", "expected", "mass"),
    [
        (1, [109, 238, 133], [118.466, 228.297, 133.237]),
        (10, [54, 298, 128], [54.396, 298.077, 127.527]),
    ],
)
def test_soft_scores_come_out_as_from_the_official_code(lattice, iterations, expected, mass):
    probability = official_probability()  # known answer V7
    assert counts(probability) == [142, 187, 151]
    unary = unary_from_scores(probability)
    found = mean_field(official_image(), unary, replace(PSA, iterations=iterations), lattice)
    assert counts(found) == expected
    torch.testing.assert_close(found.sum((1, 2)), torch.tensor(mass), atol=0.01, rtol=0)
    if iterations == 1:
        first = torch.tensor([0.00248, 0.97217, 0.02534])
        torch.testing.assert_close(found[:, 0, 0], first, atol=1e-4, rtol=0)


def test_hard_labels_come_out_as_from_the_official_code(lattice):  # known answer I5
    labels = np.random.RandomState(24).choice(3, (20, 24), p=[0.6, 0.3, 0.1])
    labels[5:15, 6:18][np.random.RandomState(25).rand(10, 12) < 0.6] = 1
    assert np.bincount(labels.ravel()).tolist() == [240, 191, 49]
    unary = unary_from_labels(torch.from_numpy(labels), 3, gt_prob=0.7)
    assert counts(mean_field(official_image(), unary, IRN, lattice)) == [214, 223, 43]


def test_whole_kernels_give_the_official_counts_too():
    found = mean_field(official_image(), unary_from_scores(official_probability()), PSA, "exact")
    # within 5 %: the official code filters approximately
    np.testing.assert_allclose(counts(found), [54, 298, 128], atol=0.05 * 480)


@pytest.mark.parametrize("parameters", [PSA, IRN, DEEPLAB_V2])
@pytest.mark.parametrize("labels", [2, 3, 5, 9, 21, 40])
@pytest.mark.parametrize("name", ["native", "torch"])
def test_engines_agree_with_the_reference(name, labels, parameters):
    there("pydensecrf")
    image, unary = scene(75, 131, labels)
    expected = mean_field(image, unary, parameters, "pydensecrf")
    found = mean_field(image, unary, parameters, there(name))
    assert (found.argmax(0) == expected.argmax(0)).float().mean() >= 0.9999
    assert (found - expected).abs().max() <= 1e-3


@pytest.mark.parametrize("name", ["native", "torch"])
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the photos of shared/data are not here")
def test_engines_agree_with_the_reference_on_photos(name):
    there("pydensecrf")
    for path in sorted((PHOTOS / "JPEGImages").glob("*.jpg"))[::200]:
        image = torch.from_numpy(np.array(Image.open(path).convert("RGB")))
        _, unary = scene(*image.shape[:2], labels=3)
        expected = mean_field(image, unary, PSA, "pydensecrf")
        found = mean_field(image, unary, PSA, there(name))
        assert (found.argmax(0) == expected.argmax(0)).float().mean() >= 0.999
        assert (found - expected).abs().max() <= 1e-3


@pytest.mark.parametrize("parameters", [PSA, IRN, replace(PSA, w1=0), replace(PSA, w2=0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_lattices_are_near_to_whole_kernels(lattice, parameters, seed):
    image, unary = scene(48, 56, 4, seed)
    found = mean_field(image, unary, parameters, lattice)
    expected = mean_field(image, unary, parameters, "exact")
    assert (found.argmax(0) == expected.argmax(0)).float().mean() >= 0.95
    assert (found - expected).abs().mean() <= 0.025


def test_whole_kernels_equal_mean_field_as_loops():  # an independent reference
    parameters = CRFParameters(5, 40, 2, w1=4, w2=3, iterations=3)
    image, unary = scene(4, 5, 3)
    pixels = [(y, x) for y in range(4) for x in range(5)]

    def kernel(a, b, own):
        (ya, xa), (yb, xb) = a, b
        space = (ya - yb) ** 2 + (xa - xb) ** 2
        colour = ((image[ya, xa].double() - image[yb, xb].double()) ** 2).sum()
        if own == "smoothness":
            return float(np.exp(-space / (2 * 2**2)))
        return float(np.exp(-space / (2 * 5**2) - colour / (2 * 40**2)))

    def softmax(cost):
        share = np.exp(-np.asarray(cost))
        return share / share.sum()

    q = {p: softmax(unary[:, p[0], p[1]]) for p in pixels}
    for _ in range(3):
        new = {}
        for a in pixels:
            cost = unary[:, a[0], a[1]].double().numpy().copy()
            for own, weight in (("appearance", 4), ("smoothness", 3)):
                total = {p: sum(kernel(p, other, own) for other in pixels) for p in pixels}
                for b in pixels:
                    k = kernel(a, b, own) / np.sqrt(total[a] * total[b])
                    # different labels are charged: the cost of one is what others hold nearby
                    cost += weight * k * (1 - q[b])
            new[a] = softmax(cost)
        q = new
    found = mean_field(image, unary, parameters, "exact")
    for y, x in pixels:
        np.testing.assert_allclose(found[:, y, x], q[y, x], atol=1e-6)


def test_without_iterations_the_marginals_are_the_softmax_of_the_unary(engine):
    unary = torch.rand(3, 5, 6)
    image = torch.zeros(5, 6, 3, dtype=torch.uint8)
    found = mean_field(image, unary, replace(PSA, iterations=0), engine)
    torch.testing.assert_close(found, (-unary).softmax(0), atol=1e-6, rtol=0)


def pair(*scores):
    """An image of two black pixels, and the energies of two labels."""
    return torch.zeros(1, 2, 3, dtype=torch.uint8), torch.tensor(scores).log().view(2, 1, 2)


def test_a_kernel_that_reaches_nobody_still_holds_the_pixel_itself(engine):  # closed form
    image, unary = pair([1.0, 3.0], [2.0, 1.0])
    alone = CRFParameters(80, 13, theta_gamma=0.1, w1=0, w2=3, iterations=1)
    expected = (3 * (-unary).softmax(0) - unary).softmax(0)
    torch.testing.assert_close(mean_field(image, unary, alone, engine), expected, atol=1e-5, rtol=0)


def test_a_kernel_that_reaches_all_alike_pulls_towards_their_mean(engine):  # closed form
    image, unary = pair([1.0, 3.0], [2.0, 1.0])
    wide = CRFParameters(80, 13, theta_gamma=1e6, w1=0, w2=3, iterations=1)
    mean = (-unary).softmax(0).mean((1, 2), keepdim=True)
    expected = (3 * mean - unary).softmax(0)
    torch.testing.assert_close(mean_field(image, unary, wide, engine), expected, atol=1e-5, rtol=0)


def test_like_colours_pull_labels_together_and_unlike_colours_do_not(engine):
    by_colour = CRFParameters(80, 13, 3, w1=10, w2=0, iterations=5)
    same = torch.zeros(1, 2, 3, dtype=torch.uint8)
    different = same.clone()
    different[0, 1] = 255
    unary = unary_from_scores(torch.tensor([[0.99, 0.45], [0.01, 0.55]]).view(2, 1, 2))
    assert mean_field(same, unary, by_colour, engine).argmax(0).tolist() == [[0, 0]]
    assert mean_field(different, unary, by_colour, engine).argmax(0).tolist() == [[0, 1]]


@given(
    seed=st.integers(0, 1000),
    labels=st.integers(1, 35),
    height=st.integers(1, 9),
    width=st.integers(1, 80),
    name=st.sampled_from(["native", "torch", "exact"]),
)
def test_marginals_are_probabilities_of_the_unarys_shape(seed, labels, height, width, name):
    random = np.random.RandomState(seed)
    image = torch.from_numpy(random.randint(0, 256, (height, width, 3)).astype(np.uint8))
    unary = torch.from_numpy((9 * random.rand(labels, height, width)).astype(np.float32))
    found = mean_field(image, unary, PSA, there(name))
    assert found.shape == unary.shape
    assert found.dtype == torch.float32
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(0), torch.ones(height, width), atol=1e-5, rtol=0)


@given(seed=st.integers(0, 1000), shift=st.floats(-50, 50))
def test_an_energy_that_all_labels_pay_changes_nothing(seed, shift):
    image, unary = scene(9, 17, 3, seed)
    for name in ("native", "torch"):
        expected = mean_field(image, unary, PSA, there(name))
        found = mean_field(image, unary + shift, PSA, name)
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["native", "torch"])
def test_energies_of_any_size_stay_probabilities(name):
    image, unary = scene(9, 17, 3)
    found = mean_field(image, 1e6 * (unary - 3), PSA, there(name))
    assert found.isfinite().all()
    torch.testing.assert_close(found.sum(0), torch.ones(9, 17), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (2, 65), (65, 2)])
def test_images_of_one_row_or_column_serve_as_well(engine, size):
    image, unary = scene(*size, labels=3)
    found = mean_field(image, unary, PSA, engine)
    assert found.shape == (3, *size)
    if engine != "exact":
        near = mean_field(image, unary, PSA, "torch")
        torch.testing.assert_close(found, near, atol=1e-3, rtol=0)


def test_one_label_is_certain(engine):
    image, unary = scene(6, 7, 1)
    torch.testing.assert_close(mean_field(image, unary, PSA, engine), torch.ones(1, 6, 7))


def test_views_arrays_and_read_only_memory_serve_as_well_as_copies(engine):
    image, unary = official_image(), unary_from_scores(official_probability())
    expected = mean_field(image, unary, PSA, engine)
    before = image.clone()
    picture, energy = image.numpy(), unary.numpy()
    frozen, frozen_energy = picture.copy(), energy.copy()
    frozen.flags.writeable = frozen_energy.flags.writeable = False
    mirrored = np.ascontiguousarray(picture[:, ::-1])[:, ::-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for other_image, other_unary in [
            (frozen, frozen_energy),
            (mirrored, np.asfortranarray(energy)),
            (picture, energy[::-1].copy()[::-1]),
            (image.transpose(0, 1).contiguous().transpose(0, 1), unary.double()),
            (image, unary.permute(1, 2, 0).contiguous().permute(2, 0, 1)),
        ]:
            found = mean_field(other_image, other_unary, PSA, engine)
            assert isinstance(found, type(other_unary))
            np.testing.assert_array_equal(np.asarray(found), expected.numpy())
    assert torch.equal(image, before)


def test_a_batch_of_any_sizes_and_labels_comes_out_as_one_by_one(engine):
    work = [scene(20, 31, 3), scene(9, 70, 5, seed=1), scene(20, 31, 2, seed=2)]
    images, unaries = zip(*work, strict=True)
    together = mean_field_batch(images, unaries, PSA, engine, threads=2)
    for image, unary, found in zip(images, unaries, together, strict=True):
        alone = mean_field(image, unary, PSA, engine)
        torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)


def test_an_empty_batch_is_no_work():
    assert mean_field_batch([], [], PSA) == []


@pytest.mark.slow
@pytest.mark.long
def test_a_photo_of_twelve_megapixels_fits():
    image, unary = scene(3000, 4000, 2)
    found = mean_field(image, unary, replace(PSA, iterations=2), there("native"))
    torch.testing.assert_close(found.sum(0), torch.ones(3000, 4000), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["native", "torch"])
def test_kernels_with_more_lattice_points_than_numbers_are_refused(name):
    image, unary = scene(1, 4000, 2)
    narrow = CRFParameters(0.1, 0.1, 0.1, w1=1, w2=1, iterations=1)
    with pytest.raises(InputError, match=r"theta_alpha 0\.1.*too narrow.*1x4000"):
        mean_field(image, unary, narrow, there(name))


def test_auto_means_loops_on_the_cpu_and_torch_where_gradients_or_a_gpu_are(monkeypatch):
    unary = torch.zeros(2, 3, 4)
    monkeypatch.setattr(native, "unavailable", lambda: None)
    assert choose("auto", [unary]) == "native"
    assert choose("auto", [unary.clone().requires_grad_()]) == "torch"
    assert choose("auto", [unary.to("meta")]) == "torch"
    monkeypatch.setattr(native, "unavailable", lambda: "there is no C++ compiler")
    with pytest.warns(UserWarning, match=r"torch.*there is no C\+\+ compiler"):
        assert choose("auto", [unary]) == "torch"


def test_an_unknown_engine_is_refused():
    with pytest.raises(ValueError, match=r"engine must .*got nativ;.*\bnative\?"):
        mean_field(*scene(3, 4, 2), PSA, "nativ")


@pytest.mark.parametrize(
    ("shape", "facts"),
    [
        ((2, 4, 6), ["unary", "(4, 5)", "(4, 6)"]),
        ((0, 4, 5), ["unary", "one label", "(0, 4, 5)"]),
    ],
)
def test_a_unary_of_another_size_is_refused(shape, facts):
    with raises_naming(InputError, *facts):
        unchecked(mean_field_batch)(
            [torch.zeros(4, 5, 3, dtype=torch.uint8)], [torch.zeros(shape)], PSA
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_unary_that_is_not_finite_is_refused(engine, value):
    unary = torch.zeros(2, 4, 5)
    unary[1, 2, 3] = value
    with pytest.raises(InputError, match=r"unary must .*NaN or infinite"):
        mean_field(torch.zeros(4, 5, 3, dtype=torch.uint8), unary, PSA, engine)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((4, 5, 3), torch.float32), ((4, 5, 4), torch.uint8), ((4, 5), torch.uint8)],
)
def test_an_image_that_is_not_of_levels_is_refused(shape, dtype):
    with pytest.raises(InputError, match=r"image must be uint8 RGB"):
        unchecked(mean_field_batch)([torch.zeros(shape, dtype=dtype)], [torch.zeros(2, 4, 5)], PSA)
