import math
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rates import RATES
from torch import nn
from torch.utils.data import DataLoader

from wsss_lightning.methods.segmentation.deeplab import DeepLabV2
from wsss_lightning.methods.segmentation.module import Segmenter, cross_entropy
from wsss_lightning.methods.segmentation.network import SegmentationNet
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


class Colours(nn.Module):
    """Logits are the image's colours: label 0 red, 1 green, 2 blue."""

    def __init__(self, num_classes):
        super().__init__()
        self.encoder, self.gain = nn.Identity(), nn.Parameter(torch.tensor(8.0))

    def forward(self, image):
        return self.gain * self.encoder(image)


class Constant(Colours):
    """The same logits everywhere, whatever the image."""

    def forward(self, image):
        return torch.tensor([1.0, -2.0, 0.5]).view(1, 3, 1, 1).expand_as(image)


def fake(net=Colours, scales=(1.0,), flip=False):
    made = Segmenter(net, 2, SGD, **RATES).eval()
    made.scales, made.flip = scales, flip
    return made


def batch(mask, image=None):
    image = torch.rand(len(mask), 3, *mask.shape[-2:]) if image is None else image
    return {"image": image, "mask": mask, "name": [str(i) for i in range(len(mask))]}


# the loss


def test_the_loss_is_the_mean_over_pixels_that_are_not_ignored():
    given = batch(torch.randint(0, 3, (2, 8, 9)))
    given["mask"][0, :4] = given["mask"][1, :, 5:] = IGNORE
    kept = given["mask"] != IGNORE
    logits = fake()(given["image"]).movedim(1, -1)[kept]
    expected = F.cross_entropy(logits, given["mask"][kept])
    torch.testing.assert_close(fake().training_step(given, 0), expected)


def test_what_lies_under_ignored_pixels_does_not_matter():
    given = batch(torch.randint(0, 3, (2, 8, 9)))
    given["mask"][:, 2:5] = IGNORE
    before = fake().training_step(given, 0)
    given["image"][:, :, 2:5] = torch.rand(2, 3, 3, 9)
    torch.testing.assert_close(fake().training_step(given, 0), before)


def test_a_batch_without_any_label_changes_nothing():
    method = fake()
    loss = method.training_step(batch(torch.full((2, 8, 9), IGNORE)), 0)
    loss.backward()
    assert loss == 0
    assert method.net.gain.grad == 0


class Outputs(Colours):
    """Three outputs: at the image's size, at a third of it, and at a quarter rounded up."""

    sizes = (24, 32), (8, 11), (6, 8)

    def training_logits(self, image):
        return [self(F.interpolate(image, size)) for size in self.sizes]


def test_losses_of_several_outputs_are_added_each_against_the_mask_at_its_size():
    given = batch(torch.randint(0, 3, (2, 24, 32)))
    given["mask"][0, :9] = IGNORE
    method, expected = fake(Outputs), 0.0
    for (height, width), logits in zip(
        Outputs.sizes, method.net.training_logits(given["image"]), strict=True
    ):
        # the pixel in whose square the centre of a cell lies, as Pillow has it
        rows = [int((i + 0.5) * 24 / height) for i in range(height)]
        columns = [int((j + 0.5) * 32 / width) for j in range(width)]
        mask = given["mask"][:, rows][:, :, columns]
        kept = mask != IGNORE
        probability = logits.softmax(1).movedim(1, -1)[kept].gather(1, mask[kept][:, None])
        expected = expected - probability.log().mean()
    torch.testing.assert_close(method.training_step(given, 0), expected)


@pytest.mark.parametrize("side", [41, 65])
def test_masks_get_the_size_of_maps_as_pillow_makes_it(side):
    mask = torch.randint(0, 21, (1, 321 if side == 41 else 513, 321 if side == 41 else 513))
    small = Image.fromarray(mask[0].numpy().astype(np.uint8)).resize(
        (side, side), Image.Resampling.NEAREST
    )
    labels = torch.from_numpy(np.array(small)).long()
    logits = 50.0 * F.one_hot(labels, 21).movedim(-1, 0)[None].float()
    assert cross_entropy(logits, mask) < 1e-6
    assert cross_entropy(logits.roll(1, -1), mask) > 1


def test_an_output_whose_cells_are_all_ignored_adds_nothing():
    given = batch(torch.full((1, 24, 32), IGNORE))
    given["mask"][0, 0, 0] = 1  # no cell of the smaller outputs takes it
    loss = fake(Outputs).training_step(given, 0)
    torch.testing.assert_close(loss, fake().training_step(given, 0))
    given["mask"][0, 0, 0] = IGNORE
    method = fake(Outputs)
    loss = method.training_step(given, 0)
    loss.backward()
    assert loss == 0
    assert method.net.gain.grad == 0


@pytest.mark.parametrize("labelled", [False, True])
def test_deeplab_v2_learns_from_crops_with_and_without_labels(labelled):
    chosen = Backbone("test_resnet", 8, False, None, None, [], {})
    net = partial(DeepLabV2, chosen, 8, [6, 12], [0.5, 0.75], 1e-3, False, None)
    method = Segmenter(net, 2, SGD, **{**RATES, "head_lr_multiplier": 10})
    given = batch(torch.full((2, 64, 64), 1 if labelled else IGNORE))
    loss = method.training_step(given, 0)
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
    method.scales, method.flip = (0.75, 1.0, 1.5), True
    with torch.no_grad():
        marginal = method.marginal(torch.rand(2, 3, *size))
    assert marginal.shape == (2, 3, *size)
    assert marginal.min() >= 0
    torch.testing.assert_close(marginal.sum(1), torch.ones(2, *size))


def test_one_scale_is_the_softmax_of_the_logits():
    image = torch.rand(2, 3, 20, 30)
    torch.testing.assert_close(fake().marginal(image), fake()(image).softmax(1))


@pytest.mark.parametrize("net", [Constant, Colours])
@pytest.mark.parametrize("scales", [(0.5,), (1.0,), (0.5, 1.0, 1.75)])
@pytest.mark.parametrize("flip", [False, True])
def test_scales_and_mirrors_do_not_matter_where_nothing_changes(net, scales, flip):
    image = torch.tensor([0.1, 0.9, 0.3]).view(1, 3, 1, 1).expand(1, 3, 41, 64)
    many = fake(net, scales, flip).marginal(image)
    torch.testing.assert_close(many, fake(net).marginal(image), atol=1e-5, rtol=1e-5)


def test_mirrors_are_laid_back_on_the_image():
    image = torch.rand(1, 3, 20, 30)  # a network that sees single pixels is the same mirrored
    torch.testing.assert_close(fake(flip=True).marginal(image), fake().marginal(image))


@pytest.mark.parametrize(("long_side", "scale"), [(20, 0.5), (40, 1.0), (60, 1.5)])
def test_a_longer_side_is_a_scale_of_its_own(long_side, scale):
    image = torch.rand(1, 3, 30, 40)
    sized = fake(scales=(1.0, 2.0))
    sized.long_side = long_side
    assert torch.equal(sized.marginal(image), fake(scales=(scale, 2 * scale)).marginal(image))


def test_logits_are_averaged_before_the_softmax():
    class Sided(Colours):
        """Reads the leftmost column only, so that the mirror image says something else."""

        def forward(self, image):
            return 4 * image[..., :1].expand_as(image)

    image = torch.rand(1, 3, 8, 9)
    mean = (4 * image[..., :1] + 4 * image[..., -1:]) / 2
    torch.testing.assert_close(
        fake(Sided, flip=True).marginal(image), mean.softmax(1).expand(1, 3, 8, 9)
    )


@given(
    sides=st.tuples(st.integers(40, 400), st.integers(40, 400)),
    scale=st.floats(0.2, 2.5),
    at=st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)),
    flip=st.booleans(),
    by_long_side=st.booleans(),
)
def test_an_edge_returns_to_where_it_was(sides, scale, at, flip, by_long_side):
    y, x = (round(side * share) for side, share in zip(sides, at, strict=True))
    image = torch.zeros(1, 3, *sides)
    image[:, 0], image[:, 1, y:], image[:, 2, :, x:] = 0.5, 1, 1
    method = fake(scales=(1.0,) if by_long_side else (scale,), flip=flip)
    method.long_side = round(scale * max(sides)) if by_long_side else None
    with torch.no_grad():
        marginal = method.marginal(image)[0]
    for label, edge, pixels in ((1, y, marginal[:, :, 0]), (2, x, marginal[:, 0])):
        found = int((pixels[0] > pixels[label]).sum())
        assert abs(found - edge) <= 1


# within Lightning


def trainer(**how):
    usual = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_epochs": 1,
    }
    return pl.Trainer(**{**usual, **how})


def test_validation_gives_the_miou_of_the_whole_split():
    # prediction, by colour, and truth: of label 0 2 of 3, of label 1 1 of 2, of label 2 none of 1
    labels = torch.tensor([[[0, 0, 1]], [[1, 2, 2]]])
    truth = torch.tensor([[[0, 0, 0]], [[1, IGNORE, 2]]])
    image = F.one_hot(labels, 3).movedim(-1, 1).float()
    loader = DataLoader(
        [batch(truth[i : i + 1], image[i : i + 1]) for i in range(2)], batch_size=None
    )
    method = fake()
    for _ in range(2):  # nothing is left over from the first time
        (metrics,) = trainer().validate(method, loader, verbose=False)
        assert metrics["val/miou"] == pytest.approx((2 / 3 + 1 / 2 + 1 / 1) / 3)


def test_prediction_gives_names_and_marginals():
    given = batch(torch.zeros(2, 33, 40, dtype=torch.int64))
    method = segmenter()
    (output,) = trainer().predict(method, DataLoader([given], batch_size=None))
    assert output["name"] == given["name"]
    method.eval()
    torch.testing.assert_close(output["marginal"], method.marginal(given["image"]).detach())
