import hydra
import pytest
import segmentation_models_pytorch as smp
import torch
from facts import assert_names
from safetensors.torch import save_file

import wsss_lightning.cli.check_networks
from wsss_lightning.cli.check_networks import check_networks, fetch_weights, resolve_statistics
from wsss_lightning.cli.error_messages import input_error_of
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.pipelines.base import supervision_of

NO_OPTIONS = ["backbone=timm", "backbone.output_stride=32"]


def composed(*words):
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return hydra.compose("config", overrides=list(words))


def checked(*words):
    cfg = composed(*words)
    resolve_statistics(cfg)
    check_networks(cfg, tags=supervision_of(cfg.pipeline).uses_seeds)
    return cfg


def complaint(*words):
    """The message of the InputError behind whatever is raised."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        checked(*words)
    slip = input_error_of(caught.value)
    assert slip is not None
    return str(slip)


@pytest.mark.parametrize(
    "words",
    [
        ["experiment=cam", "refine=irn"],
        ["experiment=cam", "refine=affinity", "cam.layer=encoder.model.layer3"],
        ["experiment=seam"],
        ["experiment=sc_cam"],
        ["experiment=box"],
        ["experiment=full_supervision", "segmenter=unet"],
        ["experiment=full_supervision", "segmenter=deeplab_v1", "backbone=resnet38"],
        [
            "experiment=full_supervision",
            "segmenter=deeplab_v2",
            "backbone=resnet38",
            "+backbone@segmenter.net.backbone=resnet101_caffe",
        ],
        ["experiment=cam_small", "data.root=none", "data.num_classes=5", "backbone.name=resnet34"],
        ["experiment=cam", "backbone=timm", "backbone.name=convnext_atto"],
        # pools without padding, and does not dilate
        ["experiment=cam", "backbone.name=vgg11", *NO_OPTIONS, "segmenter=unet"],
    ],
)
def test_networks_that_fit_are_built_without_storing_a_parameter(words, monkeypatch):
    devices = set()
    build = wsss_lightning.cli.check_networks.instantiate

    def watched(node, **arguments):
        module = build(node, **arguments)
        if isinstance(module, torch.nn.Module):
            devices.update(parameter.device.type for parameter in module.parameters())
        return module

    monkeypatch.setattr(wsss_lightning.cli.check_networks, "instantiate", watched)
    checked(*words)
    assert devices == {"meta"}


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["segmenter.net.architecture=unett"], ["segmenter.net.architecture", "unett", "unet"]),
        (["+segmenter.net.options.chanels=3"], ["segmenter.net.options", "chanels"]),
        (["segmenter.net.options.decoder_atrous_rates=[2,4]"], ["decoder_atrous_rates", "[2, 4]"]),
        (["segmenter.net.output_stride=4"], ["segmenter.net.output_stride", 4, 8, 16]),
        (["segmenter=deeplab_v2", "segmenter.net.rates=[0]"], ["segmenter.net.rates", "[0]"]),
        (["segmenter=deeplab_v1", "segmenter.net.dropout=2"], ["segmenter.net.dropout", 2]),
        (
            ["segmenter=deeplab_v1", "segmenter.net.weights=no.pth"],
            ["segmenter.net.weights", "no.pth"],
        ),
        (["cam.layer=encodr"], ["cam.layer", "encodr", "encoder"]),
        (["backbone.name=resnet34"], ["options", "backbone=timm backbone.name=resnet34"]),
        (
            ["backbone.name=tu-resnet18", "backbone.output_stride=5"],
            ["backbone.output_stride", 5],
        ),
        (["backbone.name=tu-convnext_atto"], ["backbone=timm backbone.name=tu-convnext_atto"]),
        (["backbone.frozen=[layer1]"], ["backbone.frozen", "layer1", "model.layer1"]),
        (["backbone.weights=nowhere.pth"], ["backbone.weights", "nowhere.pth"]),
        (
            ["refine=irn", "refine.module.net.feature_layers=[2,3,9,5]"],
            ["refine.module.net.feature_layers is [2, 3, 9, 5]"],
        ),
        (["refine=irn", "refine.walk.steps=-1"], ["refine.walk.steps", -1]),
        (["method.optimizer.lr=-1"], ["optimizer", "-1"]),
        (["~method.optimizer.weight_decay"], ["optimizer", "weight_decay"]),
        (["backbone.mean=[124,116,104]"], ["backbone.mean", "[124, 116, 104]", 255]),
    ],
)
def test_what_does_not_fit_is_an_input_error_before_work_starts(words, facts):
    said = complaint("experiment=cam", *words)
    assert_names(said, *facts)


def test_networks_of_one_size_are_refused_with_the_size():
    name = "backbone.name=swin_tiny_patch4_window7_224"
    said = complaint("experiment=cam", name, *NO_OPTIONS, "segmenter=unet")
    assert "128x" in said
    assert "backbone.name" in said


def test_a_backbone_whose_maps_have_another_stride_is_refused_with_both(monkeypatch):
    built = smp.encoders.get_encoder
    monkeypatch.setattr(
        smp.encoders, "get_encoder", lambda name, **how: built(name, **{**how, "output_stride": 32})
    )
    said = complaint("experiment=cam")
    assert_names(said, "backbone.output_stride", 8, "backbone.output_stride=32")


def test_only_what_the_run_trains_is_built():
    checked("experiment=cam", "pipeline=seeds", "segmenter.net.architecture=unett")
    checked("experiment=full_supervision", "cam.layer=encodr", "method.optimizer.lr=-1")


def test_a_file_of_weights_that_does_not_fit_is_an_input_error(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"conv1.weight": torch.zeros(2)}, path)
    said = complaint("experiment=cam", f"backbone.weights='{path}'")
    assert str(path) in said
    assert "resnet10t" in said


def test_a_network_that_begins_with_the_classifiers_encoder_is_like_it():
    begin = ["experiment=cam", "fit.segmenter.init_from=classifier"]
    other = [*begin, "+backbone@segmenter.net.backbone=resnet10_slim"]
    checked(*other)
    said = complaint(*other, "segmenter.net.backbone.options.channels=[16,32,64,256]")
    assert "segmenter.net.backbone" in said
    assert_names(said, "shape")
    said = complaint(*other, "segmenter.net.backbone.mean=[0.5,0.5,0.5]")
    assert "segmenter.net.backbone" in said
    assert "0.5" in said
    first = [
        "experiment=sc_cam",
        "+backbone@pipeline.first.net.backbone=resnet10_slim",
        "pipeline.first.net.backbone.options.channels=[16,32,64,256]",
    ]
    checked(*first)
    assert "pipeline.init_from=backbone" in complaint(*first, "pipeline.init_from=last_round")


def test_every_node_of_a_backbone_holds_the_statistics_of_its_weights():
    cfg = composed(
        "experiment=cam",
        "backbone=timm",
        "backbone.name=tf_efficientnet_lite0",
        "+backbone@segmenter.net.backbone=resnet10_slim",
        "segmenter.net.backbone.std=[0.1,0.2,0.3]",
    )
    resolve_statistics(cfg)
    assert cfg.method.net.backbone.mean == cfg.backbone.std == [0.5, 0.5, 0.5]
    assert list(cfg.segmenter.net.backbone.mean) == [0.485, 0.456, 0.406]
    assert list(cfg.segmenter.net.backbone.std) == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["experiment=sc_cam_voc2012"], ["resnet101"]),  # ResNet38's weights are a file
        (["experiment=sc_cam_voc2012", "pipeline.segment=false"], []),
        (["experiment=cam_voc2012"], ["resnet50", "resnet50"]),  # with and without dilation
        (["experiment=cam_voc2012", "pipeline=seeds"], ["resnet50"]),
        (["experiment=box_voc2012"], ["resnet101"]),  # its classifier is not trained
    ],
)
def test_the_hub_is_asked_for_backbones_of_trained_networks_only(monkeypatch, words, names):
    fetched = []

    class Fetched:
        def __init__(self, node):
            self.node = node

        def build(self):
            fetched.append(self.node.name)

    def settings(name, weights):
        assert name in names
        return {"mean": [0.4] * 3, "std": [0.2] * 3, "input_space": "RGB", "input_range": [0, 1]}

    cfg = composed(*words)
    if words[-1] == "pipeline.segment=false" or "seeds" in words[-1]:
        monkeypatch.setattr(smp.encoders, "get_preprocessing_params", settings)
        resolve_statistics(cfg)
    monkeypatch.setattr(wsss_lightning.cli.check_networks, "instantiate", Fetched)
    fetch_weights(cfg, tags=supervision_of(cfg.pipeline).uses_seeds)
    assert sorted(fetched) == sorted(names)
