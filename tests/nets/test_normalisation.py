import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from facts import raises_naming

from wsss_lightning.errors import InputError
from wsss_lightning.methods.affinity_net.network import AffinityNet
from wsss_lightning.methods.cam.network import CamNet
from wsss_lightning.methods.irn.network import BoundaryNet
from wsss_lightning.methods.sc_cam.network import SubCamNet
from wsss_lightning.methods.seam.network import SeamNet
from wsss_lightning.methods.segmentation.network import SegmentationNet
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.normalisation import IMAGENET, Normalise, Statistics, from_settings

HALF = Statistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def backbone(name, pretrained=False, **how):
    return Backbone(name, 16, pretrained, None, None, [], {}, **how)


def test_the_mean_is_subtracted_before_the_division():  # closed form
    statistics = Statistics((0.25, 0.5, 0.75), (0.5, 0.25, 0.125))
    image = torch.tensor([0.75, 0.5, 0.5]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    expected = torch.tensor([1.0, 0.0, -2.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(Normalise(statistics)(image), expected)


def test_normalisation_adds_nothing_to_a_checkpoint():
    assert Normalise(IMAGENET).state_dict() == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50", IMAGENET),
        ("resnet38", IMAGENET),  # of all official codes
        ("tu-resnet18", IMAGENET),
        ("tf_efficientnet_lite0", HALF),
        ("tu-tf_efficientnet_lite0.in1k", HALF),
        ("tf_efficientnet_b0", IMAGENET),
        ("tf_efficientnet_b0.ap_in1k", HALF),  # other weights of the same network
        ("test_resnet", HALF),
    ],
)
def test_a_name_and_its_tag_say_what_its_weights_were_trained_with(name, expected):
    assert backbone(name).statistics == expected


@pytest.mark.parametrize(
    ("ours", "timms"),
    [
        ("dpn92", "dpn92"),
        ("inceptionv4", "inception_v4"),
        ("inceptionresnetv2", "inception_resnet_v2"),
        ("xception", "legacy_xception"),
        ("timm-tf_efficientnet_lite0", "tf_efficientnet_lite0"),
        ("vgg16", "vgg16"),
        ("densenet121", "densenet121"),
        ("mobilenet_v2", "mobilenetv2_100"),
    ],
)
def test_encoders_without_timm_have_the_statistics_of_timms_copy_of_the_weights(ours, timms):
    known = timm.models.get_pretrained_cfg(timms)
    assert backbone(ours).statistics == (known.mean, known.std)


def test_weights_of_the_hub_bring_their_own_settings(monkeypatch):
    asked = []

    def settings(name, weights):
        asked.append((name, weights))
        own = {"mean": [51, 102, 153], "std": [25.5, 51, 255]}
        return {"input_space": "RGB", "input_range": [0, 255], **own}

    monkeypatch.setattr(smp.encoders, "get_preprocessing_params", settings)
    chosen = backbone("dpn68b", pretrained=True)
    assert chosen.statistics.mean == pytest.approx((0.2, 0.4, 0.6))
    assert chosen.statistics.std == pytest.approx((0.1, 0.2, 1.0))
    assert asked == [("dpn68b", "imagenet+5k")]


@pytest.mark.parametrize(("space", "low"), [("BGR", 0), ("RGB", -1)])
def test_weights_for_images_of_another_kind_are_refused(space, low):
    settings = {"input_space": space, "input_range": [low, 1], "mean": [0] * 3, "std": [1] * 3}
    with raises_naming(InputError, "bninception", space, f"[{low}, 1]"):
        from_settings("bninception", settings)


def test_a_hub_that_cannot_be_reached_is_an_input_error_that_names_the_keys(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(smp.encoders, "get_preprocessing_params", unreachable)
    monkeypatch.setattr(smp.encoders, "get_encoder", unreachable)
    for chosen in (backbone("resnet18", pretrained=True), backbone("tu-resnet18", pretrained=True)):
        with pytest.raises(ValueError, match=r"pretrained must .*no route.*weights to a file"):
            chosen.build() if chosen.name.startswith("tu-") else chosen.statistics


@pytest.mark.parametrize("name", ["resnext101_32x48d", "test_resnet2x"])
def test_a_name_without_pretrained_weights_is_refused(name, monkeypatch):
    monkeypatch.setattr(timm, "is_model", lambda name: True)
    with pytest.raises(ValueError, match=rf"pretrained must .*{name}"):
        _ = backbone(name, pretrained=True).statistics


def test_each_key_overrides_what_is_known():
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    assert backbone("resnet18", mean=mean).statistics == (tuple(mean), IMAGENET.std)
    assert backbone("resnet18", std=std).statistics == (IMAGENET.mean, tuple(std))
    assert backbone("resnet18", mean=mean, std=std).statistics == (tuple(mean), tuple(std))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", [123.7, 116.3, 103.5]),  # of levels
        ("mean", [0.5]),
        ("mean", [0.5, 0.5, float("nan")]),
        ("mean", [-0.1, 0.5, 0.5]),
        ("std", [58.4, 57.1, 57.4]),
        ("std", [0.5, 0.0, 0.5]),
    ],
)
def test_statistics_that_are_not_of_rgb_in_the_unit_interval_are_refused(key, value):
    with pytest.raises(ValueError, match=rf"{key} must be three numbers .*255"):
        backbone("resnet18", **{key: value})


@pytest.mark.parametrize(
    "build",
    [
        lambda chosen: CamNet(chosen, 0.0, "default", None, 2),
        lambda chosen: SubCamNet(chosen, 0.0, "xavier", 2, None, 2),
        lambda chosen: SeamNet(chosen, 0.0, [-2], [4], 8, 1.0, None, 2),
        lambda chosen: AffinityNet(chosen, [-2], [4], None),
        lambda chosen: BoundaryNet(chosen, [-1], [4], 4, 4, 0, True, None),
        lambda chosen: SegmentationNet(chosen, "unet", {}, 2),
    ],
)
def test_every_network_normalises_by_its_backbones_statistics(build):
    chosen = backbone("test_efficientnet", mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    net = build(chosen)
    assert net.normalise.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert net.normalise.std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])
