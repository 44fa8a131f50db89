import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from facts import raises_naming
from official import deeplab_v2_layout, recipe
from torch import nn

from wsss_lightning.errors import InputError
from wsss_lightning.methods.segmentation.deeplab import DeepLabV1, DeepLabV2
from wsss_lightning.nets.backbones import Backbone

SIZES = [(64, 64), (33, 50), (1, 70), (97, 129)]


def backbone(name="test_resnet", stride=16, freeze_norm=None, weights=None, **options):
    return Backbone(name, stride, False, weights, freeze_norm, [], {}, **options)


def deeplab_v1(**changes):
    defaults = {
        "backbone": backbone(),
        "output_stride": 8,
        "dilation": 12,
        "channels": 16,
        "dropout": 0.5,
        "norm_momentum": 3e-4,
        "norm_affine": False,
        "weights": None,
        "num_classes": 2,
    }
    return DeepLabV1(**{**defaults, **changes})


def deeplab_v2(**changes):
    defaults = {
        "backbone": backbone(),
        "output_stride": 8,
        "rates": [6, 12, 18, 24],
        "scales": [0.5, 0.75],
        "norm_momentum": 1e-3,
        "norm_affine": False,
        "weights": None,
        "num_classes": 2,
    }
    return DeepLabV2(**{**defaults, **changes})


def random_norms(net):
    """Give batch norms and biases random values."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            for value in (part.weight, part.bias, part.running_mean, part.running_var):
                nn.init.uniform_(value, 0.5, 2.0)
        elif isinstance(part, nn.Conv2d) and part.bias is not None:
            nn.init.normal_(part.bias)
    return net


# both


@pytest.mark.parametrize("made", [deeplab_v1, deeplab_v2])
@pytest.mark.parametrize("size", SIZES)
def test_images_of_any_size_get_logits_of_their_size(made, size):
    with torch.no_grad():
        logits = made().eval()(torch.rand(2, 3, *size))
    assert logits.shape == (2, 3, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("made", [deeplab_v1, deeplab_v2])
@pytest.mark.parametrize(("own", "cells"), [(8, 8), (16, 4), (None, 2)])
def test_its_output_stride_overrides_that_of_the_backbone(made, own, cells):
    net = made(backbone=backbone(stride=32), output_stride=own).eval()
    with torch.no_grad():
        assert net.encoder(torch.rand(1, 3, 64, 64))[-1].shape[-1] == cells
    assert net.backbone.output_stride == (own or 32)


@pytest.mark.parametrize("made", [deeplab_v1, deeplab_v2])
@pytest.mark.parametrize(("own", "dilation"), [(8, (4, 4)), (None, (1, 1))])
def test_its_output_stride_dilates_an_undilated_backbone(made, own, dilation):
    chosen = backbone("resnet18", 8, dilated=False)
    net = made(backbone=chosen, output_stride=own)
    assert net.encoder.layer4[1].conv2.dilation == dilation


@pytest.mark.parametrize("made", [deeplab_v1, deeplab_v2])
@pytest.mark.parametrize("affine", [False, True])
def test_batch_norms_have_the_given_momentum_and_learn_only_if_asked(made, affine):
    net = made(norm_momentum=0.02, norm_affine=affine)
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.02}
    assert {p.requires_grad for norm in norms for p in norm.parameters()} == {affine}
    others = {n for n, p in net.named_parameters() if p.requires_grad and ".bn" not in n}
    assert others


@pytest.mark.parametrize("made", [deeplab_v1, deeplab_v2])
@pytest.mark.parametrize("freeze", [False, True])
def test_frozen_statistics_of_the_backbone_are_kept(made, freeze):
    net = made(backbone=backbone(freeze_norm=freeze))
    norm = next(part for part in net.encoder.modules() if isinstance(part, nn.BatchNorm2d))
    before = norm.running_mean.clone()
    net.train()(torch.rand(2, 3, 64, 64))
    assert torch.equal(norm.running_mean, before) == freeze


@pytest.mark.parametrize("made", [deeplab_v1, deeplab_v2])
def test_a_file_of_its_state_dict_restores_it(made, tmp_path):
    trained, path = random_norms(made()).eval(), tmp_path / "own.pth"
    torch.save(trained.state_dict(), path)
    image = torch.rand(1, 3, 40, 48)
    with torch.no_grad():
        assert torch.equal(made(weights=path).eval()(image), trained(image))
    with raises_naming(InputError, "weights", path):
        made(weights=path, num_classes=3)


@pytest.mark.parametrize(
    ("made", "change", "facts"),
    [
        (deeplab_v1, {"dilation": 0}, ["dilation", 0]),
        (deeplab_v1, {"channels": -1}, ["channels", -1]),
        (deeplab_v1, {"dropout": 1.0}, ["dropout", "1.0", "[0, 1)"]),
        (deeplab_v1, {"output_stride": 5}, ["output_stride", 5, 8]),
        (deeplab_v1, {"norm_momentum": 0.0}, ["norm_momentum", "0.0", "(0, 1]"]),
        (deeplab_v2, {"rates": []}, ["rates", "[]"]),
        (deeplab_v2, {"rates": [6, 0]}, ["rates", "[6, 0]"]),
        (deeplab_v2, {"scales": [1.0]}, ["scales", "[1.0]", "(0, 1)"]),
        (deeplab_v2, {"output_stride": 4}, ["output_stride", 4, 8]),
    ],
)
def test_a_value_out_of_range_is_named_with_the_range(made, change, facts):
    with raises_naming(ValueError, *facts):
        made(**change)


# DeepLab-v1


def naive_head(net, deepest):
    """The formula of the head, computed from its parameters."""
    first, norm1, _, second, norm2, _, _, last = net.head

    def norm(x, part):
        shape = (1, -1, 1, 1)
        x = (x - part.running_mean.view(shape)) / (part.running_var.view(shape) + part.eps).sqrt()
        return (x * part.weight.view(shape) + part.bias.view(shape)).clamp(min=0)

    height, width = deepest.shape[-2:]
    wide = F.pad(deepest, (12,) * 4)
    hidden = 0.0
    for i in range(3):
        for j in range(3):
            window = wide[..., 12 * i : 12 * i + height, 12 * j : 12 * j + width]
            hidden = hidden + torch.einsum("bdhw,nd->bnhw", window, first.weight[:, :, i, j])
    hidden = norm(hidden, norm1)
    hidden = norm(torch.einsum("bdhw,nd->bnhw", hidden, second.weight[:, :, 0, 0]), norm2)
    logits = torch.einsum("bdhw,nd->bnhw", hidden, last.weight[:, :, 0, 0])
    return logits + last.bias.view(1, -1, 1, 1)


def test_deeplab_v1_is_its_formula_resized_with_aligned_corners():
    net = random_norms(deeplab_v1()).eval()
    image = torch.rand(2, 3, 89, 121)
    with torch.no_grad():
        logits = naive_head(net, net.encoder(net.normalise(image))[-1])
        expected = F.interpolate(logits, (89, 121), mode="bilinear", align_corners=True)
        torch.testing.assert_close(net(image), expected, atol=1e-4, rtol=1e-4)


def test_the_head_of_deeplab_v1_has_the_initialisation_of_he():
    head = deeplab_v1(channels=64).head
    for layer, fan_out in ((head[0], 64 * 9), (head[3], 64)):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)
    assert head[6].p == 0.5


# DeepLab-v2


def test_deeplab_v2_on_resnet101_equals_the_official_network(tmp_path):
    path = tmp_path / "deeplabv2_resnet101_msc.pth"
    torch.save(recipe(deeplab_v2_layout()), path)
    chosen = backbone("resnet101_caffe", 8, mean=(0, 0, 0), std=(1, 1, 1))
    net = deeplab_v2(backbone=chosen, weights=path, num_classes=20).eval()
    path.unlink()
    random = np.random.RandomState(1000).standard_normal((1, 3, 97, 129)).astype(np.float32)
    with torch.no_grad():  # the official network is given BGR
        single, *_, maximum = net.training_logits(torch.from_numpy(random).flip(1))
    for logits, expected in (
        (maximum, (21.5767, 37.4968, 28.701, -16.1339)),
        (single, (6.90815, 53.463, 28.701, -41.5449)),
    ):
        assert logits.shape == (1, 21, 13, 17)
        ends = logits.flatten()[[0, -1]].tolist()
        statistics = (logits.mean().item(), logits.std().item(), *ends)
        assert statistics == pytest.approx(expected, rel=1e-4)


def test_logits_are_the_maximum_over_copies_of_an_image():
    net = random_norms(deeplab_v2()).eval()
    image = torch.rand(2, 3, 97, 65)
    with torch.no_grad():
        expected = []
        for scale in (1.0, 0.5, 0.75):
            copy = net.normalise(image)
            if scale < 1:
                copy = F.interpolate(copy, scale_factor=scale, mode="bilinear", align_corners=False)
            deepest = net.encoder(copy)[-1]
            expected.append(sum(branch(deepest) for branch in net.aspp.values()))
        outputs = net.training_logits(image)
        for given, wanted in zip(outputs, expected, strict=False):
            torch.testing.assert_close(given, wanted)
        resized = [
            F.interpolate(x, expected[0].shape[-2:], mode="bilinear", align_corners=False)
            for x in expected
        ]
        maximum = torch.stack(resized).amax(0)
        torch.testing.assert_close(outputs[3], maximum)
        assert len(outputs) == 4
        whole = F.interpolate(maximum, (97, 65), mode="bilinear", align_corners=False)
        torch.testing.assert_close(net(image), whole)


def test_logits_of_copies_have_the_size_of_their_maps():
    sizes = [tuple(x.shape[-2:]) for x in deeplab_v2().training_logits(torch.rand(2, 3, 96, 64))]
    assert sizes == [(12, 8), (6, 4), (9, 6), (12, 8)]


def test_without_copies_the_logits_are_those_of_the_image():
    net = deeplab_v2(scales=[]).eval()
    (only,) = net.training_logits(torch.rand(1, 3, 64, 64))
    assert only.shape == (1, 3, 8, 8)


def test_branches_start_with_small_weights_and_zero_bias():
    for branch in deeplab_v2().aspp.values():
        assert branch.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert not branch.bias.any()
