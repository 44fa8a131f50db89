import math
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from facts import raises_naming
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rates import RATES
from torch import nn
from torch.utils.data import DataLoader

from wsss_lightning.methods.segmentation.deeplab import DeepLabV2
from wsss_lightning.methods.segmentation.module import Segmenter, cross_entropy
from wsss_lightning.methods.segmentation.network import SegmentationNet
from wsss_lightning.methods.segmentation.predictor import (
    SegmentationPredictor,
    TestSettings,
    marginals,
)
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.ops.masks import IGNORE

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-4)


def segmenter(architecture="unet", optimizer=SGD):
    chosen = Backbone("test_resnet", 16, False, None, None, [], {})
    options = {
        "unet": {"decoder_channels": [8, 8, 8, 8, 8]},
        "deeplabv3plus": {"decoder_channels": 16},
        "fpn": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
    }[architecture]
    net = partial(SegmentationNet, chosen, architecture, options)
    return Segmenter(net, 2, optimizer, **RATES)


class ColourNet(nn.Module):
    """Logits are the colours of the image: label 0 red, 1 green, 2 blue."""

    def __init__(self, num_classes):
        super().__init__()
        self.encoder, self.gain = nn.Identity(), nn.Parameter(torch.tensor(8.0))

    def forward(self, image):
        return self.gain * self.encoder(image)


class ConstantNet(ColourNet):
    """The same logits at every pixel of every image."""

    def forward(self, image):
        return torch.tensor([1.0, -2.0, 0.5]).view(1, 3, 1, 1).expand_as(image)


def fake(net=ColourNet):
    return Segmenter(net, 2, SGD, **RATES).eval()


def make_batch(mask, image=None):
    image = torch.rand(len(mask), 3, *mask.shape[-2:]) if image is None else image
    return {"image": image, "mask": mask, "name": [str(i) for i in range(len(mask))]}


# the loss


def test_the_loss_is_the_mean_over_pixels_that_are_not_ignored():
    batch = make_batch(torch.randint(0, 3, (2, 8, 9)))
    batch["mask"][0, :4] = batch["mask"][1, :, 5:] = IGNORE
    kept = batch["mask"] != IGNORE
    logits = fake()(batch["image"]).movedim(1, -1)[kept]
    expected = F.cross_entropy(logits, batch["mask"][kept])
    torch.testing.assert_close(fake().training_step(batch, 0), expected)


def test_ignored_pixels_do_not_matter():
    batch = make_batch(torch.randint(0, 3, (2, 8, 9)))
    batch["mask"][:, 2:5] = IGNORE
    before = fake().training_step(batch, 0)
    batch["image"][:, :, 2:5] = torch.rand(2, 3, 3, 9)
    torch.testing.assert_close(fake().training_step(batch, 0), before)


def test_a_batch_without_labels_has_no_loss_and_no_gradient():
    method = fake()
    loss = method.training_step(make_batch(torch.full((2, 8, 9), IGNORE)), 0)
    loss.backward()
    assert loss == 0
    assert method.net.gain.grad == 0


class MultiScaleNet(ColourNet):
    """Three outputs: at the image's size, at a third of it, and at a quarter rounded up."""

    sizes = (24, 32), (8, 11), (6, 8)

    def training_logits(self, image):
        return [self(F.interpolate(image, size)) for size in self.sizes]


def test_losses_of_outputs_are_added_with_the_mask_at_the_size_of_each():
    batch = make_batch(torch.randint(0, 3, (2, 24, 32)))
    batch["mask"][0, :9] = IGNORE
    method, expected = fake(MultiScaleNet), 0.0
    for (height, width), logits in zip(
        MultiScaleNet.sizes, method.net.training_logits(batch["image"]), strict=True
    ):
        # the pixel in whose square the centre of a cell lies, as Pillow has it
        rows = [int((i + 0.5) * 24 / height) for i in range(height)]
        columns = [int((j + 0.5) * 32 / width) for j in range(width)]
        mask = batch["mask"][:, rows][:, :, columns]
        kept = mask != IGNORE
        probability = logits.softmax(1).movedim(1, -1)[kept].gather(1, mask[kept][:, None])
        expected = expected - probability.log().mean()
    torch.testing.assert_close(method.training_step(batch, 0), expected)


@pytest.mark.parametrize("side", [41, 65])
def test_masks_are_resized_as_by_pillow(side):
    mask = torch.randint(0, 21, (1, 321 if side == 41 else 513, 321 if side == 41 else 513))
    small = Image.fromarray(mask[0].numpy().astype(np.uint8)).resize(
        (side, side), Image.Resampling.NEAREST
    )
    labels = torch.from_numpy(np.array(small)).long()
    logits = 50.0 * F.one_hot(labels, 21).movedim(-1, 0)[None].float()
    assert cross_entropy(logits, mask) < 1e-6
    assert cross_entropy(logits.roll(1, -1), mask) > 1


def test_an_output_of_ignored_cells_has_no_loss():
    batch = make_batch(torch.full((1, 24, 32), IGNORE))
    batch["mask"][0, 0, 0] = 1  # no cell of the smaller outputs takes it
    loss = fake(MultiScaleNet).training_step(batch, 0)
    torch.testing.assert_close(loss, fake().training_step(batch, 0))
    batch["mask"][0, 0, 0] = IGNORE
    method = fake(MultiScaleNet)
    loss = method.training_step(batch, 0)
    loss.backward()
    assert loss == 0
    assert method.net.gain.grad == 0


@pytest.mark.parametrize("labelled", [False, True])
def test_deeplab_v2_learns_from_crops_with_and_without_labels(labelled):
    chosen = Backbone("test_resnet", 8, False, None, None, [], {})
    net = partial(DeepLabV2, chosen, 8, [6, 12], [0.5, 0.75], 1e-3, False, None)
    method = Segmenter(net, 2, SGD, **{**RATES, "head_lr_multiplier": 10})
    batch = make_batch(torch.full((2, 64, 64), 1 if labelled else IGNORE))
    loss = method.training_step(batch, 0)
    loss.backward()
    gradients = [p.grad for p in method.net.parameters() if p.requires_grad]
    assert loss.isfinite()
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert any(g.any() for g in gradients) == labelled
    # of four outputs, each of logits that are nearly equal
    assert loss.item() == pytest.approx(4 * math.log(3) if labelled else 0, abs=0.5)


# marginals


@pytest.mark.parametrize("architecture", ["unet", "deeplabv3plus", "fpn"])
@pytest.mark.parametrize("size", [(64, 64), (37, 50)])
def test_marginals_sum_to_one_for_images_of_any_size(architecture, size):
    method = segmenter(architecture).eval()
    settings = TestSettings(scales=(0.75, 1.0, 1.5), flip=True)
    with torch.no_grad():
        marginal = marginals(method, torch.rand(2, 3, *size), settings)
    assert marginal.shape == (2, 3, *size)
    assert marginal.min() >= 0
    torch.testing.assert_close(marginal.sum(1), torch.ones(2, *size))


def test_one_scale_is_the_softmax_of_the_logits():
    image = torch.rand(2, 3, 20, 30)
    marginal = marginals(fake(), image, TestSettings())
    torch.testing.assert_close(marginal, fake()(image).softmax(1))


@pytest.mark.parametrize("net", [ConstantNet, ColourNet])
@pytest.mark.parametrize("scales", [(0.5,), (1.0,), (0.5, 1.0, 1.75)])
@pytest.mark.parametrize("flip", [False, True])
def test_scales_and_mirror_images_of_a_uniform_image_change_nothing(net, scales, flip):
    image = torch.tensor([0.1, 0.9, 0.3]).view(1, 3, 1, 1).expand(1, 3, 41, 64)
    many = marginals(fake(net), image, TestSettings(scales, flip))
    single = marginals(fake(net), image, TestSettings())
    torch.testing.assert_close(many, single, atol=1e-5, rtol=1e-5)


def test_predictions_of_mirror_images_are_mirrored_back():
    image = torch.rand(1, 3, 20, 30)  # a network of single pixels is equivariant to mirroring
    flipped = marginals(fake(), image, TestSettings(flip=True))
    torch.testing.assert_close(flipped, marginals(fake(), image, TestSettings()))


@pytest.mark.parametrize(("long_side", "scale"), [(20, 0.5), (40, 1.0), (60, 1.5)])
def test_a_longer_side_is_equivalent_to_a_scale(long_side, scale):
    image = torch.rand(1, 3, 30, 40)
    by_side = TestSettings(scales=(1.0, 2.0), long_side=long_side)
    by_scale = TestSettings(scales=(scale, 2 * scale))
    assert torch.equal(marginals(fake(), image, by_side), marginals(fake(), image, by_scale))


def test_logits_are_averaged_before_the_softmax():
    class LeftColumnNet(ColourNet):
        """Reads only the leftmost column, so that the mirror image has other logits."""

        def forward(self, image):
            return 4 * image[..., :1].expand_as(image)

    image = torch.rand(1, 3, 8, 9)
    mean = (4 * image[..., :1] + 4 * image[..., -1:]) / 2
    marginal = marginals(fake(LeftColumnNet), image, TestSettings(flip=True))
    torch.testing.assert_close(marginal, mean.softmax(1).expand(1, 3, 8, 9))


@given(
    sides=st.tuples(st.integers(40, 400), st.integers(40, 400)),
    scale=st.floats(0.2, 2.5),
    at=st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)),
    flip=st.booleans(),
    by_long_side=st.booleans(),
)
def test_edges_do_not_shift(sides, scale, at, flip, by_long_side):
    y, x = (round(side * share) for side, share in zip(sides, at, strict=True))
    image = torch.zeros(1, 3, *sides)
    image[:, 0], image[:, 1, y:], image[:, 2, :, x:] = 0.5, 1, 1
    if by_long_side:
        settings = TestSettings(flip=flip, long_side=round(scale * max(sides)))
    else:
        settings = TestSettings((scale,), flip)
    with torch.no_grad():
        marginal = marginals(fake(), image, settings)[0]
    for label, edge, pixels in ((1, y, marginal[:, :, 0]), (2, x, marginal[:, 0])):
        predicted_edge = int((pixels[0] > pixels[label]).sum())
        assert abs(predicted_edge - edge) <= 1


# within Lightning


def trainer(**arguments):
    defaults = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_epochs": 1,
    }
    return pl.Trainer(**{**defaults, **arguments})


def test_validation_gives_the_miou_of_the_whole_split():
    # prediction, by colour, and truth: of label 0 2 of 3, of label 1 1 of 2, of label 2 none of 1
    labels = torch.tensor([[[0, 0, 1]], [[1, 2, 2]]])
    truth = torch.tensor([[[0, 0, 0]], [[1, IGNORE, 2]]])
    image = F.one_hot(labels, 3).movedim(-1, 1).float()
    loader = DataLoader(
        [make_batch(truth[i : i + 1], image[i : i + 1]) for i in range(2)], batch_size=None
    )
    method = fake()
    for _ in range(2):  # nothing is left over from the first time
        (metrics,) = trainer().validate(method, loader, verbose=False)
        assert metrics["val/miou"] == pytest.approx((2 / 3 + 1 / 2 + 1 / 1) / 3)


def test_prediction_gives_names_and_marginals():
    batch = make_batch(torch.zeros(2, 33, 40, dtype=torch.int64))
    method = segmenter()
    settings = TestSettings(scales=(1.0, 1.5), flip=True)
    predictor = SegmentationPredictor(method, settings)
    (output,) = trainer().predict(predictor, DataLoader([batch], batch_size=None))
    assert output["name"] == batch["name"]
    expected = marginals(method.eval(), batch["image"], settings).detach()
    torch.testing.assert_close(output["marginal"], expected)


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"scales": ()}, ["scales", "[]"]),
        ({"scales": (1.0, 0.0)}, ["scales", "[1.0, 0.0]"]),
        ({"long_side": 0}, ["long_side", 0]),
    ],
)
def test_settings_out_of_range_are_refused(settings, facts):
    with raises_naming(ValueError, *facts):
        TestSettings(**settings)
