import pytest
import torch
from facts import raises_naming
from torch import nn

from wsss_lightning.errors import InputError
from wsss_lightning.methods.cam.network import CamNet, class_head
from wsss_lightning.nets.backbones import Backbone


def cam_net(stride=16, dropout=0.0, num_classes=3, weights=None):
    chosen = Backbone("test_resnet", stride, False, None, None, [], {})
    return CamNet(chosen, dropout, "default", weights, num_classes)


def test_the_head_has_no_bias():
    net = cam_net()
    assert net.head.bias is None
    assert net.head.weight.shape == (3, net.encoder.out_channels[-1], 1, 1)


def test_a_file_of_weights_restores_the_whole_network(tmp_path):
    torch.save(cam_net().state_dict(), tmp_path / "own.pth")
    net = cam_net(weights=tmp_path / "own.pth")
    stored = torch.load(tmp_path / "own.pth", weights_only=True)
    assert all(torch.equal(value, stored[key]) for key, value in net.state_dict().items())
    with raises_naming(InputError, "own.pth", "weights", "head"):
        cam_net(num_classes=4, weights=tmp_path / "own.pth")


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (33, 47)])
def test_logits_are_the_means_of_the_cams(size):
    net = cam_net().eval()
    image = torch.rand(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(net(image), net.cam(image).mean((-2, -1)))


def test_the_head_commutes_with_pooling():
    net = cam_net().eval()
    image = torch.rand(2, 3, 65, 97)
    linear = nn.Linear(net.head.in_channels, 3, bias=False)
    linear.weight.data = net.head.weight.data[..., 0, 0]
    with torch.no_grad():
        pooled = nn.functional.adaptive_avg_pool2d(net.features(image), 1).flatten(1)
        torch.testing.assert_close(net(image), linear(pooled))


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_an_image_of_stride_times_n_plus_one_gives_n_plus_one_cells(stride):
    cam = cam_net(stride).eval().cam(torch.rand(1, 3, 2 * stride + 1, 3 * stride + 1))
    assert cam.shape == (1, 3, 3, 4)


def test_dropout_is_active_only_in_training():
    net, image = cam_net(dropout=0.5), torch.rand(2, 3, 64, 64)
    net.eval()
    assert torch.equal(net(image), net(image))
    net.dropout.train()
    assert not torch.equal(net(image), net(image))


def test_weights_of_the_head_have_the_range_of_their_initialisation():  # closed form
    torch.manual_seed(0)
    for init, bound in (("default", 4096**-0.5), ("xavier", (6 / (4096 + 20)) ** 0.5)):
        largest = float(class_head(4096, 20, init).weight.abs().max())
        assert largest == pytest.approx(bound, rel=1e-3)
    with raises_naming(ValueError, "head_init", "he", "default", "xavier"):
        class_head(64, 2, "he")
