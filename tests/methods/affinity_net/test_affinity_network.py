import numpy as np
import pytest
import torch
from facts import raises_naming
from official import layout, recipe

from wsss_lightning.errors import InputError
from wsss_lightning.methods.affinity_net.network import AffinityNet
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.ops.affinity import feature_affinity, half_disc
from wsss_lightning.ops.random_walk import transition


def affinity_net(
    name="test_resnet", stride=8, feature_layers=(-3, -2, -1), channels=(4, 6, 8), weights=None
):
    return AffinityNet(
        Backbone(name, stride, False, None, None, [], {}), feature_layers, channels, weights
    )


def test_affinities_are_those_of_the_official_network(tmp_path):  # network row of 18.1
    torch.save(recipe(layout("AffinityNet")), tmp_path / "aff.pth")
    chosen = Backbone("resnet38", 8, False, None, True, [], {})
    net = AffinityNet(chosen, [-3, -2, -1], [64, 128, 256], tmp_path / "aff.pth").eval()
    (tmp_path / "aff.pth").unlink()
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(106.48e6, abs=1e4)
    normal = np.random.RandomState(1000).standard_normal((1, 3, 75, 100)).astype(np.float32)
    with torch.no_grad():
        features = net.features(torch.from_numpy(normal))
    # the row comes from SEAM's copy of the code, whose radius is 4 on a map of 10 cells; PSA's is
    # always 5, for which its code gives 0.0679 and 0.1827
    for radius, expected in ((4, [0.0728535, 0.189624, 1, 1]), (5, [0.0678669, 0.182703, 1, 1])):
        result = statistics(feature_affinity(features, radius, "window"), radius)
        assert result == pytest.approx(expected, rel=1e-5)


def statistics(affinity, radius):
    """Mean, standard deviation, first and last of the whole matrix."""
    assert affinity.shape[-2:] == (10, 13)
    # a row of P is the affinity divided by its sum, and the diagonal of the affinity is one
    flow = transition(affinity, half_disc(radius), 1.0).to_dense()
    dense = flow / flow.diagonal()[:, None]
    return [float(v) for v in (dense.mean(), dense.std(), dense[0, 0], dense[-1, -1])]


@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_it_accepts_any_backbone(name, stride):
    net = affinity_net(name, stride).eval()
    assert net.stride == 8
    with torch.no_grad():
        assert net(torch.rand(2, 3, 65, 97)).shape == (2, 18, 9, 13)


def test_feature_layers_are_chosen_by_name_and_the_first_gives_the_stride():
    net = affinity_net("resnet18", feature_layers=["layer1", "layer4"], channels=[3, 5])
    assert net.stride == 4
    assert net(torch.rand(2, 3, 64, 64)).shape == (2, 8, 16, 16)


def test_all_parameters_learn():  # unlike SEAM's pixel correlation module
    net = affinity_net()
    net(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_its_state_dict_is_loaded_strictly(tmp_path):
    saved = affinity_net()
    torch.save(saved.state_dict(), tmp_path / "own.pth")
    loaded = affinity_net(weights=tmp_path / "own.pth")
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in saved.state_dict().items())
    with raises_naming(InputError, "weights", "embed.weight"):
        affinity_net(channels=(4, 6, 9), weights=tmp_path / "own.pth")


def test_each_feature_layer_needs_its_number_of_channels():
    with raises_naming(ValueError, "feature_channels", "[4]"):
        affinity_net(channels=[4])
