from pathlib import Path

import pytest
import torch
import torchvision
from facts import assert_names, raises_naming
from official import HEADS, deeplab_v1_layout, deeplab_v2_layout, layout
from safetensors.torch import load_file

from wsss_lightning.cli import import_weights
from wsss_lightning.errors import InputError
from wsss_lightning.methods.cam.network import CamNet
from wsss_lightning.methods.segmentation.deeplab import DeepLabV1, DeepLabV2
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.weights import read_official, read_weights


def state_of(network):
    """A checkpoint of that layout whose tensors take no memory of their own."""
    return {key: torch.zeros(1).expand(shape) for key, shape in layout(network).items()}


def read(state):
    return read_official(state, Path("x.pth"))


@pytest.mark.parametrize("network", HEADS)
def test_a_checkpoint_is_told_by_its_heads(network):
    found = read(state_of(network))
    assert found.network == network
    assert set(found.encoder) == set(layout("ImageNet"))
    heads = {f"{name}.weight" for name in HEADS[network]}
    assert len(heads) == len(found.heads)
    assert not found.left_out


def test_layers_get_the_names_of_our_networks():
    assert {k: v.shape[0] for k, v in read(state_of("SEAM")).heads.items()} == {
        "head.weight": 21,
        "squeeze.0.weight": 64,
        "squeeze.1.weight": 128,
        "embed.weight": 192,
    }
    two = read(state_of("SC-CAM")).heads
    assert {k: v.shape[0] for k, v in two.items()} == {"head.weight": 20, "sub_head.weight": 200}
    assert read(state_of("AffinityNet")).heads["squeeze.2.weight"].shape[0] == 256


def test_a_classifier_of_psa_is_a_cam_net():
    state = read(state_of("PSA")).state
    with torch.device("meta"):
        net = CamNet(
            Backbone("resnet38", 8, False, None, True, [], {}), 0.5, "default", None, num_classes=20
        )
    wanted = {key for key in net.state_dict() if "num_batches_tracked" not in key}
    assert set(state) == wanted


def empty(shapes):
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}


def irn_classifier():
    """IRN's classifier as its code saves it: tensors have two or three names."""
    with torch.device("meta"):
        plain = torchvision.models.resnet50().state_dict()
    shapes = {f"resnet50.{k}": v.shape for k, v in plain.items() if not k.startswith("fc.")}
    shapes |= {"stage1.0.weight": (64, 3, 7, 7), "backbone.0.0.weight": (64, 3, 7, 7)}
    shapes |= dict.fromkeys(("classifier.weight", "newly_added.0.weight"), (20, 2048, 1, 1))
    return empty(shapes)


def test_the_classifier_of_irn_is_a_cam_net():
    found = read(irn_classifier())
    assert found.network == "IRN's classifier"
    with torch.device("meta"):
        backbone = Backbone("resnet50", 16, False, None, True, [], {}, dilated=False)
        net = CamNet(backbone, 0.0, "default", None, num_classes=20)
    assert {k: v.shape for k, v in found.state.items()} == {
        k: v.shape for k, v in net.state_dict().items()
    }


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (lambda s: s.update({"odd.weight": torch.zeros(1)}), ["odd.weight"]),
        (lambda s: s.pop("classifier.weight"), ["classifier.weight"]),
    ],
)
def test_another_network_on_the_backbone_of_irn_is_refused(change, facts):
    state = irn_classifier()
    change(state)
    with raises_naming(InputError, "x.pth", *facts):
        read(state)


def test_the_official_deeplab_v1_is_ours_on_resnet38():
    read_state = read(empty(deeplab_v1_layout())).state
    with torch.device("meta"):
        chosen = Backbone("resnet38", 8, False, None, True, [], {})
        net = DeepLabV1(chosen, 8, 12, 512, 0.5, 3e-4, False, None, num_classes=20)
    assert {key: value.shape for key, value in read_state.items()} == {
        key: value.shape
        for key, value in net.state_dict().items()
        if "num_batches_tracked" not in key
    }


@pytest.mark.parametrize("prefix", ["base.", "module.base.", ""])
def test_deeplab_v2_is_ours_on_resnet101_of_caffe(prefix):
    shapes = deeplab_v2_layout()
    found = read(empty({k.replace("base.", prefix): shape for k, shape in shapes.items()}))
    assert found.network == "DeepLab-v2"
    with torch.device("meta"):
        chosen = Backbone("resnet101_caffe", 8, False, None, True, [], {})
        net = DeepLabV2(chosen, 8, [6, 12, 18, 24], [], 1e-3, False, None, num_classes=20)
    assert {key: value.shape for key, value in found.state.items()} == {
        key: value.shape
        for key, value in net.state_dict().items()
        if "num_batches_tracked" not in key
    }


def test_what_deeplab_v2_begins_with_is_read_without_its_head():
    shapes = {k.removeprefix("base."): s for k, s in deeplab_v2_layout().items() if "aspp" not in k}
    found = read(empty(shapes | {"fc.weight": (91, 2048, 1, 1), "fc.bias": (91,)}))
    assert set(found.encoder) == set(shapes)
    assert not found.heads
    assert list(found.left_out) == ["fc.bias", "fc.weight"]


@pytest.mark.parametrize("shapes", [deeplab_v1_layout(), deeplab_v2_layout()])
def test_a_key_that_a_deeplab_does_not_have_is_refused(shapes):
    with raises_naming(InputError, 1, "odd.weight"):
        read(empty(shapes | {"odd.weight": (1,)}))


def test_copies_of_several_gpus_and_counters_of_batches_are_taken():
    state = {f"module.{key}": value for key, value in state_of("PSA").items()}
    state["module.bn7.num_batches_tracked"] = torch.tensor(3)
    assert read(state).network == "PSA"


SPOILT = {
    (1, "missing", "b3.conv_branch1.weight"): lambda s: s.pop("b3.conv_branch1.weight"),
    (1, "unexpected", "extra.weight"): lambda s: (
        s.pop("fc8.weight"),
        s.update({"extra.weight": torch.zeros(1)}),
    ),
    (1, "shape", "bn7.bias", "(2,)", "(4096,)"): lambda s: s.update({"bn7.bias": torch.zeros(2)}),
}


@pytest.mark.parametrize("facts", SPOILT)
def test_keys_that_do_not_fit_are_listed(facts):
    state = state_of("PSA")
    SPOILT[facts](state)
    with raises_naming(InputError, "x.pth", "resnet38", *facts):
        read(state)


def test_the_importer_writes_our_names(tmp_path, capsys):
    whole = {key: torch.zeros(shape) for key, shape in layout("AffinityNet").items()}
    torch.save(whole, tmp_path / "in.pth")
    out = tmp_path / "out.safetensors"
    import_weights.main([str(tmp_path / "in.pth"), str(out)])
    told = capsys.readouterr().out
    assert_names(told, "AffinityNet", 191, 4, "embed.weight", "squeeze.0.weight")
    assert "left out" not in told
    written = load_file(out)
    assert len(written) == 195
    assert written["encoder.bn7.bias"].shape == (4096,)
    assert written["squeeze.2.weight"].shape == whole["f8_5.weight"].shape


def test_the_importer_reads_deeplab_pytorch(tmp_path):
    given = {"base.layer1.conv1.conv.weight": torch.rand(64, 3, 7, 7)}
    given |= {"base.aspp.c0.bias": torch.rand(21), "base.fc.bias": torch.rand(91)}
    torch.save(given, tmp_path / "in.pth")
    out = tmp_path / "out.safetensors"
    message = import_weights.convert(tmp_path / "in.pth", out)
    assert_names(message, "DeepLab-v2", 1, "aspp.c0.bias", "fc.bias")

    written = load_file(out)
    assert set(written) == {"encoder.layer1.conv1.conv.weight", "aspp.c0.bias"}
    assert torch.equal(written["aspp.c0.bias"], given["base.aspp.c0.bias"])


@pytest.mark.parametrize(
    ("state", "target", "facts"),
    [
        (
            {"odd": torch.zeros(1)},
            "o.safetensors",
            ["ResNet38", "IRN", "DeepLab", "odd"],
        ),
        ({"odd": torch.zeros(1)}, "o.pth", ["o.pth", ".safetensors"]),
        (None, "o.safetensors", ["weights", "in.pth"]),
    ],
)
def test_the_importer_refuses_what_it_cannot_turn(tmp_path, state, target, facts):
    if state:
        torch.save(state, tmp_path / "in.pth")
    with raises_naming(InputError, *facts):
        import_weights.convert(tmp_path / "in.pth", tmp_path / target)
    assert not (tmp_path / target).exists()


def test_the_command_names_the_suffix_that_it_writes(tmp_path):
    with raises_naming(InputError, "o.pth", ".safetensors"):
        import_weights.main([str(tmp_path / "in.pth"), str(tmp_path / "o.pth")])


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_of_weights_cannot_run_code(tmp_path):
    trace, file = tmp_path / "was_here", tmp_path / "a.pth"
    torch.save({"state_dict": _Touch(trace)}, file)
    with raises_naming(InputError, "a.pth"):
        read_weights(file)
    assert not trace.exists()
    # the file is a real attack: it runs where all is loaded
    torch.load(file, weights_only=False)
    assert trace.exists()
