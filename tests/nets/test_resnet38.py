import pytest
import torch
from official import layout
from torch import nn

from wsss_lightning.methods.segmentation.network import SegmentationNet
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.resnet38 import ResNet38


def backbone(stride=8, weights=None, frozen=(), pretrained=False):
    return Backbone("resnet38", stride, pretrained, weights, True, frozen, {})


@pytest.fixture(scope="module")
def encoder():
    return ResNet38().eval()


def test_its_layers_are_those_of_the_official_checkpoints(encoder):
    state = {k: tuple(v.shape) for k, v in encoder.state_dict().items() if "batches" not in k}
    assert state == layout("ImageNet")


@pytest.mark.parametrize(("size", "cells"), [((134, 134), (17, 17)), ((37, 50), (5, 7))])
def test_maps_stay_at_stride_8_and_sizes_are_rounded_up(encoder, size, cells):
    with torch.no_grad():
        maps = encoder(torch.rand(1, 3, *size))
    assert [m.shape[1] for m in maps] == encoder.out_channels == [3, 128, 256, 512, 1024, 4096]
    assert [m.shape[-2:] == cells for m in maps] == [False, False, False, True, True, True]
    assert all((m >= 0).all() for m in maps)


def test_batch_norms_do_not_learn_and_the_first_blocks_can_be_frozen():
    net = backbone(frozen=["conv1a", "b2", "b2_1", "b2_2"]).build()
    learnt = {name for name, p in net.named_parameters() if p.requires_grad}
    assert len(learnt) == 35
    assert not [name for name in learnt if ".bn" in name or name.startswith(("conv1a", "b2", "bn"))]


def test_dropout_acts_in_its_last_blocks_in_training_only(encoder):
    rates = {name: p.p for name, p in encoder.named_modules() if isinstance(p, nn.Dropout2d)}
    assert rates == {f"b{i}.dropout_2b{j}": p for i, p in ((6, 0.3), (7, 0.5)) for j in (1, 2)}


@pytest.mark.parametrize("stride", [16, 32])
def test_another_output_stride_is_refused(stride):
    with pytest.raises(ValueError, match=r"name must .*resnet38.*output_stride=8"):
        backbone(stride).build()


def test_no_hub_has_its_weights():
    with pytest.raises(ValueError, match=r"pretrained must .*resnet38.*set weights"):
        backbone(pretrained=True)


def test_deeplab_goes_on_it():
    net = SegmentationNet(backbone(), "deeplabv3plus", {"decoder_channels": 16}, 2).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 3, 40, 50)).shape == (1, 3, 40, 50)


def test_decoders_that_need_coarser_maps_are_refused():
    with pytest.raises(ValueError, match=r"unet.*resnet38.*DeepLab-v3"):
        SegmentationNet(backbone(), "unet", {}, 2)
