"""The contract of methods, checked for your own: `pytest` in this folder."""

from functools import partial

import torch
from my_methods.max_pooled_cam import MaxPooledCam

from wsss_lightning.methods.cam.network import CamNet
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.testing import check_method


def test_max_pooled_cam_keeps_the_contract():
    backbone = Backbone(
        name="test_resnet",
        output_stride=16,
        pretrained=False,
        weights=None,
        freeze_norm=None,
        frozen=[],
        options={},
    )
    net = partial(CamNet, backbone, dropout=0.0, head_init="default", weights=None)
    optimizer = partial(torch.optim.Adam, lr=0.01, weight_decay=0.0)
    check_method(lambda: MaxPooledCam(net, 2, optimizer, head_lr_multiplier=1, poly_power=0.9))
