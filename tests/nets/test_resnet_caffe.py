import pytest
import torch
from official import deeplab_v2_layout
from safetensors.torch import save_file
from torch import nn

from wsss_lightning.errors import InputError
from wsss_lightning.nets.backbones import Backbone, load_weights
from wsss_lightning.nets.resnet_caffe import CaffeResNet


def small(stride=32):
    encoder = CaffeResNet([1, 1, 1, 1], output_stride=stride).eval()
    if stride < 32:
        encoder.make_dilated(stride)
    return encoder


def backbone(**how):
    usual = {
        "output_stride": 8,
        "pretrained": False,
        "weights": None,
        "freeze_norm": None,
        "frozen": [],
        "options": {},
    }
    return Backbone("resnet101_caffe", **{**usual, **how})


def test_its_layers_are_those_of_the_official_checkpoints():
    with torch.device("meta"):
        state = backbone().build().state_dict()
    assert {k: tuple(v.shape) for k, v in state.items() if "batches" not in k} == {
        k.removeprefix("base."): s for k, s in deeplab_v2_layout().items() if "aspp" not in k
    }


# 96 -> 48 by the convolution, 48 -> 25 by the pooling, which rounds up; then 13, 7, 4
@pytest.mark.parametrize(
    ("stride", "sides"),
    [(32, (96, 48, 25, 13, 7, 4)), (16, (96, 48, 25, 13, 7, 7)), (8, (96, 48, 25, 13, 13, 13))],
)
def test_sizes_are_rounded_up_and_the_last_strides_become_dilations(stride, sides):
    encoder = small(stride)
    with torch.no_grad():
        maps = encoder(torch.rand(1, 3, 96, 40))
    assert tuple(m.shape[-2] for m in maps) == sides
    assert [m.shape[1] for m in maps] == encoder.out_channels == [3, 64, 256, 512, 1024, 2048]
    last = encoder.layer5.block1
    assert last.conv3x3.conv.dilation == (32 // stride, 32 // stride)
    assert last.conv3x3.conv.padding == (32 // stride, 32 // stride)


def test_the_stride_is_in_the_first_convolution_of_a_block():
    block = small().layer3.block1
    assert block.reduce.conv.stride == block.shortcut.conv.stride == (2, 2)
    assert block.conv3x3.conv.stride == (1, 1)


def test_weights_are_of_blue_green_and_red_in_that_order():
    encoder = small()
    with torch.no_grad():
        encoder.layer1.conv1.conv.weight[:, 1:] = 0
        grey = torch.full((1, 3, 32, 32), 0.5)
        other = grey.clone()
        other[:, :2] = torch.rand(1, 2, 32, 32)
        assert torch.equal(encoder(grey)[1], encoder(other)[1])
        other[:, 2] = torch.rand(1, 32, 32)
        assert not torch.equal(encoder(grey)[1], encoder(other)[1])


def test_images_are_levels_from_0_to_255_of_which_the_mean_is_subtracted():
    statistics = backbone().statistics
    assert statistics.mean == pytest.approx([m / 255 for m in (122.675, 116.669, 104.008)])
    assert statistics.std == pytest.approx([1 / 255] * 3)


def test_a_block_is_the_sum_of_its_branch_and_its_shortcut():
    block, x = small().layer2.block1, torch.rand(2, 64, 9, 10)
    with torch.no_grad():
        branch = x
        for name in ("reduce", "conv3x3", "increase"):
            part = getattr(block, name)
            branch = part.bn(part.conv(branch))
            branch = branch.clamp(min=0) if name != "increase" else branch
        expected = (branch + block.shortcut.bn(block.shortcut.conv(x))).clamp(min=0)
        torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("prefix", ["base.", "module.base.", ""])
def test_weights_of_a_whole_deeplab_v2_give_those_of_its_backbone(tmp_path, prefix):
    trained, path = small(), tmp_path / "deeplabv2.pth"
    state = {f"{prefix}{key}": value for key, value in trained.state_dict().items()}
    torch.save(state | {f"{prefix}aspp.c0.bias": torch.zeros(21)}, path)
    encoder = small()
    load_weights(encoder, path, "resnet101_caffe", {})
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(encoder(image)[-1], trained(image)[-1])


def test_weights_of_torchvisions_resnet_are_refused(tmp_path):
    path = tmp_path / "resnet101.safetensors"
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7), "bn1.weight": torch.zeros(64)}, path)
    with (
        torch.device("meta"),
        pytest.raises(InputError, match=r"weights must be those of resnet101_caffe.*unexpected"),
    ):
        backbone(weights=path).build()


def test_weights_of_deeplab_pytorch_are_refused_by_torchvisions_resnet(tmp_path):
    path = tmp_path / "deeplab.safetensors"
    save_file({"layer1.conv1.conv.weight": torch.zeros(64, 3, 7, 7)}, path)
    with (
        torch.device("meta"),
        pytest.raises(InputError, match=r"weights must be those of resnet101,"),
    ):
        Backbone("resnet101", 8, False, path, None, [], {}).build()


def test_no_hub_has_its_weights():
    with pytest.raises(ValueError, match=r"pretrained must .*resnet101_caffe"):
        backbone(pretrained=True).build()


def test_parts_can_be_frozen_by_their_official_names():
    with torch.device("meta"):
        encoder = backbone(frozen=["layer1", "layer2"]).build()
    learnt = {name.split(".")[0] for name, p in encoder.named_parameters() if p.requires_grad}
    assert learnt == {"layer3", "layer4", "layer5"}
    assert isinstance(encoder.layer1.pool, nn.MaxPool2d)
