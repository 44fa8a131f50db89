import pytest
import torch
from facts import raises_naming

from wsss_lightning.methods.segmentation.network import ARCHITECTURES, SegmentationNet
from wsss_lightning.nets.backbones import Backbone

LIGHT = {
    "unet": {"decoder_channels": [8, 8, 8, 8, 8]},
    "fpn": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
    "deeplabv3plus": {"decoder_channels": 16},
}


def segmentation_net(architecture, stride=16, options=None):
    chosen = Backbone("test_resnet", stride, False, None, None, [], {})
    options = LIGHT.get(architecture, {}) if options is None else options
    return SegmentationNet(chosen, architecture, options, num_classes=2).eval()


@pytest.mark.parametrize("architecture", ["unet", "deeplabv3plus", "fpn"])
@pytest.mark.parametrize("size", [(64, 64), (33, 50), (1, 70)])
def test_images_of_any_size_get_logits_of_their_size(architecture, size):
    with torch.no_grad():
        logits = segmentation_net(architecture)(torch.rand(2, 3, *size))
    assert logits.shape == (2, 3, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_can_be_built(architecture):
    with torch.no_grad():
        assert segmentation_net(architecture)(torch.rand(1, 3, 64, 64)).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_deeplab_takes_the_backbones_stride_as_far_as_it_can(stride):
    net = segmentation_net("deeplabv3plus", stride)
    with torch.no_grad():
        deepest = net.encoder(torch.rand(1, 3, 64, 64))[-1]
    assert deepest.shape[-1] == 64 // min(stride, 16)


def test_its_output_stride_overrides_that_of_the_backbone():
    chosen = Backbone("test_resnet", 8, False, None, None, [], {})
    light = LIGHT["deeplabv3plus"]
    net = SegmentationNet(chosen, "deeplabv3plus", light, num_classes=2, output_stride=16).eval()
    with torch.no_grad():
        assert net.encoder(torch.rand(1, 3, 64, 64))[-1].shape[-1] == 4
    with raises_naming(ValueError, "output_stride", 5, 8, 16):
        SegmentationNet(chosen, "deeplabv3plus", light, num_classes=2, output_stride=5)


def test_images_of_whole_cells_are_not_padded():
    net, image = segmentation_net("unet"), torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(image), net.net(net.normalise(image)))


def test_padding_is_the_mean_colour():
    net, image = segmentation_net("unet"), torch.rand(1, 3, 30, 40)
    mean = net.normalise.mean.expand(1, 3, 32, 64).clone()
    mean[..., :30, :40] = image
    with torch.no_grad():
        torch.testing.assert_close(net(image), net(mean)[..., :30, :40])


def test_an_unknown_architecture_is_answered_with_the_nearest():
    with raises_naming(ValueError, "architecture", "deeplabv3plsu", "deeplabv3plus"):
        segmentation_net("deeplabv3plsu")


def test_an_option_that_the_architecture_lacks_is_named():
    with raises_naming(
        ValueError, "options", "decoder_pyramid_chanels", "decoder_pyramid_channels"
    ):
        segmentation_net("fpn", options={"decoder_pyramid_chanels": 8})


def test_values_of_options_that_do_not_fit_are_named():
    with raises_naming(ValueError, "deeplabv3plus", "decoder_atrous_rates", "[2, 4]"):
        segmentation_net("deeplabv3plus", options={"decoder_atrous_rates": [2, 4]})
