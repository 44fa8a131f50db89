from functools import partial

import torch
import torch.nn.functional as F
from rates import RATES

from wsss_lightning.methods.cam.module import Classifier
from wsss_lightning.methods.cam.network import CamNet
from wsss_lightning.nets.backbones import Backbone

SGD = partial(torch.optim.SGD, lr=0.1, weight_decay=1e-4)
TAGS = torch.tensor([[1.0, 0.0], [1.0, 1.0]])


def classifier():
    chosen = Backbone("test_resnet", 16, False, None, None, [], {})
    return Classifier(
        partial(CamNet, chosen, 0.0, "default", None), 2, SGD, **{**RATES, "head_lr_multiplier": 10}
    )


def test_the_loss_is_the_multilabel_soft_margin():
    method = classifier().eval()
    batch = {"image": torch.rand(2, 3, 33, 33), "tags": TAGS, "name": ["a", "b"]}
    expected = F.multilabel_soft_margin_loss(method(batch["image"]), TAGS)
    torch.testing.assert_close(method.training_step(batch, 0), expected)


def test_logits_and_map_are_the_networks():
    method, image = classifier().eval(), torch.rand(2, 3, 33, 33)
    assert torch.equal(method(image), method.net(image))
    assert torch.equal(method.cam(image), method.net.cam(image))
