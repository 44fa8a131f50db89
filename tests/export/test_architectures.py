"""Every architecture and backbone is exported right, at sizes that it was not traced with."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from small_models import BACKBONE, info_of, node_of

from wsss_lightning.export.exporter import export
from wsss_lightning.export.settings import ExportSettings
from wsss_lightning.predict.trained_model import TrainedModel

NETS = "wsss_lightning.methods.segmentation"
DEEPLABS = {
    "deeplab_v1": {
        "_target_": f"{NETS}.deeplab.DeepLabV1",
        **{"output_stride": 8, "dilation": 2, "channels": 8, "dropout": 0.5},
    },
    "deeplab_v2": {
        "_target_": f"{NETS}.deeplab.DeepLabV2",
        **{"output_stride": 8, "rates": [1, 2], "scales": [0.5, 0.75]},
    },
}
METHODS = {
    "seam": {
        "module": {
            "_target_": "wsss_lightning.methods.seam.module.SEAM",
            **{"scale": 0.5, "min_pooling_weight": 1, "er_weight": 1, "ecr_weight": 1},
            "hard_fraction": 0.2,
        },
        "net": {
            "_target_": "wsss_lightning.methods.seam.network.SeamNet",
            **{"feature_layers": [-3, -2], "feature_channels": [8, 8], "embedding": 8},
            "block_mib": 256,
        },
    },
    "sc_cam": {
        "module": {"_target_": "wsss_lightning.methods.sc_cam.module.SCCAM", "sub_weight": 5},
        "net": {
            "_target_": "wsss_lightning.methods.sc_cam.network.SubCamNet",
            **{"head_init": "default", "sub_categories": 2},
        },
    },
}


def trained(node: dict):
    """The module of a node, with statistics of batch norms unlike the initial ones."""
    torch.manual_seed(0)
    module = instantiate(OmegaConf.create(node))
    with torch.no_grad():
        module.train()(torch.rand(2, 3, 64, 64))
    return module.eval()


def segmenter(architecture: str, **backbone):
    node = node_of("segmentation")
    chosen = {**BACKBONE, **backbone}
    if architecture in DEEPLABS:
        norms = {"norm_momentum": 0.1, "norm_affine": True, "weights": None}
        net = {**DEEPLABS[architecture], **norms, "_partial_": True, "backbone": chosen}
    else:
        net = {**node["net"], "architecture": architecture, "options": {}, "backbone": chosen}
    return trained({**node, "net": net})


def check(module, task: str, tmp_path, equal=1e-5) -> None:
    """Export to ONNX; `export` itself compares at two sizes, neither of them the traced one."""
    model = TrainedModel(module, info_of(task)).eval()
    exported = export(model, tmp_path / "a.onnx", ExportSettings(size=(96, 128)))
    assert [one.shape for one in exported.agreements] == [(1, 96, 128), (2, 107, 149)]
    for one in exported.agreements:
        for name, value in one.differences.items():
            assert value <= equal * max(1, one.allowed[name] / 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["deeplabv3plus", "deeplab_v1", "deeplab_v2"])
def test_every_configured_segmenter_is_exported(architecture, tmp_path):
    check(segmenter(architecture), "segmentation", tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["unetplusplus", "fpn", "pspnet", "deeplabv3", "upernet"])
def test_every_other_architecture_is_exported(architecture, tmp_path):
    check(segmenter(architecture), "segmentation", tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(
    ("architecture", "name", "stride"),
    [
        ("deeplabv3plus", "tf_efficientnet_lite0", 16),
        ("deeplabv3plus", "mobilenet_v2", 16),
        ("unet", "convnext_atto", 32),
    ],
)
def test_backbones_are_exported(architecture, name, stride, tmp_path):
    module = segmenter(architecture, name=name, output_stride=stride)
    check(module, "segmentation", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_exported(method, tmp_path):
    parts = METHODS[method]
    shared = {"_partial_": True, "backbone": BACKBONE, "dropout": 0.0, "weights": None}
    node = {**node_of("classification"), **parts["module"], "net": {**shared, **parts["net"]}}
    check(trained(node), "classification", tmp_path)
