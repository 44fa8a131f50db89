import numpy as np
import pytest
import torch
from facts import raises_naming
from official import recipe
from torchvision.models import resnet50

from wsss_lightning.methods.irn.network import BoundaryNet
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.weights import read_official

STAGES = (64, 256, 512, 1024, 2048)
FEATURE_LAYERS = ["maxpool", "layer1", "layer2", "layer3", "layer4"]


def boundary_net(
    name="test_resnet", stride=8, feature_layers=(2, 3, 4, 5), dilated=True, **changes
):
    defaults = {
        "feature_channels": [8] * len(feature_layers),
        "groups": 2,
        "stride": 4,
        "least_size": 64,
        "frozen": False,
        "weights": None,
    }
    chosen = Backbone(name, stride, False, None, None, [], {}, dilated=dilated)
    return BoundaryNet(chosen, feature_layers, **{**defaults, **changes})


def irn_layout():
    """Keys and shapes of the weights of IRN's network in the reference."""
    with torch.device("meta"):
        backbone = resnet50()
    shapes = {
        f"resnet50.{key}": tuple(value.shape)
        for key, value in backbone.state_dict().items()
        if "num_batches" not in key and not key.startswith("fc.")
    }
    for i, channels in enumerate(STAGES, 1):
        shapes[f"fc_edge{i}.0.weight"] = (32, channels, 1, 1)
        shapes |= {f"fc_edge{i}.1.{kind}": (32,) for kind in ("weight", "bias")}
    shapes |= {"fc_edge6.weight": (1, 160, 1, 1), "fc_edge6.bias": (1,)}
    branches = [(64, 64), (128, 256), (256, 512), (256, 1024), (256, 2048), (256, 768), (256, 448)]
    for i, shape in enumerate(branches, 1):
        shapes[f"fc_dp{i}.0.weight"] = (*shape, 1, 1)
        shapes |= {f"fc_dp{i}.1.{kind}": (shape[0],) for kind in ("weight", "bias")}
    shapes["fc_dp7.3.weight"] = (2, 256, 1, 1)
    return shapes | {"fc_dp7.4.running_mean": (2,), "mean_shift.running_mean": (2,)}


def official(**changes):
    settings = {
        "feature_channels": [32] * 5,
        "groups": 4,
        "least_size": 512,
        "dilated": False,
        "frozen": True,
    }
    return boundary_net("resnet50", 16, FEATURE_LAYERS, **{**settings, **changes})


def test_boundaries_are_those_of_the_official_network(tmp_path):  # network row of 18.1
    shapes = irn_layout()
    assert len(shapes) == 306
    torch.save(recipe(shapes), tmp_path / "irn.pth")
    # in single precision, torch's group norm of channels-last maps has an error of about 1e-5
    net = official(weights=tmp_path / "irn.pth").eval().double()
    normal = np.random.RandomState(1000).standard_normal((1, 3, 75, 100)).astype(np.float32)
    image = torch.from_numpy(normal).double() * net.normalise.std + net.normalise.mean
    with torch.no_grad():
        logit = net(torch.cat([image, image.flip(-1)]))
    boundary = (logit[0] / 2 + logit[1].flip(-1) / 2).sigmoid()
    assert boundary.shape == (19, 25)
    result = [float(v) for v in (boundary.mean(), boundary.std(), boundary[0, 0], boundary[-1, -1])]
    assert result == pytest.approx([0.220930, 0.0845097, 0.272194, 0.123013], rel=1e-5)


def test_an_official_file_is_recognised_and_its_displacement_field_is_left_out(tmp_path):
    state = {key: torch.zeros(1).expand(shape) for key, shape in irn_layout().items()}
    state["stage1.0.weight"] = state["resnet50.conv1.weight"]  # one of its aliases
    official_file = read_official(state, tmp_path / "irn.pth")
    assert official_file.network == "IRN"
    assert set(official_file.left_out) == {
        k for k in state if k.startswith(("fc_dp", "mean_shift"))
    }
    keys = official().state_dict()
    assert {k for k in keys if "num_batches" not in k} == set(official_file.state)


@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_it_accepts_any_backbone(name, stride):
    net = boundary_net(name, stride).eval()
    with torch.no_grad():
        assert net(torch.rand(2, 3, 65, 98)).shape == (2, 17, 25)


def test_a_frozen_encoder_stays_as_it_is():
    net = boundary_net(frozen=True)
    assert not any(part.training for part in net.encoder.modules())
    before = {k: v.clone() for k, v in net.encoder.state_dict().items()}
    net(torch.rand(2, 3, 64, 64)).sum().backward()
    after = net.encoder.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    trained = {name for name, p in net.named_parameters() if p.grad is not None}
    assert {name.split(".")[0] for name in trained} == {"squeeze", "norm", "head"}


def test_without_freezing_the_encoder_learns_too():
    net = boundary_net()
    net(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"feature_layers": (1, 2)}, ["stride", 4, "[1, 2]", 2]),
        ({"groups": 3}, ["groups", 3, "feature_channels", "[8, 8, 8, 8]"]),
    ],
)
def test_a_stride_or_groups_that_do_not_fit_are_refused(changes, facts):
    with raises_naming(ValueError, *facts):
        boundary_net(**changes)
