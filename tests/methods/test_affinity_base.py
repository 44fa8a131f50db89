from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from facts import raises_naming
from rates import RATES

from wsss_lightning.data.scores import save_score
from wsss_lightning.methods.affinity_net.module import AffinityNetModule
from wsss_lightning.methods.affinity_net.network import AffinityNet
from wsss_lightning.methods.irn.module import IRNModule
from wsss_lightning.methods.irn.network import BoundaryNet
from wsss_lightning.methods.random_walk import RandomWalkPropagator, RandomWalkSettings
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.ops.affinity import half_disc, path_affinity, paths
from wsss_lightning.ops.cam import with_power_background
from wsss_lightning.ops.random_walk import transition

ADAM = partial(torch.optim.Adam, lr=1e-2, weight_decay=0.0)
PSA = {"background_power": 4.0, "background_score": None}
IRN = {"background_power": None, "background_score": 0.25}


def affinity_module(kind, radius=3, border="padded"):
    torch.manual_seed(0)
    backbone = Backbone("test_resnet", 8, False, None, None, [], {})
    if kind is AffinityNetModule:
        net = partial(AffinityNet, backbone, [-3, -2, -1], [4, 6, 8], None)
    else:
        net = partial(BoundaryNet, backbone, [2, 3], [4, 4], 2, 4, 0, False, None)
    return kind(net, ADAM, **RATES, radius=radius, border=border)


def walk_settings(radius=3, beta=2.0, steps=4, **background):
    return RandomWalkSettings(
        radius=radius, border="padded", beta=beta, steps=steps, **{**PSA, **background}
    )


def batch_of(image, mask):
    """Images with labels as masks, and as marginals under a low and a high background exponent.

    Where the label is 255, the first marginals are background, the second class 1.
    """
    background = torch.stack([mask != 1, mask == 0], 1).float()
    score = torch.stack([background, 1 - background], 2).flatten(1, 2)  # low, then high
    return {"image": image, "mask": mask, "score": list(score), "name": ["a"] * len(mask)}


@pytest.mark.parametrize("kind", [AffinityNetModule, IRNModule])
def test_the_loss_is_that_of_all_pairs_by_a_loop(kind):
    method = affinity_module(kind).eval()
    image = torch.rand(1, 3, 32, 48)
    mask = torch.zeros(1, 32, 48, dtype=torch.long)
    mask[:, :16, 24:] = 1
    mask[:, 16:, 24:] = 255
    logged = {}
    method.log_dict = lambda losses, **_: logged.update(losses)
    batch = batch_of(image, mask)
    loss = method.training_step(batch, 0)
    affinity = method.affinities(image, 3, "padded")[0]
    cells = method.downsample_labels(batch, affinity.shape[-2:])[0]
    middle = 32 // (2 * len(cells))
    assert torch.equal(cells, mask[0, middle :: 2 * middle, middle :: 2 * middle])
    kinds = {"background": [], "foreground": [], "negative": []}
    for n, (dy, dx) in enumerate(method.offsets(3)):
        for y in range(cells.shape[0] - dy):
            for x in range(max(0, -dx), cells.shape[1] - max(0, dx)):
                a, first, second = affinity[n, y, x], cells[y, x], cells[y + dy, x + dx]
                if 255 in (first, second):
                    continue
                like = "background" if first == 0 else "foreground"
                kinds[like if first == second else "negative"].append(a)
    like, unlike = lambda a: -(a + 1e-5).log(), lambda a: -(1 + 1e-5 - a).log()
    parts = {"background": (like, 4), "foreground": (like, 4), "negative": (unlike, 2)}
    expected = {
        f"train/{name}": term(torch.stack(kinds[name])).mean() / share
        for name, (term, share) in parts.items()
    }
    for name, value in expected.items():
        torch.testing.assert_close(logged[name], value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(loss, sum(expected.values()), rtol=1e-4, atol=1e-6)


def test_the_walk_of_affinitynet_equals_that_of_the_dense_matrix():
    method = affinity_module(AffinityNetModule).eval()
    image, score = torch.rand(1, 3, 37, 52), torch.rand(2, 37, 52)
    with torch.no_grad():
        (result,) = method.propagate_scores(image, [score], walk_settings(steps=8))
        affinity = method.affinities(image, 3, "padded")
    maps = F.pad(with_power_background(score, 4.0), (0, 4, 0, 3))
    pooled = maps.reshape(3, 5, 8, 7, 8).mean((2, 4)).flatten(1)
    flow = transition(affinity, half_disc(3), 2.0).to_dense().T.double()
    spread = (pooled.double() @ torch.linalg.matrix_power(flow, 8)).float().reshape(1, 3, 5, 7)
    expected = F.interpolate(spread, scale_factor=8, mode="bilinear")[0, :, :37, :52]
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_the_walk_of_irn_starts_outside_boundaries_and_is_divided_by_its_maximum():
    method = affinity_module(IRNModule).eval()
    image, score = torch.rand(1, 3, 38, 50), torch.rand(2, 38, 50)
    with torch.no_grad():
        (result,) = method.propagate_scores(image, [score], walk_settings(steps=3, **IRN))
        logit = (method.net(image) + method.net(image.flip(-1)).flip(-1)) / 2
    edge = logit.sigmoid()
    affinity = path_affinity(edge, 3, "padded")
    flow = transition(affinity, [path[0] for path in paths(3)], 2.0).to_dense().T
    # cells on the border average the pixels that the image has there, 2 of 4 a side
    cells = [
        [score[:, y : y + 4, x : x + 4].mean((-2, -1)) for x in range(0, 50, 4)]
        for y in range(0, 38, 4)
    ]
    pooled = torch.stack([torch.stack(row, -1) for row in cells], -2) * (1 - edge)
    spread = (pooled.flatten(1) @ torch.linalg.matrix_power(flow, 3)).reshape(1, 2, 10, 13)
    expected = F.interpolate(spread, scale_factor=4, mode="bilinear")[0, :, :38, :50]
    assert torch.equal(result[0], torch.full((38, 50), 0.25))
    torch.testing.assert_close(result[1:], expected / expected.max(), rtol=1e-4, atol=1e-5)
    assert result[1:].max() == 1


def dense_walk(start, edge, radius, beta, squarings, size):
    """IRN's walk by a loop over all pairs and a dense matrix, as in the official code."""
    height, width = edge.shape
    whole = torch.eye(height * width, dtype=torch.float64)
    for path in paths(radius):
        dy, dx = path[0]
        for y in range(height - dy):
            for x in range(max(0, -dx), width - max(0, dx)):
                strongest = max(float(edge[y + py, x + px]) for py, px in path)
                i, j = y * width + x, (y + dy) * width + x + dx
                whole[i, j] = whole[j, i] = 1 - strongest
    step = whole**beta
    step = step / step.sum(0, keepdim=True)
    for _ in range(squarings):
        step = step @ step
    spread = (start * (1 - edge)).flatten(1).double() @ step
    large = F.interpolate(
        spread.view(1, -1, height, width), scale_factor=4, mode="bilinear", align_corners=False
    )[0, :, : size[0], : size[1]]
    return (large / large.max()).float()


def test_the_walk_of_irn_starts_from_strided_cams_that_seeds_hold(tmp_path):  # naive reference
    method, size = affinity_module(IRNModule).eval(), (38, 50)
    image, strided = torch.rand(1, 3, *size), torch.rand(2, 10, 13)
    # the maps of the image are nothing that the walk could start from
    keys = np.array([2, 5])
    save_score(tmp_path / "a.npz", np.zeros((2, *size), np.float32), keys, 8, strided)
    propagator = RandomWalkPropagator(
        method, tmp_path, walk_settings(radius=3, beta=10, steps=8, **IRN)
    )
    with torch.no_grad():
        result = propagator.predict_step({"image": image, "name": ["a"]}, 0)
        logit = (method.net(image) + method.net(image.flip(-1)).flip(-1)) / 2
    expected = dense_walk(strided, logit[0].sigmoid(), 3, 10, 3, size)
    assert result["keys"][0].tolist() == [0, 2, 5]
    full = torch.cat([torch.full((1, *size), 0.25), expected])
    torch.testing.assert_close(result["marginal"][0], full / full.sum(0), rtol=1e-4, atol=1e-5)


def test_the_walk_of_affinitynet_ignores_strided_cams(tmp_path):
    method, score = affinity_module(AffinityNetModule).eval(), torch.rand(1, 32, 48)
    save_score(tmp_path / "a.npz", score, np.array([3]), 16)
    save_score(tmp_path / "b.npz", score, np.array([3]), 16, torch.rand(1, 8, 12))
    image = torch.rand(1, 3, 32, 48)
    propagator = RandomWalkPropagator(method, tmp_path, walk_settings())
    with torch.no_grad():
        first, second = (propagator.predict_step({"image": image, "name": [n]}, 0) for n in "ab")
    assert torch.equal(first["marginal"][0], second["marginal"][0])


def test_a_batch_may_mix_seeds_with_and_without_strided_cams(tmp_path):
    method, score = affinity_module(IRNModule).eval(), torch.rand(1, 32, 48)
    save_score(tmp_path / "a.npz", score, np.array([3]), 16)
    save_score(tmp_path / "b.npz", score, np.array([3]), 16, torch.rand(1, 8, 12))
    image = torch.rand(2, 3, 32, 48)
    propagator = RandomWalkPropagator(method, tmp_path, walk_settings(**IRN))
    with torch.no_grad():
        both = propagator.predict_step({"image": image, "name": ["a", "b"]}, 0)["marginal"]
        for i, name in enumerate("ab"):
            batch = {"image": image[i : i + 1], "name": [name]}
            (alone,) = propagator.predict_step(batch, 0)["marginal"]
            torch.testing.assert_close(both[i], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [AffinityNetModule, IRNModule])
@pytest.mark.parametrize("background", [PSA, IRN])
def test_an_image_without_tags_is_background(tmp_path, kind, background):
    save_score(tmp_path / "a.npz", np.zeros((0, 1, 1), np.float32), np.zeros(0, int), bits=8)
    none = np.zeros((0, 8, 12), np.float32)  # of IRN's alignment
    save_score(tmp_path / "c.npz", np.zeros((0, 1, 1), np.float32), np.zeros(0, int), 8, none)
    save_score(tmp_path / "b.npz", np.full((1, 32, 48), 1, np.float32), np.array([3]), bits=8)
    propagator = RandomWalkPropagator(
        affinity_module(kind).eval(), tmp_path, walk_settings(**background)
    )
    batch = {"image": torch.rand(3, 3, 32, 48), "name": ["a", "b", "c"]}
    with torch.no_grad():
        result = propagator.predict_step(batch, 0)
    assert [keys.tolist() for keys in result["keys"]] == [[0], [0, 3], [0]]
    assert torch.equal(result["marginal"][0], torch.ones(1, 32, 48))
    assert torch.equal(result["marginal"][2], torch.ones(1, 32, 48))
    assert result["marginal"][1].argmax(0).all()
    torch.testing.assert_close(result["marginal"][1].sum(0), torch.ones(32, 48))


@pytest.mark.parametrize("kind", [AffinityNetModule, IRNModule])
def test_images_of_a_batch_are_independent(kind):
    method = affinity_module(kind).eval()
    image, scores = torch.rand(2, 3, 32, 40), [torch.rand(1, 32, 40), torch.rand(3, 32, 40)]
    with torch.no_grad():
        both = method.propagate_scores(image, scores, walk_settings())
        alone = [
            method.propagate_scores(image[i : i + 1], scores[i : i + 1], walk_settings())[0]
            for i in (0, 1)
        ]
    for one, other in zip(both, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_walk_keeps_full_precision_under_autocast():
    method = affinity_module(AffinityNetModule).eval()
    image, score = torch.rand(1, 3, 32, 40), torch.rand(1, 32, 40)
    with torch.no_grad():
        (full,) = method.propagate_scores(image, [score], walk_settings(steps=64))
        with torch.autocast("cpu", torch.bfloat16):
            (mixed,) = method.propagate_scores(image, [score], walk_settings(steps=64))
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, full, rtol=0.05, atol=0.01)


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"background_score": 0.2}, ["background_power", "4.0", "background_score", 0.2]),
        ({"background_power": None}, ["background_power", "background_score", "None"]),
        ({"radius": 1}, ["radius", 1, 2]),
        ({"beta": -1}, ["beta", -1]),
        ({"steps": -1}, ["steps", -1]),
    ],
)
def test_settings_of_a_walk_that_are_out_of_range_are_refused(changes, facts):
    with raises_naming(ValueError, *facts):
        walk_settings(**changes)


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"radius": 1}, ["radius", 1, 2]),
        ({"border": "round"}, ["border", "round", "padded", "window"]),
    ],
)
def test_pairs_that_are_out_of_range_are_refused(changes, facts):
    with raises_naming(ValueError, *facts):
        affinity_module(AffinityNetModule, **changes)
