from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from facts import raises_naming
from hypothesis import given
from hypothesis import strategies as st
from rates import RATES

from wsss_lightning.methods.cam_predictor import CamPredictor
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.methods.seam.module import SEAM
from wsss_lightning.methods.seam.network import SeamNet
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.ops.alignment import view_of
from wsss_lightning.ops.cam import max_normalise
from wsss_lightning.ops.resize import cells_to_image, resize_to

SGD = partial(torch.optim.SGD, lr=0.05, weight_decay=1e-4)
TERMS = ["classification", "min_pooling", "er", "ecr"]


def seam(num_classes=2, **changes):
    chosen = Backbone("test_resnet", 8, False, None, None, [], {})
    net = partial(SeamNet, chosen, 0.0, [-3, -2], [4, 4], 8, 256, None)
    defaults = {
        "scale": 0.5,
        "min_pooling_weight": 1.0,
        "er_weight": 1.0,
        "ecr_weight": 1.0,
        "hard_fraction": 0.2,
    }
    return SEAM(net, num_classes, SGD, **RATES, **{**defaults, **changes})


def uniform(seed, *shape):
    return torch.from_numpy(np.random.RandomState(seed).rand(*shape))


def l1_case():
    """Maps and tags of the known answer L1."""
    maps = [3 * uniform(50, 2, 21, 60, 60) - 1, uniform(51, 2, 21, 60, 60)]
    maps += [3 * uniform(52, 2, 21, 18, 18) - 1, uniform(53, 2, 21, 18, 18)]
    tags = (uniform(54, 2, 20) < 0.15).float()
    tags[0, 14] = tags[1, 2] = 1
    assert torch.nonzero(tags).tolist() == [[0, 4], [0, 9], [0, 14], [1, 2], [1, 10]]
    return [m.float().requires_grad_() for m in maps], tags


def test_losses_and_gradients_are_those_of_the_official_code():  # L1
    maps, tags = l1_case()
    method = seam(20, scale=0.3)
    sizes = ((60, 60), (18, 18))
    result = method.losses((maps[0], maps[1]), (maps[2], maps[3]), *sizes, tags)
    expected = {
        "classification": (0.908122 + 0.905664) / 2,
        "min_pooling": (0.405499 + 0.414700) / 2,
        "er": 0.042274,
        "ecr": 0.335192 + 0.317598,
    }
    assert {k: v.item() for k, v in result.items()} == pytest.approx(expected, abs=2e-6)
    total = torch.stack(list(result.values())).sum()
    assert total.item() == pytest.approx(2.012056, abs=2e-6)
    total.backward()
    sums = [m.grad.abs().sum().item() for m in maps]
    assert sums == pytest.approx([0.33689, 1.662049, 0.330807, 1.755459], abs=5e-6)


def naive_losses(full, small, sizes, tags, fraction):
    """All labels at full size, one step after the other, as section 8.2 of the reference says."""
    labels = torch.cat([torch.ones(len(tags), 1), tags], 1)[..., None, None]
    views, classification, pooled = [], 0, 0
    for (cam, refined), size in zip((full, small), sizes, strict=True):
        cam, refined = resize_to(cam, size), resize_to(refined, size)
        logits = cam.mean((-2, -1))[:, 1:]
        classification += F.multilabel_soft_margin_loss(logits, tags) / 2
        strongest = (refined * labels)[:, 1:].amax(1).flatten(1)
        quarter = strongest.sort(1).values[:, : strongest.shape[1] // 4]
        pooled += quarter.relu().mean() / 2
        views.append([resize_to(max_normalise(m), sizes[1]) * labels for m in (cam, refined)])
    (cam1, refined1), (cam2, refined2) = views
    ecr = 0
    for cam, refined in ((cam2, refined1), (cam1, refined2)):
        classes = cam.detach()[:, 1:]
        strongest = classes.amax(1, keepdim=True)
        target = torch.cat([1 - strongest, classes * (classes == strongest)], 1)
        errors = (target - refined).abs().flatten(1).sort(1, descending=True).values
        ecr += errors[:, : int(errors.shape[1] * fraction)].mean()
    return [classification, pooled, (cam1 - cam2)[:, 1:].abs().mean(), ecr]


@given(seed=st.integers(0, 1000), fraction=st.sampled_from([0.1, 0.2, 0.5, 1.0]))
def test_losses_of_present_classes_equal_those_of_all_classes(seed, fraction):  # reference
    generator = torch.Generator().manual_seed(seed)

    def maps(*size):
        return (
            torch.randn(3, 6, *size, generator=generator).requires_grad_(),
            torch.rand(3, 6, *size, generator=generator).requires_grad_(),
        )

    full, small, sizes = maps(4, 5), maps(2, 3), ((25, 33), (12, 16))
    tags = (torch.rand(3, 5, generator=generator) < 0.3).float()
    expected = naive_losses(full, small, sizes, tags, fraction)
    result = seam(5, hard_fraction=fraction).losses(full, small, *sizes, tags)
    assert list(result) == TERMS
    torch.testing.assert_close(list(result.values()), expected)
    of = [*full, *small]
    gradients = torch.autograd.grad(torch.stack(list(result.values())).sum(), of)
    torch.testing.assert_close(
        gradients, torch.autograd.grad(sum(expected), of), atol=1e-6, rtol=1e-4
    )


def test_each_term_has_gradients_where_the_reference_says():  # gradient support
    method = seam()
    net = method.net
    image, small = torch.rand(2, 3, 65, 65), torch.rand(2, 3, 32, 32)
    tags = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    own = {"squeeze.0.weight", "squeeze.1.weight", "embed.weight"}
    for term in TERMS:
        net.zero_grad()
        losses = method.losses(net(image), net(small), (65, 65), (32, 32), tags)
        losses[term].backward()
        reached = {n for n, p in net.named_parameters() if p.grad is not None and p.grad.any()}
        if term in ("min_pooling", "ecr"):
            assert reached == own, term
        else:
            assert not reached & own, term
            assert "head.weight" in reached
            assert any(name.startswith("encoder.") for name in reached)
        if net.head.weight.grad is not None:
            assert not net.head.weight.grad[0].any(), term  # the row of the background


@pytest.mark.parametrize("term", TERMS[1:])
def test_a_term_of_weight_zero_is_left_out(term):
    maps, tags = l1_case()
    name = f"{term}_weight"
    without = seam(20, scale=0.3, **{name: 0.0})
    result = without.losses(tuple(maps[:2]), tuple(maps[2:]), (60, 60), (18, 18), tags)
    assert result[term].item() == 0
    assert all(result[other].item() > 0 for other in TERMS if other != term)


def test_logits_are_the_mean_of_the_cam_at_the_images_size():
    method, image = seam().eval(), torch.rand(2, 3, 50, 64)
    with torch.no_grad():
        expected = resize_to(method.net.cam(image), (50, 64)).mean((-2, -1))[:, 1:]
        torch.testing.assert_close(method(image), expected)


def official_normalisation(total, eps=1e-5):
    """The numpy lines of the official inference in our words, negative side effects cut off."""
    low, high = (f(total, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    kept = np.where(total < low + eps, 0, total)
    return ((kept - low - eps) / (high - low + eps)).clip(0)


def test_scores_are_summed_and_normalised_as_in_the_official_inference():
    method = seam().eval()
    cams = CamPredictor(method, CamSettings(scales=(0.5, 1.0, 1.5, 2.0), flip=True, stride=8))
    image, tags = torch.rand(1, 3, 41, 57), torch.ones(1, 2)
    with torch.no_grad():
        score = cams.score(image, tags)
        total = 0
        for scale in cams.settings.scales:
            view = view_of(image, scale, "aligned", 8)
            for flip in (False, True):
                _, refined = method.net(view.flip(-1) if flip else view)
                refined = cells_to_image(refined[:, 1:], view.shape[-2:], (41, 57), 8)
                total = total + (refined.flip(-1) if flip else refined)
    expected = torch.from_numpy(official_normalisation(total[0].numpy()))
    torch.testing.assert_close(score[0], expected, atol=1e-5, rtol=1e-4)


def test_a_step_logs_every_term_by_name_and_returns_their_sum():
    method, logged = seam(), {}
    method.log_dict = lambda values, **_: logged.update(values)
    batch = {"image": torch.rand(2, 3, 64, 64), "tags": torch.eye(2), "name": ["a", "b"]}
    loss = method.training_step(batch, 0)
    assert list(logged) == [*(f"train/{term}" for term in TERMS), "train/loss"]
    torch.testing.assert_close(sum(logged[f"train/{term}"] for term in TERMS), loss)


@pytest.mark.parametrize(
    ("name", "value", "in_paper"),
    [("scale", 0, 0.3), ("scale", 1.5, 0.3), ("hard_fraction", 0, 0.2)],
)
def test_values_out_of_range_are_refused_with_those_of_the_paper(name, value, in_paper):
    with raises_naming(ValueError, name, value, in_paper):
        seam(**{name: value})
