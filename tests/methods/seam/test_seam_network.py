import numpy as np
import pytest
import torch
from facts import raises_naming
from official import layout

from wsss_lightning.errors import InputError
from wsss_lightning.methods.cam.network import CamNet
from wsss_lightning.methods.seam.network import SeamNet
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.normalisation import IMAGENET
from wsss_lightning.ops.resize import resize_to


def seam_net(
    name="test_resnet",
    stride=8,
    feature_layers=(-3, -2),
    feature_channels=(4, 6),
    weights=None,
    mib=256.0,
):
    chosen = Backbone(name, stride, False, None, None, [], {})
    return SeamNet(chosen, 0.5, feature_layers, feature_channels, 8, mib, weights, num_classes=3)


@pytest.fixture(scope="module")
def official(seam_file):
    """The network with the reference's weights."""
    chosen = Backbone("resnet38", 8, False, None, True, [], {})
    return SeamNet(chosen, 0.5, [-3, -2], [64, 128], 192, 256, seam_file, num_classes=20).eval()


@pytest.fixture(scope="module")
def image():
    """The reference's input, x = Nrm(1000), before normalisation."""
    normal = np.random.RandomState(1000).standard_normal((1, 3, 75, 100)).astype(np.float32)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in IMAGENET)
    return torch.from_numpy(normal) * std + mean


# mean, standard deviation, first and last element, section 18.1
ROWS = {
    "conv4": ((1, 512, 10, 13), (1.44323, 2.40068, 0.446226, 1.34219)),
    "conv5": ((1, 1024, 10, 13), (1.77720, 2.82679, 4.92980, 0.0)),
    "conv6": ((1, 4096, 10, 13), (1.39928, 2.23472, 4.11668, 2.16547)),
    "cam": ((1, 21, 75, 100), (0.901626, 3.06912, 1.36736, 0.561211)),
    "refined": ((1, 21, 75, 100), (0.047619, 0.0632327, 0.196848, 0.0410899)),
}


@pytest.fixture(scope="module")
def outputs(official, image):
    with torch.no_grad():
        maps = dict(
            zip(
                ("conv4", "conv5", "conv6"),
                official.encoder(official.normalise(image))[-3:],
                strict=True,
            )
        )
        cam, refined = official(image)
    return maps | {"cam": resize_to(cam, (75, 100)), "refined": resize_to(refined, (75, 100))}


@pytest.mark.parametrize("name", ROWS)
def test_maps_are_those_of_the_official_network(outputs, name):
    shape, expected = ROWS[name]
    maps = outputs[name]
    assert maps.shape == shape
    statistics = [
        float(v) for v in (maps.mean(), maps.std(), maps[0, 0, 0, 0], maps[0, -1, -1, -1])
    ]
    assert statistics == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_labels_of_refined_maps_sum_to_one(outputs):
    total = outputs["refined"].sum(1)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-4, rtol=0)


def test_the_number_of_parameters_is_that_of_the_official_network(official):
    assert sum(p.numel() for p in official.parameters()) == pytest.approx(105.36e6, abs=1e4)


def test_an_official_file_of_another_number_of_classes_is_refused(seam_file):
    chosen = Backbone("resnet38", 8, False, None, True, [], {})
    with raises_naming(InputError, "weights", "head.weight", "(21, 4096"):
        SeamNet(chosen, 0.5, [-3, -2], [64, 128], 192, 256, seam_file, num_classes=2)


def test_the_encoder_loads_an_official_file_without_its_heads(seam_file):
    chosen = Backbone("resnet38", 8, False, seam_file, True, [], {})
    net = CamNet(chosen, 0.0, "default", None, num_classes=2)
    stored = torch.load(seam_file, weights_only=True, mmap=True)
    for key in layout("ImageNet"):
        assert torch.equal(net.encoder.state_dict()[key], stored[key])


def test_its_state_dict_is_loaded_strictly(tmp_path):
    saved = seam_net()
    torch.save(saved.state_dict(), tmp_path / "own.pth")
    loaded = seam_net(weights=tmp_path / "own.pth")
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in saved.state_dict().items())
    torch.save({"odd": torch.zeros(1)}, tmp_path / "odd.pth")
    with raises_naming(InputError, "weights", 1, "odd"):
        seam_net(weights=tmp_path / "odd.pth")


@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_it_accepts_any_backbone(name, stride):
    net = seam_net(name, stride).eval()
    with torch.no_grad():
        cam, refined = net(torch.rand(2, 3, 65, 97))
    assert cam.shape == refined.shape
    assert cam.shape[:2] == (2, 4)
    torch.testing.assert_close(refined.sum(1), torch.ones_like(refined[:, 0]), atol=1e-3, rtol=0)


def test_feature_layers_are_chosen_by_name():
    usual, chosen = seam_net("resnet18"), seam_net("resnet18", feature_layers=["layer2", "layer3"])
    chosen.load_state_dict(usual.state_dict())
    early = seam_net("resnet18", feature_layers=["layer1", "layer2"])
    assert [layer.in_channels for layer in early.squeeze] == [64, 128]
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for ours, theirs in zip(usual.eval()(image), chosen.eval()(image), strict=True):
            assert torch.equal(ours, theirs)
    assert not chosen._taps.kept  # maps are released after each step


def test_a_misspelt_feature_layer_is_answered_with_the_nearest():
    with raises_naming(ValueError, "feature_layers", "layr2", "layer2"):
        seam_net("resnet18", feature_layers=["layr2", "layer3"])


@pytest.mark.parametrize("index", [6, -7])
def test_an_index_without_a_map_is_refused(index):
    with raises_naming(ValueError, "feature_layers", index, 6):
        seam_net(feature_layers=[1, index])


def test_each_feature_layer_needs_its_number_of_channels():
    with raises_naming(ValueError, "feature_channels", "[4]", 2):
        seam_net(feature_channels=[4])


def test_a_layer_without_a_map_is_refused():
    with raises_naming(ValueError, "feature_layers", "model", "list"):
        seam_net(feature_layers=["model", "model.layer1"])


def gradients_of(net, output):
    """Names of the parameters with a gradient from one of the two outputs."""
    net.zero_grad()
    net(torch.rand(2, 3, 64, 64))[output].square().sum().backward()
    return {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}


def test_refined_maps_train_only_the_correlation_and_cams_all_other_layers():  # gradient support
    net = seam_net()
    correlation = {"squeeze.0.weight", "squeeze.1.weight", "embed.weight"}
    assert gradients_of(net, 1) == correlation
    of_cam = gradients_of(net, 0)
    assert not of_cam & correlation
    assert "head.weight" in of_cam
    assert {name.split(".")[0] for name in of_cam} == {"encoder", "head"}


def test_blocks_of_the_affinity_change_nothing():
    whole, blocks = seam_net(), seam_net(mib=0.001)
    blocks.load_state_dict(whole.state_dict())
    image = torch.rand(2, 3, 65, 97)
    with torch.no_grad():
        torch.testing.assert_close(blocks.eval()(image), whole.eval()(image))
