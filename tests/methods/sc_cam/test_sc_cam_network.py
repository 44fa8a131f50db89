import numpy as np
import pytest
import torch
from facts import raises_naming
from official import layout, recipe

from wsss_lightning.errors import InputError
from wsss_lightning.methods.sc_cam.network import SubCamNet
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.normalisation import IMAGENET


def sub_cam_net(sub_categories=4, dropout=0.0, weights=None):
    chosen = Backbone("test_resnet", 16, False, None, None, [], {})
    return SubCamNet(chosen, dropout, "xavier", sub_categories, weights, num_classes=3)


# mean, standard deviation, first and last element, section 18.1
ROWS = {
    "parent map": ((1, 20, 10, 13), (1.32932, 1.80684, 0.454951, 0.0)),
    "sub map": ((1, 200, 10, 13), (1.06927, 1.49519, 0.0, 0.0)),
    "parent logits": ((1, 20), (0.579021, 2.36786, -0.402053, 0.798238)),
    "pooled feature": ((1, 4096), (1.39928, 1.87248, 6.49444, 1.93754)),
    "sub logits": ((1, 200), (0.173334, 2.18184, -1.06789, -4.15231)),
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Outputs of this network with the reference's weights, loaded from an official layout."""
    path = tmp_path_factory.mktemp("sc_cam") / "sc_cam.pth"
    torch.save(recipe(layout("SC-CAM")), path)
    chosen = Backbone("resnet38", 8, False, None, True, [], {})
    net = SubCamNet(chosen, 0.5, "xavier", 10, path, num_classes=20).eval()
    path.unlink()
    normal = np.random.RandomState(1000).standard_normal((1, 3, 75, 100)).astype(np.float32)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in IMAGENET)
    image = torch.from_numpy(normal) * std + mean
    with torch.no_grad():
        logits, sub_logits = net(image)
        return {
            "parent map": net.cam(image).relu(),
            "sub map": net.sub_cam(image).relu(),
            "parent logits": logits,
            "pooled feature": net.features(image).mean((-2, -1)),
            "sub logits": sub_logits,
        }


@pytest.mark.parametrize("name", ROWS)
def test_outputs_are_those_of_the_official_network(outputs, name):
    shape, expected = ROWS[name]
    output = outputs[name]
    assert output.shape == shape
    first, last = output.flatten()[[0, -1]]
    statistics = [float(v) for v in (output.mean(), output.std(), first, last)]
    assert statistics == pytest.approx(expected, rel=2e-5, abs=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (65, 97)])
def test_logits_are_the_means_of_the_cams(size):
    net, image = sub_cam_net().eval(), torch.rand(2, 3, *size)
    with torch.no_grad():
        logits, sub_logits = net(image)
        torch.testing.assert_close(logits, net.cam(image).mean((-2, -1)))
        torch.testing.assert_close(sub_logits, net.sub_cam(image).mean((-2, -1)))
    assert sub_logits.shape == (2, 12)


def test_a_file_for_another_number_of_sub_categories_is_refused(tmp_path):
    torch.save(sub_cam_net(4).state_dict(), tmp_path / "four.pth")
    sub_cam_net(4, weights=tmp_path / "four.pth")
    with raises_naming(InputError, "sub_head.weight", "(12,", "(15,"):
        sub_cam_net(5, weights=tmp_path / "four.pth")


def test_a_class_needs_a_sub_category():
    with raises_naming(ValueError, "sub_categories", 0, 1):
        sub_cam_net(0)


def test_dropout_is_active_only_in_training():
    net, image = sub_cam_net(dropout=0.5), torch.rand(2, 3, 64, 64)
    net.eval()
    assert torch.equal(net(image)[1], net(image)[1])
    net.dropout.train()
    assert not torch.equal(net(image)[1], net(image)[1])
