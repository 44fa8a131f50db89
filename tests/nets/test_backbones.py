import os
import pickle
from pathlib import Path

import pytest
import pytorch_lightning as pl
import timm
import torch
import torchvision
from facts import raises_naming
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader

from wsss_lightning.errors import InputError
from wsss_lightning.methods.cam.network import CamNet
from wsss_lightning.methods.segmentation.network import SegmentationNet
from wsss_lightning.nets.backbones import Backbone, submodule

SHARED = Path(os.environ.get("WSSS_SHARED", Path(__file__).parents[3] / "shared"))
IMAGENET = SHARED / "weights/mobilenet_v2_imagenet.safetensors"


def backbone(name="test_resnet", **how):
    usual = {
        "output_stride": 32,
        "pretrained": False,
        "weights": None,
        "freeze_norm": None,
        "frozen": [],
        "options": {},
    }
    return Backbone(name, **{**usual, **how})


def net_of(chosen, kind):
    if kind == "cam":
        return CamNet(chosen, dropout=0.0, head_init="default", weights=None, num_classes=2)
    return SegmentationNet(chosen, "unet", {}, num_classes=2)


def random_statistics(net):
    """Batch norms that are told from fresh ones."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 2.0)
    return net.eval()


def written(path, state):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def whole():
    """A timm network with what it was trained to have: a head and its own statistics."""
    torch.manual_seed(1)
    return random_statistics(timm.create_model("test_resnet", num_classes=7))


@pytest.mark.parametrize(
    ("name", "encoder_name"),
    [
        ("mobilenet_v2", "mobilenet_v2"),
        ("test_resnet", "tu-test_resnet"),
        ("tu-test_resnet", "tu-test_resnet"),
        ("resnet18", "resnet18"),
        ("tu-resnet18", "tu-resnet18"),
        ("resnet18.a1_in1k", "tu-resnet18.a1_in1k"),
    ],
)
def test_names_of_torchvision_come_first_and_timm_answers_for_the_others(name, encoder_name):
    assert backbone(name).encoder_name == encoder_name


@pytest.mark.parametrize("name", ["mobilenet_v2", "test_resnet"])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_the_deepest_map_has_the_output_stride(name, stride):
    encoder = backbone(name, output_stride=stride).build().eval()
    deepest = encoder(torch.rand(1, 3, 64, 96))[-1]
    assert deepest.shape[-2:] == (64 // stride, 96 // stride)
    assert deepest.shape[1] == encoder.out_channels[-1]


def test_options_reach_the_constructor_of_timm():
    slim = backbone("resnet10t", options={"channels": [8, 8, 8, 16], "stem_width": 8}).build()
    assert slim.out_channels[-1] == 16


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"name must .*got resnett50; .*\bresnet50\?"):
        backbone("resnett50").build()
    with pytest.raises(ValueError, match=r"name must .*got resnet18.a1_in1; .*\ba1_in1k\?"):
        backbone("resnet18.a1_in1").build()


@pytest.mark.parametrize("stride", [0, 4, 12, 64])
def test_only_three_output_strides_exist(stride):
    with pytest.raises(ValueError, match=f"output_stride must be 8, 16 or 32, got {stride};"):
        backbone(output_stride=stride)


def test_weights_come_from_one_place_only():
    with pytest.raises(ValueError, match=r"weights must .*pretrained is true, got x\.pth"):
        backbone(pretrained=True, weights="x.pth")


@pytest.mark.parametrize("kind", ["cam", "segmentation"])
def test_an_option_that_timms_network_lacks_is_an_input_error(kind):
    with pytest.raises(ValueError, match=r"stem_widht.*got test_resnet;|test_resnet.*stem_widht"):
        net_of(backbone(options={"stem_widht": 8}), kind)


@pytest.mark.parametrize("kind", ["cam", "segmentation"])
def test_options_are_not_dropped_where_no_timm_network_takes_them(kind):
    with pytest.raises(ValueError, match=r"options must .*resnet18.*got {'stem_width': 8}"):
        net_of(backbone("resnet18", options={"stem_width": 8}), kind)


@pytest.mark.parametrize(
    ("name", "stride"),
    [
        ("vit_tiny_patch16_224", 32),  # all its maps are of one size
        ("vgg11", 16),  # pools where others have strides, which cannot become dilations
        ("hrnet_w18_small", 16),
    ],
)
def test_a_network_without_maps_of_the_stride_is_an_input_error(name, stride):
    with (
        pytest.raises(ValueError, match=rf"output_stride {stride}.*got {name};"),
        torch.device("meta"),
    ):
        backbone(name, output_stride=stride).build()


# weights


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kind", ["cam", "segmentation"])
def test_a_file_of_torchvision_gives_torchvisions_features(tmp_path, suffix, kind):
    theirs = random_statistics(torchvision.models.mobilenet_v2(weights=None))
    path = written(tmp_path / f"m{suffix}", theirs.state_dict())
    net = net_of(backbone("mobilenet_v2", weights=path), kind).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        ours = net.encoder(net.normalise(image))[-1]
        expected = theirs.features(net.normalise(image))
    if kind == "segmentation":  # only CAM networks dilate; at stride 32 both are the same network
        assert ours.shape == expected.shape
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("wrapping", ["plain", "state_dict", "model"])
def test_the_head_of_a_classification_network_is_left_out(tmp_path, wrapping):
    theirs = random_statistics(torchvision.models.resnet18(weights=None))
    state = theirs.state_dict()
    path = written(tmp_path / "r.pth", state if wrapping == "plain" else {wrapping: state})
    encoder = backbone("resnet18", weights=path).build().eval()
    stem = nn.Sequential(*list(theirs.children())[:-2])
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image)[-1], stem(image))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kind", ["cam", "segmentation"])
def test_a_file_of_timm_gives_timms_features(tmp_path, whole, suffix, kind):
    path = written(tmp_path / f"t{suffix}", whole.state_dict())
    net = net_of(backbone(weights=path), kind).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net.encoder(image)[-1], whole.forward_features(image))


@pytest.mark.parametrize("name", ["test_efficientnet", "mobilenetv3_small_050"])
def test_stages_that_a_feature_network_flattens_are_found_by_their_whole_names(tmp_path, name):
    theirs = random_statistics(timm.create_model(name))
    path = written(tmp_path / "t.safetensors", theirs.state_dict())
    encoder = backbone(name, weights=path).build().eval()
    stored = {
        k.removeprefix("model.").replace("_", "."): v for k, v in encoder.state_dict().items()
    }
    for key, value in theirs.state_dict().items():
        if key.startswith(("blocks.", "conv_stem.", "bn1.")):
            torch.testing.assert_close(stored[key.replace("_", ".")], value)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.forward_intermediates(image, intermediates_only=True)[-1]
        torch.testing.assert_close(encoder(image)[-1], expected)


def test_an_encoders_own_state_is_taken_too(tmp_path):
    theirs = backbone().build()
    path = written(tmp_path / "own.pth", theirs.state_dict())
    ours = backbone(weights=path).build()
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value)


def test_half_precision_is_stretched_to_the_networks(tmp_path, whole):
    state = {key: v.half() if v.is_floating_point() else v for key, v in whole.state_dict().items()}
    encoder = backbone(weights=written(tmp_path / "h.safetensors", state)).build()
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}


def renamed(state, old, new):
    return {key.replace(old, new): value for key, value in state.items()}


@pytest.mark.parametrize("source", ["timm", "torchvision"])
@pytest.mark.parametrize(
    ("spoil", "facts"),
    [
        (lambda s, key: {k: v for k, v in s.items() if k != key}, [1, "missing", "{key}"]),
        (lambda s, key: {**s, "extra.weight": s[key]}, [1, "unexpected", "extra.weight"]),
        (
            lambda s, key: {**s, key: torch.zeros(2, 2)},
            [1, "shape", "{key}", "(2, 2)", "3, 3, 3)"],
        ),
        (
            lambda s, key: renamed(s, key, "extra.weight"),
            [1, "missing", "{key}", "unexpected", "extra.weight"],
        ),
    ],
)
def test_keys_that_do_not_fit_are_listed_with_the_file(tmp_path, whole, source, spoil, facts):
    name, key, state = {
        "timm": ("test_resnet", "conv1.0.weight", whole.state_dict()),
        "torchvision": (
            "mobilenet_v2",
            "features.0.0.weight",
            torchvision.models.mobilenet_v2(weights=None).state_dict(),
        ),
    }[source]
    if key not in state:
        key = next(iter(state))
    path = written(tmp_path / "spoilt.pth", spoil(state, key))
    with raises_naming(InputError, *(str(fact).format(key=key) for fact in facts)) as caught:
        backbone(name, weights=path).build()
    assert f"weights must be those of {name}, got {path};" in str(caught.value)


def test_a_file_of_another_network_lists_a_few_keys_and_counts_the_rest(tmp_path):
    path = written(tmp_path / "r.pth", torchvision.models.resnet18(weights=None).state_dict())
    with raises_naming(InputError, "r.pth", "mobilenet_v2", "missing", "unexpected", 120):
        backbone("mobilenet_v2", weights=path).build()
    with raises_naming(InputError, "r.pth", "test_resnet", "missing", "unexpected"):
        backbone("test_resnet", weights=path).build()


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_pickle_is_refused_without_running_its_code(tmp_path):
    mark, path = tmp_path / "was_run", tmp_path / "trap.pth"
    torch.save({"weight": torch.zeros(1), "trap": Trap(mark)}, path)
    with raises_naming(InputError, "trap.pth"):
        backbone(weights=path).build()
    path.write_bytes(pickle.dumps(Trap(mark)))
    with raises_naming(InputError, "trap.pth"):
        backbone(weights=path).build()
    assert not mark.exists()


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_a_damaged_file_is_an_input_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"no weights at all")
    with raises_naming(InputError, name):
        backbone(weights=tmp_path / name).build()


@pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(1), {"epoch": 3}])
def test_a_file_without_a_state_dict_is_an_input_error(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with raises_naming(InputError, "x.pth"):
        backbone(weights=tmp_path / "x.pth").build()


def test_an_absent_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"weights must be an existing .*none.pth"):
        backbone(weights=tmp_path / "none.pth").build()


@pytest.mark.skipif(not IMAGENET.is_file(), reason=f"{IMAGENET} is not here; set WSSS_SHARED")
def test_the_shared_imagenet_weights_give_torchvisions_features():
    theirs = torchvision.models.mobilenet_v2(weights=None)
    theirs.load_state_dict(load_file(IMAGENET))
    encoder = backbone("mobilenet_v2", weights=IMAGENET).build().eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image)[-1], theirs.eval().features(image))


# what does not learn


def norms(net):
    return [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]


@pytest.mark.parametrize("kind", ["cam", "segmentation"])
@pytest.mark.parametrize(
    ("freeze_norm", "has_weights", "kept"),
    [
        (None, False, False),
        (None, True, True),
        (True, False, True),
        (True, True, True),
        (False, False, False),
        (False, True, False),
    ],
)
def test_batch_norms_are_kept_where_there_are_weights_or_as_was_asked(
    tmp_path, whole, kind, freeze_norm, has_weights, kept
):
    weights = written(tmp_path / "w.pth", whole.state_dict()) if has_weights else None
    net = net_of(backbone(weights=weights, freeze_norm=freeze_norm), kind)
    for _ in range(2):
        assert {part.training for part in norms(net.encoder)} == {not kept}
        net.eval()
        assert not any(part.training for part in net.modules())
        net.train()
    decoder = set(norms(net)) - set(norms(net.encoder))
    assert all(part.training for part in decoder)
    assert net.training


class Toy(pl.LightningModule):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def training_step(self, image, batch_idx):
        return self.net(image).square().mean()

    def validation_step(self, image, batch_idx):
        self.net(image)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("frozen", [True, False])
def test_lightning_trains_without_touching_kept_statistics(frozen):
    net = net_of(backbone(freeze_norm=frozen), "cam")  # Lightning never calls train() by itself
    before = [part.running_mean.clone() for part in norms(net.encoder)]
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader([torch.rand(2, 3, 64, 64)], batch_size=None)
    trainer.fit(Toy(net), loader, loader)
    after = [part.running_mean for part in norms(net.encoder)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)) == frozen


def test_frozen_parts_get_no_gradient_and_the_others_do():
    net = net_of(backbone(frozen=["model.conv1", "model.layer1"]), "cam")
    net(torch.rand(2, 3, 64, 64)).sum().backward()
    for name, parameter in net.encoder.named_parameters():
        frozen = name.startswith(("model.conv1", "model.layer1"))
        assert (parameter.grad is None) == frozen, name


def test_a_misspelt_frozen_part_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"frozen must .*got model.layr1; .*model.layer1\?"):
        backbone(frozen=["model.layr1"]).build()


def test_a_layer_is_found_by_its_dotted_name():
    net = nn.Sequential(nn.Sequential(nn.ReLU()))
    assert submodule(net, "0.0", "layer") is net[0][0]


@pytest.mark.parametrize("build", ["backbone", "segmentation"])
def test_without_dilation_strides_and_sizes_stay(build):
    def encoder(dilated):
        chosen = Backbone("resnet18", 8, False, None, None, [], {}, dilated=dilated)
        if build == "backbone":
            return chosen.build()
        return SegmentationNet(chosen, "deeplabv3plus", {}, num_classes=2).encoder

    def dilations(network):
        return {m.dilation for m in network.modules() if isinstance(m, torch.nn.Conv2d)}

    networks = [encoder(dilated) for dilated in (True, False)]
    assert dilations(networks[0]) == {(1, 1), (2, 2), (4, 4)}
    assert dilations(networks[1]) == {(1, 1)}
    image = torch.rand(1, 3, 64, 64)
    shapes = [[tuple(maps.shape) for maps in network.eval()(image)] for network in networks]
    assert shapes[0] == shapes[1]


def test_resnet38_is_always_dilated():
    with pytest.raises(ValueError, match=r"dilated must be true for resnet38"):
        Backbone("resnet38", 8, False, None, None, [], {}, dilated=False)
