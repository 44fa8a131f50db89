from functools import partial

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from facts import raises_naming
from hypothesis import given
from hypothesis import strategies as st
from rates import RATES
from torch import nn
from torch.utils.data import DataLoader

from wsss_lightning.methods.base import TagMethod, make_optimizer
from wsss_lightning.methods.cam.module import Classifier
from wsss_lightning.methods.cam.network import CamNet
from wsss_lightning.methods.cam_predictor import CamPredictor
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.methods.sc_cam.features import PooledFeatures
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.ops.resize import cells_to_image, resize_to

SGD = partial(torch.optim.SGD, lr=0.1, weight_decay=1e-4)
TAGS = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])


def classifier(stride=16):
    chosen = Backbone("test_resnet", stride, False, None, None, [], {})
    return Classifier(
        partial(CamNet, chosen, 0.0, "default", None), 4, SGD, **{**RATES, "head_lr_multiplier": 10}
    ).eval()


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    return classifier()


class ColourNet(nn.Module):
    """Its map is the mean of red and of green around each cell of `stride` pixels."""

    def __init__(self, num_classes, stride=16):
        super().__init__()
        assert num_classes == 2
        self.encoder, self.stride = nn.Identity(), stride

    def forward(self, image):
        # cell i is centred at pixel stride * i, as in padded convolutions
        size, half = 2 * (self.stride // 2) + 1, self.stride // 2
        return F.avg_pool2d(self.encoder(image), size, self.stride, half, count_include_pad=False)[
            :, :2
        ]


class ColourMethod(TagMethod):
    """A classifier of red and green that has nothing to learn."""

    def forward(self, image):
        return self.net(image).amax((-2, -1)) - 0.5

    def cam(self, image):
        return self.net(image)

    def training_step(self, batch, batch_idx):
        raise NotImplementedError


def colour_cams(stride=16, **settings):
    method = ColourMethod(partial(ColourNet, stride=stride), 2, SGD, **RATES)
    return CamPredictor(method, CamSettings(stride=stride, **settings))


def blob(size, centre, radius=9.0):
    """A red hill at (y, x), on green that rises to the right."""
    y, x = torch.meshgrid(*(torch.arange(float(side)) for side in size), indexing="ij")
    hill = torch.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * radius**2))
    return torch.stack([hill, x / size[1], torch.zeros(size)])[None]


def centre_of_mass(score):
    """(y, x), which neither averaging nor linear enlargement moves."""
    y, x = (torch.arange(float(side)) for side in score.shape)
    return torch.stack([(score.sum(1) * y).sum(), (score.sum(0) * x).sum()]) / score.sum()


BOTH = torch.ones(1, 2)

# scores


def test_maps_are_enlarged_to_the_image_and_normalised(method):
    cams = CamPredictor(method, CamSettings(stride=16))
    image = torch.rand(1, 3, 49, 65)  # stride * n + 1: not resized
    with torch.no_grad():
        score = cams.score(image, torch.ones(1, 4))
        cam = resize_to(method.cam(image).relu(), (49, 65))
    low, high = cam.amin((-2, -1), keepdim=True), cam.amax((-2, -1), keepdim=True)
    expected = torch.where(high > 0, (cam - low) / (high - low).clamp(min=1e-12), 0)
    torch.testing.assert_close(score, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("layer", [None, "encoder"])
def test_scores_lie_in_the_unit_interval_and_are_zero_without_a_tag(method, layer):
    cams = CamPredictor(method, CamSettings(scales=(0.5, 1.0), flip=True, layer=layer))
    score = cams.score(torch.rand(3, 3, 50, 70), TAGS)
    assert score.shape == (3, 4, 50, 70)
    assert score.min() >= 0
    assert score.max() < 1
    assert not score[TAGS == 0].any()
    assert score[TAGS == 1].any()


@pytest.mark.parametrize("layer", [None, "encoder"])
def test_images_without_any_tag_have_no_score(method, layer):
    cams = CamPredictor(method, CamSettings(layer=layer))
    score = cams.score(torch.rand(2, 3, 40, 40), torch.zeros(2, 4))
    assert score.shape == (2, 4, 40, 40)
    assert not score.any()


@pytest.mark.parametrize("layer", [None, "encoder"])
def test_an_image_has_the_same_score_alone_and_in_a_batch(method, layer):
    cams = CamPredictor(method, CamSettings(scales=(1.0, 1.5), flip=True, layer=layer))
    images = torch.rand(3, 3, 40, 50)
    together = cams.score(images, TAGS)
    for i in range(3):
        alone = cams.score(images[i : i + 1], TAGS[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("layer", [None, "encoder"])
def test_the_mirror_image_has_the_mirrored_score(method, layer):
    cams = CamPredictor(method, CamSettings(scales=(0.75, 1.0), flip=True, layer=layer))
    image = torch.rand(2, 3, 44, 60)
    score = cams.score(image, TAGS[[0, 2]])
    mirrored = cams.score(image.flip(-1), TAGS[[0, 2]])
    torch.testing.assert_close(mirrored.flip(-1), score, atol=1e-4, rtol=1e-3)


def test_without_flip_the_mirror_image_has_another_score(method):
    cams = CamPredictor(method, CamSettings())
    image = torch.rand(1, 3, 44, 60)
    score, mirrored = cams.score(image, TAGS[:1]), cams.score(image.flip(-1), TAGS[:1])
    assert not torch.allclose(mirrored.flip(-1), score, atol=1e-2)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("size", [(128, 128), (113, 97), (100, 150)])
@pytest.mark.parametrize("flip", [False, True])
def test_maps_do_not_shift_at_any_scale(scale, size, flip):
    for centre in ((40.0, 40.0), (60.0, 50.0), (50.0, 55.0)):
        score = colour_cams(scales=(scale,), flip=flip).score(blob(size, centre), BOTH)[0, 0]
        off = centre_of_mass(score) - torch.tensor(centre)
        # a tenth of a cell; without aligned corners it is up to a half, towards the borders
        assert off.abs().max() < 1.6 / min(scale, 1), off


@pytest.mark.parametrize(
    ("alignment", "stride", "low"),
    # half a cell at scale 1; over all scales, the mean of 1 / scale times that
    [("aligned", 16, 0.0), ("psa", 8, 3.5 * 25 / 24), ("irn", 16, 7.5 * 25 / 24)],
)
def test_official_alignments_shift_objects_down(alignment, stride, low):  # closed form
    cams = colour_cams(
        scales=(0.5, 1.0, 1.5, 2.0),
        flip=True,
        alignment=alignment,
        normalisation="max",
        stride=stride,
    )
    score = cams.score(blob((384, 512), (190.0, 250.0), radius=30.0), BOTH)[0, 0]
    off = centre_of_mass(score) - torch.tensor((190.0, 250.0))
    assert off.tolist() == pytest.approx([low, 0.0], abs=0.05)


@pytest.mark.parametrize("long_side", [161, 320, 801])
def test_maps_of_a_large_image_at_a_small_scale_do_not_shift(long_side):
    cams = colour_cams(scales=(1.0,), flip=True, long_side=long_side, stride=4)
    for x in (300.0, 1500.0, 2700.0):
        score = cams.score(blob((40, 3000), (20.0, x), radius=60.0), BOTH)[0, 0]
        assert abs(float(centre_of_mass(score)[1]) - x) < 1


@given(st.integers(60, 120), st.integers(60, 120), st.floats(0.4, 2.0))
def test_a_ramp_stays_a_ramp(height, width, scale):
    score = colour_cams(scales=(scale,)).score(blob((height, width), (20, 20)), BOTH)[0, 1]
    ramp = torch.linspace(0, 1, width).expand(height, width)
    inner = slice(width // 4, -(width // 4))  # cells at the ends average fewer pixels
    assert (score - ramp)[:, inner].abs().max() < 0.1


def test_scales_are_added():
    image = blob((97, 97), (40, 50))
    single = []
    for scale in (0.5, 1.0):
        method = colour_cams().method
        sides = (round(96 * scale) + 1,) * 2
        view = (
            image
            if scale == 1
            else F.interpolate(image, sides, mode="bicubic", antialias=True).clamp(0, 1)
        )
        single.append(cells_to_image(method.cam(view).relu(), sides, (97, 97), 16))
    total = single[0] + single[1]
    low, high = total.amin((-2, -1), keepdim=True), total.amax((-2, -1), keepdim=True)
    expected = (total - low) / (high - low)
    score = colour_cams(scales=(0.5, 1.0)).score(image, BOTH)
    torch.testing.assert_close(score, expected, atol=1e-3, rtol=0)


def input_sizes(cams, image):
    """Sizes of the images that the network processes."""
    sizes = []
    cams.method.net.encoder.register_forward_pre_hook(
        lambda _module, inputs: sizes.append(tuple(inputs[0].shape[-2:]))
    )
    cams.score(image, BOTH)
    return sizes


def test_images_are_resized_to_the_given_longer_side():
    cams = colour_cams(scales=(1.0, 2.0), long_side=96)
    assert input_sizes(cams, torch.rand(1, 3, 200, 400)) == [(49, 97), (97, 193)]


def test_without_a_longer_side_images_keep_their_size():
    assert input_sizes(colour_cams(stride=8), torch.rand(1, 3, 40, 64)) == [(41, 65)]


def test_predicted_tags_are_the_classes_that_are_more_likely_than_not():
    red, green = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    red[:, 0, :32], green[:, 1, :32] = 1, 1
    score = colour_cams(tags="predicted").score(torch.cat([red, green]), torch.zeros(2, 2))
    assert (score.flatten(2).amax(-1) > 0.5).tolist() == [[True, False], [False, True]]


def test_given_tags_are_scored_although_the_network_predicts_none():
    dim = blob((64, 64), (30, 30)) * 0.2  # below the threshold of a prediction
    assert colour_cams(tags="given").score(dim, BOTH)[0, 0].max() > 0.9
    assert not colour_cams(tags="predicted").score(dim, BOTH).any()


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"scales": ()}, ["scales", "[]"]),
        ({"scales": (1.0, 0.0)}, ["scales", "[1.0, 0.0]"]),
        ({"scales": (-1.0,)}, ["scales", "[-1.0]"]),
        ({"tags": "guessed"}, ["tags", "guessed", "given", "predicted"]),
        ({"long_side": 0}, ["long_side", 0]),
    ],
)
def test_settings_out_of_range_are_refused(settings, facts):
    with raises_naming(ValueError, *facts):
        CamSettings(**settings)


# Grad-CAM


@pytest.mark.parametrize("inference", [False, True])
def test_grad_cam_of_the_last_layer_is_the_cam_by_its_size(method, inference):
    cams = CamPredictor(method, CamSettings())
    with torch.inference_mode(inference):
        image, tags = torch.rand(3, 3, 49, 81), TAGS.clone()
        maps = cams.grad_cam(image, tags, "encoder")
        cam = method.cam(image).relu()
    assert maps.shape == (3, 4, 4, 6)
    expected = cam / (4 * 6) * tags[..., None, None]
    torch.testing.assert_close(maps.clone(), expected.clone())
    assert not maps.requires_grad


def test_grad_cam_leaves_no_gradients_or_hooks(method):
    CamPredictor(method, CamSettings()).grad_cam(torch.rand(3, 3, 33, 33), TAGS, "encoder")
    assert all(parameter.grad is None for parameter in method.parameters())
    assert not method.net.encoder._forward_hooks


def test_grad_cam_works_with_frozen_parameters(method):
    frozen = classifier()
    frozen.load_state_dict(method.state_dict())
    frozen.requires_grad_(False)
    image = torch.rand(3, 3, 33, 33)
    maps, expected = (
        CamPredictor(one, CamSettings()).grad_cam(image, TAGS, "encoder")
        for one in (frozen, method)
    )
    torch.testing.assert_close(maps, expected)


def test_grad_cam_of_an_earlier_layer_has_its_size(method):
    cams = CamPredictor(method, CamSettings())
    maps = cams.grad_cam(torch.rand(1, 3, 64, 64), TAGS[:1], "encoder.model.layer2")
    assert maps.shape == (1, 4, 8, 8)
    assert maps.min() >= 0


def test_a_misspelt_layer_is_answered_with_the_nearest(method):
    cams = CamPredictor(method, CamSettings())
    with raises_naming(ValueError, "layer", "encodr", "encoder"):
        cams.grad_cam(torch.rand(1, 3, 33, 33), TAGS[:1], "encodr")


class PooledNet(nn.Module):
    """A network whose head has vectors as output, and which does not use one of its layers."""

    def __init__(self, num_classes):
        super().__init__()
        self.encoder = nn.Conv2d(3, 5, 3, 2, 1)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(5, num_classes)
        self.idle = nn.Conv2d(3, 3, 1)

    def forward(self, image):
        return self.head(self.pool(self.encoder(image)).flatten(1))


@pytest.mark.parametrize(("layer", "output"), [("head", "(1, 4)"), ("idle", "nothing")])
def test_a_layer_without_maps_is_refused(layer, output):
    method = Classifier(PooledNet, 4, SGD, **{**RATES, "poly_power": 1.0}).eval()
    cams = CamPredictor(method, CamSettings())
    with raises_naming(ValueError, "layer", layer, output):
        cams.grad_cam(torch.rand(1, 3, 9, 9), TAGS[:1], layer)


# within Lightning


def batches(sizes=((40, 40), (33, 50))):
    batches = [
        {
            "image": torch.rand(3, 3, *size),
            "tags": TAGS,
            "name": [f"{i}_{j}" for j in range(3)],
        }
        for i, size in enumerate(sizes)
    ]
    return DataLoader(batches, batch_size=None)


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


@pytest.mark.parametrize("layer", [None, "encoder"])
def test_predictions_hold_names_and_scores(method, layer):
    cams = CamPredictor(method, CamSettings(layer=layer))
    loader = batches()
    outputs = trainer().predict(cams, loader)  # in inference mode, Lightning's own
    for batch, output in zip(loader, outputs, strict=True):
        assert output["name"] == batch["name"]
        torch.testing.assert_close(output["score"], cams.score(batch["image"], TAGS).detach())


def test_validation_logs_the_metrics_of_tags():
    method = colour_cams().method
    red, green = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    red[:, 0], green[:, 1] = 1, 1
    batch = {"image": torch.cat([red, green]), "tags": torch.eye(2), "name": ["r", "g"]}
    for _ in range(2):  # the metrics are reset
        (metrics,) = trainer().validate(method, DataLoader([batch], batch_size=None), verbose=False)
        assert metrics["val/map"] == metrics["val/f1"] == 1
        # logits are 0.5 and -0.5
        expected = F.binary_cross_entropy_with_logits(torch.eye(2) - 0.5, torch.eye(2))
        assert metrics["val/loss"] == pytest.approx(float(expected), rel=1e-5)


def test_the_head_has_a_higher_learning_rate_and_all_rates_decay_to_zero():
    method = classifier().train()
    fit = trainer(max_epochs=2)
    fit.fit(method, batches())
    (optimizer,) = fit.optimizers
    encoder = {id(p) for p in method.net.encoder.parameters()}
    for group in optimizer.param_groups:
        factor = 1 if id(group["params"][0]) in encoder else 10
        bias = 2 if group["weight_decay"] == 0 else 1
        assert group["initial_lr"] == pytest.approx(0.1 * factor * bias)
        assert group["lr"] == pytest.approx(0, abs=1e-9)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(method.parameters()))


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, partial(torch.optim.SGD, lr=0.1)])
def test_an_optimiser_needs_a_learning_rate_and_weight_decay(optimizer):
    method = classifier()
    method.optimizer = optimizer
    with raises_naming(ValueError, "lr", "weight_decay"):
        make_optimizer(method)


def test_the_base_class_is_abstract():
    with raises_naming(TypeError, "TagMethod"):
        TagMethod(ColourNet, 2, SGD, **RATES)


# features


def test_features_of_a_class_are_averaged_over_cells_near_the_maximum_of_its_cam(method):
    image = torch.rand(2, 3, 49, 65)
    with torch.no_grad():
        whole, near = (
            PooledFeatures(method, CamSettings(stride=16), None).pooled(image),
            PooledFeatures(method, CamSettings(stride=16), 0.7).pooled(image),
        )
        features, cam = method.net.features(image), method.cam(image)
    assert whole.shape == (2, 1, features.shape[1])
    torch.testing.assert_close(whole[:, 0], features.mean((-2, -1)))
    assert near.shape == (2, 4, features.shape[1])
    for i, c in [(0, 0), (1, 3)]:
        chosen = cam[i, c] >= cam[i, c].min() + 0.7 * (cam[i, c].max() - cam[i, c].min())
        assert 0 < chosen.sum() < chosen.numel()
        torch.testing.assert_close(near[i, c], features[i][:, chosen].mean(1))
    with torch.no_grad():
        everywhere = PooledFeatures(method, CamSettings(stride=16), 0.0).pooled(image)
        at_most = PooledFeatures(method, CamSettings(stride=16), 1.0).pooled(image)
    torch.testing.assert_close(everywhere, whole.expand(-1, 4, -1))
    best = cam[0, 0].flatten().argmax()
    torch.testing.assert_close(at_most[0, 0], features[0].flatten(1)[:, best])


def test_a_peak_of_one_selects_a_cell_of_any_map(method):
    with torch.no_grad():
        for seed in range(20):
            image = torch.rand(2, 3, 49, 65, generator=torch.Generator().manual_seed(seed))
            assert (
                PooledFeatures(method, CamSettings(stride=16), 1.0).pooled(image).isfinite().all()
            )
