"""Every method, segmentation network and refiner with a network keeps the contract of methods."""

from functools import partial

import pytest
import torch
from facts import raises_naming
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from wsss_lightning.cli.options import options
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.methods.cam.network import CamNet
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.ops.losses import tag_loss
from wsss_lightning.testing import check_method

SMALL = ["data.num_classes=2", "backbone=resnet18", "backbone.name=test_resnet"]
# networks of a size for tests, and learning rates for training without pretrained weights
WORDS = {
    "method": ["method.net.dropout=0", "method.optimizer.lr=0.01"],
    "method=sc_cam": ["method.net.sub_categories=3"],
    "method=seam": ["method.net.feature_channels=[4,4]", "method.net.embedding=8"],
    "segmenter": ["segmenter.optimizer.lr=0.01", "segmenter.optimizer.weight_decay=0"],
    "segmenter=deeplab_v1": ["segmenter.net.channels=16", "segmenter.net.dropout=0"],
    "segmenter=deeplab_v2": ["segmenter.net.rates=[1,2]"],
    "segmenter=unet": ["+segmenter.net.options={decoder_channels:[8,8,8,8,8]}"],
    "refine": ["method.optimizer.lr=0.01", "refine.module.radius=3"],
    "refine=affinity": ["refine.module.net.feature_channels=[4,6,8]", "backbone.output_stride=8"],
    "refine=irn": [
        "refine.module.net.feature_channels=[4,4]",
        "refine.module.net.feature_layers=[2,3]",
    ],
}
NODES = {"method": "method", "segmenter": "segmenter", "refine": "refine.module"}


def composed(*words):
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", ["experiment=cam", *SMALL, *words])


def chosen():
    """Every option of the groups whose nodes hold a module."""
    for group, node in NODES.items():
        for name in options(group):
            choice = f"{group}={name}"
            if OmegaConf.select(composed(choice), node) is not None:
                yield choice


@pytest.mark.parametrize("choice", chosen())
def test_every_module_of_the_configuration_keeps_the_contract(choice):
    group = choice.partition("=")[0]
    cfg = composed(choice, *WORDS[group], *WORDS.get(choice, ()))
    node = OmegaConf.select(cfg, NODES[group])
    check_method(OmegaConf.create(OmegaConf.to_container(node, resolve=True)))


class Simple(TagMethod):
    """A classifier that tests break in one place each."""

    def forward(self, image):
        return self.net(image)

    def cam(self, image):
        return self.net.cam(image)

    def training_step(self, batch, batch_idx):
        loss = tag_loss(self(batch["image"]), batch["tags"])
        self.log("train/loss", loss)
        return loss


class LearnsNothing(Simple):
    def training_step(self, batch, batch_idx):
        loss = 0 * self(batch["image"]).sum() + 1
        self.log("train/loss", loss)
        return loss


class LogsAnother(Simple):
    def log(self, name, value, **how):
        super().log(name, value + 1, **how)


class MixesImages(Simple):
    def forward(self, image):
        return self.net(image) - self.net(image).mean()


class Forgets(Simple):
    """Keeps a number outside of its state that its logits depend on."""

    seen = 0

    def training_step(self, batch, batch_idx):
        self.seen += 1
        return super().training_step(batch, batch_idx)

    def forward(self, image):
        return self.net(image) + 0.001 * self.seen


class Unseeded(Simple):
    def training_step(self, batch, batch_idx):
        loss = tag_loss(self(batch["image"]) * (1 + next(NUMBERS)), batch["tags"])
        self.log("train/loss", loss)
        return loss


class MapsOfNaN(Simple):
    def cam(self, image):
        return self.net.cam(image) * float("nan")


NUMBERS = iter(torch.linspace(0, 1, 1000).tolist())


def built(kind):
    backbone = Backbone("test_resnet", 16, False, None, None, [], {})
    net = partial(CamNet, backbone, 0.0, "default", None)
    optimizer = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.0)
    return partial(kind, net, 2, optimizer, head_lr_multiplier=1, poly_power=0.9)


def test_a_method_from_elsewhere_is_checked_by_what_builds_it():
    check_method(built(Simple))


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (LearnsNothing, "loss falls"),
        (LogsAnother, "train/loss"),
        (MixesImages, "alone"),
        (Forgets, "state_dict"),
        (Unseeded, "seed"),
        (MapsOfNaN, "finite"),
    ],
)
def test_a_method_that_breaks_a_rule_is_named_with_the_rule(kind, rule):
    with raises_naming(AssertionError, kind.__name__, rule):
        check_method(built(kind), steps=6)


def test_what_is_no_method_is_refused():
    with raises_naming(TypeError, "Linear", "TagMethod"):
        check_method(lambda: torch.nn.Linear(1, 1))


def test_random_numbers_of_the_caller_stay_as_they_are():
    state = torch.random.get_rng_state()
    check_method(built(Simple), steps=2)
    assert torch.equal(torch.random.get_rng_state(), state)
