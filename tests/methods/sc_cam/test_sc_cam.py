from functools import partial

import pytest
import torch
import torch.nn.functional as F
from facts import raises_naming
from rates import RATES

from wsss_lightning.methods.cam_predictor import CamPredictor
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.methods.sc_cam.module import SCCAM
from wsss_lightning.methods.sc_cam.network import SubCamNet
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.ops.alignment import view_of
from wsss_lightning.ops.resize import cells_to_image

SGD = partial(torch.optim.SGD, lr=0.1, weight_decay=1e-4)
TAGS = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
SUB_TAGS = torch.tensor([[0.0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1]])


def sc_cam(sub_weight=5.0):
    chosen = Backbone("test_resnet", 16, False, None, None, [], {})
    net = partial(SubCamNet, chosen, 0.0, "xavier", 3, None)
    return SCCAM(net, 2, SGD, **RATES, sub_weight=sub_weight)


@pytest.mark.parametrize("sub_weight", [0.0, 5.0])
def test_the_loss_adds_the_weighted_loss_of_sub_categories(sub_weight):
    method = sc_cam(sub_weight).eval()
    image = torch.rand(2, 3, 33, 33)
    batch = {"image": image, "tags": TAGS, "sub_tags": SUB_TAGS, "name": ["a", "b"]}
    logits, sub_logits = method.net(image)
    expected = F.multilabel_soft_margin_loss(logits, TAGS)
    expected = expected + sub_weight * F.multilabel_soft_margin_loss(sub_logits, SUB_TAGS)
    torch.testing.assert_close(method.training_step(batch, 0), expected)


def test_a_negative_weight_is_refused():
    with raises_naming(ValueError, "sub_weight", -1):
        sc_cam(-1)


def test_scores_do_not_depend_on_the_head_of_sub_categories():
    method, image = sc_cam().eval(), torch.rand(2, 3, 49, 65)
    before = CamPredictor(method, CamSettings()).score(image, TAGS)
    torch.nn.init.zeros_(method.net.sub_head.weight)
    assert torch.equal(CamPredictor(method, CamSettings()).score(image, TAGS), before)
    assert before.any()


def test_cams_of_sub_categories_are_divided_by_their_common_maximum():
    method, image = sc_cam().eval(), torch.rand(2, 3, 49, 65)
    cams = CamPredictor(method, CamSettings(scales=(0.5, 1.0), flip=True, sub_maps=True))
    with torch.no_grad():
        score = cams.score(image, TAGS)
        total = torch.zeros(2, 6, 49, 65)
        for scale in (0.5, 1.0):
            view = view_of(image, scale, "aligned", 16)
            back = partial(cells_to_image, view=view.shape[-2:], size=(49, 65), stride=16)
            total += back(method.sub_cam(view).relu())
            total += back(method.sub_cam(view.flip(-1)).relu()).flip(-1)
    for b, c in [(0, 0), (1, 0), (1, 1)]:
        maps = total[b, 3 * c : 3 * c + 3]
        expected = (maps / (maps.max() + 1e-5)).amax(0)
        torch.testing.assert_close(score[b, c], expected)
    assert not score[0, 1].any()  # no tag
