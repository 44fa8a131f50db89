import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from wsss_lightning.ops.affinity import (
    affinity_loss,
    confident_cells,
    confident_labels,
    feature_affinity,
    half_disc,
    pair_labels,
    pairs,
    path_affinity,
    paths,
)
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.ops.random_walk import random_walk, transition


def uniform(seed, *shape, dtype=torch.float32):
    return torch.from_numpy(np.random.RandomState(seed).rand(*shape)).to(dtype)


def window(maps, radius=5):
    """The pairs of the official codes, as they store them: offsets, sources."""
    reach = radius - 1
    return maps[..., : maps.shape[-2] - reach, reach : maps.shape[-1] - reach].flatten(-2)


def dense(affinity, offsets):
    """The whole symmetric matrix with ones on its diagonal, from one image's pairs, by loops."""
    n, h, w = affinity.shape
    whole = torch.eye(h * w, dtype=affinity.dtype)
    for o, (dy, dx) in enumerate(offsets[:n]):
        for y in range(h):
            for x in range(w):
                if y + dy < h and 0 <= x + dx < w and affinity[o, y, x] > 0:
                    i, j = y * w + x, (y + dy) * w + x + dx
                    whole[i, j] = whole[j, i] = affinity[o, y, x]
    return whole


def squared_walk(maps, affinity, offsets, beta, squarings):
    """As the official codes walk: the whole matrix, squared again and again."""
    whole = dense(affinity, offsets)
    scaled = torch.where(whole > 0, whole**beta, whole)
    step = scaled / scaled.sum(0, keepdim=True)
    for _ in range(squarings):
        step = step @ step
    return (maps.flatten(1) @ step).view(maps.shape)


# pairs


@pytest.mark.parametrize(
    ("size", "sources", "sums"),
    [
        ((12, 12), 32, (1520, 78112)),
        ((56, 56), 2496, (3632928, 133049280)),
        ((47, 63), 2365, (3202210, 119030450)),
    ],
)
def test_pairs_in_the_window_are_those_of_the_official_code(size, sources, sums):  # V5b
    offsets = half_disc(5)
    there = pairs(size, offsets, "window")
    pixel = torch.arange(size[0] * size[1]).view(size)
    first = pixel[there[0]]
    second = torch.cat(
        [pixel[t] + dy * size[1] + dx for t, (dy, dx) in zip(there, offsets, strict=True)]
    )
    assert len(offsets) == 34
    assert (len(first), len(second)) == (sources, 34 * sources)
    assert (int(first.sum()), int(second.sum())) == sums
    assert first[:3].tolist() == [4, 5, 6]
    assert second[:3].tolist() == [5, 6, 7]


def test_padding_gives_every_pixel_the_neighbours_that_the_map_has():
    offsets, size = half_disc(5), (47, 63)
    for border, fewer, alone in (("window", 0.38, 10), ("padded", None, 0)):
        ones = pairs(size, offsets, border)[None].double()
        degree = (transition(ones, offsets, 1.0).to_dense() > 0).sum(1) - 1
        assert degree.max() == 68
        assert int((degree == 0).sum()) == alone
        if fewer:
            assert float((degree < 68).double().mean()) == pytest.approx(fewer, abs=0.005)
        else:  # only what lies outside is missing
            expected = F.conv2d(torch.ones(1, 1, *size).double(), disc(), padding=4) - 1
            assert torch.equal(degree, expected.flatten().long())


def disc():
    reach = torch.arange(-4, 5)
    return (reach[:, None] ** 2 + reach**2 < 25).double()[None, None]


def test_another_border_is_refused():
    with pytest.raises(ValueError, match="border must be padded or window, got mirror"):
        pairs((8, 8), half_disc(3), "mirror")


# labels


def test_labels_of_pairs_are_those_of_the_official_code():  # V5
    label = torch.from_numpy(np.random.RandomState(6).choice([0, 1, 2, 255], (12, 12)))[None]
    found = [window(kind) for kind in pair_labels(label, half_disc(5), "window")]
    assert found[0].shape == (1, 34, 32)
    assert [int(kind.sum()) for kind in found] == [36, 187, 408]


def test_labels_of_pairs_are_those_of_the_official_irn_code():  # I4
    label = torch.from_numpy(np.random.RandomState(23).choice([0, 1, 2, 255], (16, 20)))[None]
    offsets = [path[0] for path in paths(5)]
    assert [int(k.sum()) for k in pair_labels(label, offsets, "window")] == [255, 647, 1833]


def test_pairs_are_told_apart_by_hand():  # closed form
    label = torch.tensor([[0, 0, 1], [2, 1, IGNORE]])[None]
    background, foreground, negative = pair_labels(label, [(0, 1), (1, 0)], "padded")
    assert torch.nonzero(background[0]).tolist() == [[0, 0, 0]]
    assert foreground.sum() == 0  # the ones lie across
    assert torch.nonzero(negative[0]).tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 0, 1]]


def test_labels_are_confident_where_little_and_much_background_agree():  # closed form
    # columns: class under both, class under high alone, background under both, outside
    low = torch.tensor([[0.2, 0.7, 0.9, 0.0], [0.8, 0.3, 0.1, 0.0]])[:, None]
    high = torch.tensor([[0.1, 0.3, 0.6, 0.0], [0.9, 0.7, 0.4, 0.0]])[:, None]
    for prefer_class in (False, True):
        assert confident_labels(low, high, prefer_class).tolist() == [[1, IGNORE, 0, IGNORE]]


@pytest.mark.parametrize(("prefer_class", "label"), [(False, 0), (True, 1)])  # PSA, IRN
def test_a_contradiction_is_decided_as_in_the_official_code(prefer_class, label):
    low, high = torch.tensor([0.2, 0.8]), torch.tensor([0.6, 0.4])
    decided = confident_labels(low[:, None, None], high[:, None, None], prefer_class)
    assert decided.item() == label


def test_probabilities_are_averaged_over_a_cell_before_labels_are_decided():
    # columns of pixels; in the first cell most pixels are background, but faintly
    background = torch.tensor([[0.6, 0.6, 0.6, 0.0, 0.9]])
    marginal = torch.stack([background, 1 - background])
    assert confident_cells(marginal, marginal, 1).tolist() == [[0, 0, 0, 1, 0]]
    # cells of 4 x 4 pixels, of which the first holds 4 and the second, cut, holds 1
    assert confident_cells(marginal, marginal, 4).tolist() == [[1, 0]]


# affinities


def v6():
    features = 0.5 * uniform(7, 1, 16, 10, 12)
    return features, feature_affinity(features, 5, "window")[0]


def test_affinities_are_those_of_the_official_code():  # V6
    _, affinity = v6()
    assert window(affinity).mean().item() == pytest.approx(0.843999, abs=5e-7)
    whole = dense(affinity, half_disc(5))
    assert whole.sum().item() == pytest.approx(1497.4067, abs=2e-3)
    top = (whole[:, :12] > 0).sum(0)
    assert top.tolist() == [1, 1, 1, 1, 35, 36, 37, 38, 5, 4, 3, 2]


def test_affinities_of_all_pairs_are_those_of_a_loop():
    features = uniform(0, 2, 3, 6, 7, dtype=torch.float64)
    found = feature_affinity(features, 4, "padded")
    for n, (dy, dx) in enumerate(half_disc(4)):
        for y in range(6):
            for x in range(7):
                value = torch.zeros(2, dtype=torch.float64)
                if y + dy < 6 and 0 <= x + dx < 7:
                    gap = (features[..., y, x] - features[..., y + dy, x + dx]).abs().mean(1)
                    value = (-gap).exp()
                torch.testing.assert_close(found[:, n, y, x], value)


@pytest.mark.parametrize("border", ["padded", "window"])
def test_gradients_of_affinities_are_right(border):  # gradcheck
    features = uniform(1, 2, 3, 5, 7, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: feature_affinity(f, 3, border), features)


@pytest.mark.parametrize("size", [(2, 2), (1, 9), (9, 1), (3, 2)])
def test_maps_smaller_than_the_radius_have_the_pairs_they_can(size):
    features = uniform(2, 1, 2, *size, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: feature_affinity(f, 5, "padded"), features)
    boundary = uniform(3, 1, *size, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda e: path_affinity(e, 5, "padded"), boundary)
    count = size[0] * size[1]
    assert (dense(feature_affinity(features, 5, "padded")[0], half_disc(5)) > 0).sum() <= count**2


def test_paths_are_those_of_the_official_code():  # I1
    found = paths(5)
    groups = {}
    for path in found:
        groups[len(path)] = groups.get(len(path), 0) + 1
    assert [(n, length) for length, n in groups.items()] == [
        *((2, 2), (2, 3), (4, 4), (2, 5), (4, 6), (2, 7), (8, 8), (6, 10), (4, 11))
    ]
    ends = [path[0] for path in found]
    assert ends[:6] == [(0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (1, -1)]
    assert ends[-1] == (4, 2)
    assert end_sum(ends, (16, 20)) == (34, 144, 782352)


def end_sum(ends, size):
    """How many ends and sources there are, and the sum of the ends' flat indices."""
    there = pairs(size, ends, "window")
    first = torch.arange(size[0] * size[1]).view(size)[there[0]]
    total = sum(int((first + dy * size[1] + dx).sum()) for dy, dx in ends)
    return len(ends), len(first), total


def test_paths_of_training_are_those_of_the_official_code():  # I1b
    found = paths(10)
    ends = [path[0] for path in found]
    assert len({len(path) for path in found}) == 20
    assert ends[-1] == (9, 3)
    assert end_sum(ends, (128, 128)) == (152, 13090, 16223654370)


def test_affinities_along_paths_are_those_of_the_official_code():  # I3
    found = window(path_affinity(uniform(22, 1, 16, 20), 5, "window"))
    assert found.shape == (1, 34, 144)
    assert found.sum().item() == pytest.approx(605.21283, abs=2e-3)
    assert found[0, 0, :3].tolist() == pytest.approx([0.661136, 0.661136, 0.308959], abs=1e-6)


@pytest.mark.parametrize("border", ["padded", "window"])
def test_gradients_along_paths_are_right(border):  # gradcheck
    boundary = uniform(4, 2, 6, 7, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda e: path_affinity(e, 3, border), boundary)


def test_of_equal_boundaries_the_first_on_the_path_learns():
    boundary = torch.zeros(1, 1, 4, requires_grad=True)
    n = [path[0] for path in paths(4)].index((0, 3))
    path_affinity(boundary, 4, "padded")[0, n, 0, 0].backward()
    assert boundary.grad.tolist() == [[[0, 0, 0, -1]]]


# losses


def test_the_loss_is_the_mean_of_each_kind_of_pairs():  # closed form
    affinity = torch.tensor([0.5, 0.25, 0.9, 0.1]).view(1, 4, 1, 1)
    kinds = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool().view(3, 1, 4, 1, 1)
    found = affinity_loss(affinity, tuple(kinds))
    logs = np.log([0.5, 0.25, 0.9, 0.9])
    expected = [-(logs[0] + logs[1]) / 8, -logs[2] / 4, -logs[3] / 2]
    assert [v.item() for v in found.values()] == pytest.approx(expected, rel=1e-3)  # EPS


def test_a_batch_without_a_kind_of_pairs_is_no_error():
    none = torch.zeros(1, 34, 6, 6, dtype=torch.bool)
    affinity = torch.rand(1, 34, 6, 6, requires_grad=True)
    total = torch.stack(list(affinity_loss(affinity, (none, none, none)).values())).sum()
    total.backward()
    assert total == 0
    assert affinity.grad.isfinite().all()


# walks


def test_the_walk_is_that_of_the_official_code():  # V6b
    _, affinity = v6()
    maps = uniform(8, 21, 120, dtype=torch.float64).view(1, 21, 10, 12)
    out = random_walk(maps, affinity[None].double(), half_disc(5), beta=8, steps=2**6)[0]
    assert out.sum().item() == pytest.approx(1251.9640, abs=1e-3)
    first = out.flatten(1)
    assert first[0, :3].tolist() == pytest.approx([0.87343, 0.96854, 0.86919], abs=5e-6)
    assert first.argmax(0)[:10].tolist() == [7, 3, 13, 13, 7, 7, 7, 7, 7, 7]


def test_the_walk_between_boundaries_is_that_of_the_official_code():  # I2
    # the official 256 steps in single precision are off by some 1e-5, those in double are not
    boundary = uniform(20, 1, 14, 18, dtype=torch.float64)
    maps = uniform(21, 3, 1, 14, 18, dtype=torch.float64)
    affinity = path_affinity(boundary, 5, "padded")
    offsets = [path[0] for path in paths(5)]
    out = random_walk((maps * (1 - boundary)).view(1, 3, 14, 18), affinity, offsets, 10, 2**8)
    assert out.sum().item() == pytest.approx(178.83554, abs=1e-4)
    assert out[0, 0, 0, :3].tolist() == pytest.approx([0.049969, 0.029572, 0.078203], abs=1e-6)
    assert out.max().item() == pytest.approx(0.787666, abs=1e-5)


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    beta=st.floats(0, 12),
    squarings=st.integers(0, 5),
    border=st.sampled_from(["padded", "window"]),
)
def test_steps_are_as_good_as_squarings(size, beta, squarings, border):  # naive reference
    features = uniform(9, 2, 3, *size, dtype=torch.float64)
    affinity = feature_affinity(features, 4, border)
    maps = uniform(10, 2, 3, *size, dtype=torch.float64)
    found = random_walk(maps, affinity, half_disc(4), beta, 2**squarings)
    for i in range(2):
        expected = squared_walk(maps[i], affinity[i], half_disc(4), beta, squarings)
        torch.testing.assert_close(found[i], expected)


@given(steps=st.integers(0, 40), beta=st.floats(0, 10))
def test_columns_add_up_to_one_and_what_comes_out_is_a_weighted_mean(steps, beta):  # property
    affinity = path_affinity(uniform(11, 1, 8, 9, dtype=torch.float64), 5, "padded")
    offsets = [path[0] for path in paths(5)]
    columns = transition(affinity, offsets, beta).to_dense()
    torch.testing.assert_close(columns.sum(1), torch.ones(72).double())
    maps = uniform(12, 1, 2, 8, 9, dtype=torch.float64)
    out = random_walk(maps, affinity, offsets, beta, steps)
    assert (out.amax((2, 3)) <= maps.amax((2, 3)) + 1e-9).all()
    assert (out.amin((2, 3)) >= maps.amin((2, 3)) - 1e-9).all()
    ones = random_walk(torch.ones_like(maps), affinity, offsets, beta, steps)
    torch.testing.assert_close(ones, torch.ones_like(ones))


def test_walls_stop_the_walk():
    boundary = torch.zeros(1, 9, 11)
    boundary[:, :, 5] = 1
    maps = torch.zeros(1, 1, 9, 11)
    maps[..., :5] = 1
    affinity, offsets = path_affinity(boundary, 5, "padded"), [path[0] for path in paths(5)]
    out = random_walk(maps, affinity, offsets, 10, 500)
    torch.testing.assert_close(out, maps)
    open_wall = boundary.clone()
    open_wall[:, 4, 5] = 0
    leaking = random_walk(maps, path_affinity(open_wall, 5, "padded"), offsets, 10, 500)
    assert leaking[0, 0, 4, 10] > 0.1


def test_images_of_a_batch_do_not_mix():
    features, maps = uniform(13, 2, 3, 6, 5), uniform(14, 2, 2, 6, 5)
    affinity = feature_affinity(features, 5, "padded")
    both = random_walk(maps, affinity, half_disc(5), 8, 16)
    alone = [random_walk(maps[i : i + 1], affinity[i : i + 1], half_disc(5), 8, 16) for i in (0, 1)]
    torch.testing.assert_close(both, torch.cat(alone))


def test_no_steps_change_nothing():
    maps = uniform(15, 1, 2, 4, 5)
    affinity = feature_affinity(uniform(16, 1, 2, 4, 5), 3, "padded")
    assert torch.equal(random_walk(maps, affinity, half_disc(3), 8, 0), maps)


@pytest.mark.parametrize("how", [{"beta": -1, "steps": 1}, {"beta": 1, "steps": -1}])
def test_negative_values_are_refused(how):
    affinity = feature_affinity(uniform(16, 1, 2, 4, 5), 3, "padded")
    with pytest.raises(ValueError, match=r"(beta|steps) must be >= 0, got -1"):
        random_walk(uniform(15, 1, 2, 4, 5), affinity, half_disc(3), **how)
