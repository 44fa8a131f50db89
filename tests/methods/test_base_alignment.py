"""Score maps against a plain re-implementation of the official inference loops."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from facts import raises_naming
from PIL import Image
from rates import RATES

from wsss_lightning.methods.cam.module import Classifier
from wsss_lightning.methods.cam.network import CamNet
from wsss_lightning.methods.cam_predictor import CamPredictor
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.methods.sc_cam.module import SCCAM
from wsss_lightning.methods.sc_cam.network import SubCamNet
from wsss_lightning.methods.seam.module import SEAM
from wsss_lightning.methods.seam.network import SeamNet
from wsss_lightning.nets.backbones import Backbone

SGD = partial(torch.optim.SGD, lr=0.1, weight_decay=1e-4)
SCALES = (1.0, 0.5, 1.5, 2.0)
SIZES = [(75, 100), (113, 90)]
TAGS = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]])


def classifier(stride):
    torch.manual_seed(stride)
    backbone = Backbone("test_resnet", stride, False, None, None, [], {})
    return Classifier(partial(CamNet, backbone, 0.0, "default", None), 4, SGD, **RATES).eval()


def photos(size, count=2):
    """Smooth images of 8 bits, as (H W 3) and as float tensors (n 3 H W)."""
    rng = np.random.default_rng(sum(size))
    small = rng.integers(0, 256, (count, size[0] // 9, size[1] // 9, 3), np.uint8)
    pixels = [np.asarray(Image.fromarray(one).resize(size[::-1])) for one in small]
    return pixels, torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255


def official_views(pixels, scales, flip=True):
    """Views of an image, each followed by its mirror image, as in the official loaders."""
    views = []
    for scale in scales:
        height, width = (int(np.round(side * scale)) for side in pixels.shape[:2])
        view = np.asarray(Image.fromarray(pixels).resize((width, height), Image.BICUBIC))
        view = np.ascontiguousarray(np.transpose(view, (2, 0, 1)), np.float32) / 255
        views += [view, np.flip(view, -1).copy()] if flip else [view]
    return [torch.from_numpy(view)[None] for view in views]


def enlarged(maps, size):
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)[0].numpy()


def by_max(total):
    return total / (total.max((1, 2), keepdims=True) + 1e-5)


def psa_loop(cam, pixels, flip=True, scales=SCALES):
    """Sum of the maps over all views, each enlarged on its own and mirrored back."""
    total = 0
    for i, view in enumerate(official_views(pixels, scales, flip)):
        one = enlarged(cam(view).relu(), pixels.shape[:2])
        total = total + (one[..., ::-1] if flip and i % 2 else one)
    return total


def irn_loop(cam, pixels):
    """The enlarged and the strided CAM, both normalised."""
    height, width = pixels.shape[:2]
    up = [((side - 1) // 16 + 1) * 16 for side in (height, width)]
    cells = [(side - 1) // 4 + 1 for side in (height, width)]
    views = official_views(pixels, SCALES)
    large = strided = 0
    for view, mirrored in zip(views[::2], views[1::2], strict=True):
        maps = cam(view).relu() + cam(mirrored).relu().flip(-1)
        large = large + enlarged(maps, up)[:, :height, :width]
        strided = strided + enlarged(maps, cells)
    return by_max(large), by_max(strided)


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_scores_equal_those_of_the_loop_of_psa(size, stride):
    method, (pixels, image) = classifier(stride), photos(size)
    cams = CamPredictor(
        method,
        CamSettings(scales=SCALES, flip=True, alignment="psa", normalisation="max", stride=stride),
    )
    score = cams.score(image, TAGS)  # two images at a time
    for i, one in enumerate(pixels):
        expected = torch.from_numpy(by_max(psa_loop(method.cam, one))) * TAGS[i, :, None, None]
        torch.testing.assert_close(score[i], expected, rtol=0, atol=1e-5)
    assert (score[TAGS == 1].amax((-2, -1)) > 0.99).sum() >= 3


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_scores_and_strided_cams_equal_those_of_the_loop_of_irn(size, stride):
    method, (pixels, image) = classifier(stride), photos(size)
    cams = CamPredictor(
        method,
        CamSettings(scales=SCALES, flip=True, alignment="irn", normalisation="max", stride=stride),
    )
    result = cams.predict_step({"image": image, "tags": TAGS, "name": ["a", "b"]}, 0)
    for i, one in enumerate(pixels):
        for name, maps in zip(("score", "strided"), irn_loop(method.cam, one), strict=True):
            expected = torch.from_numpy(maps) * TAGS[i, :, None, None]
            torch.testing.assert_close(result[name][i], expected, rtol=0, atol=1e-5)
    assert result["strided"].shape[-2:] == (-(-size[0] // 4), -(-size[1] // 4))


@torch.no_grad()
def test_scores_of_seam_are_enlarged_twice_as_in_its_loop():
    torch.manual_seed(0)
    backbone = Backbone("test_resnet", 8, False, None, None, [], {})
    net = partial(SeamNet, backbone, 0.0, [-3, -2], [4, 4], 8, 256, None)
    losses = {"min_pooling_weight": 1, "er_weight": 1, "ecr_weight": 1, "hard_fraction": 0.2}
    method = SEAM(net, 4, SGD, **RATES, scale=0.3, **losses).eval()
    cams = CamPredictor(method, CamSettings(scales=SCALES, flip=True, alignment="psa", stride=8))
    (pixels, *_), image = photos(SIZES[0])

    def large(view):  # the official network enlarges its map to its input, corners aligned
        maps = method.cam(view)
        return F.interpolate(maps, view.shape[-2:], mode="bilinear", align_corners=True)

    total = psa_loop(large, pixels)
    low, high = total.min((1, 2), keepdims=True), total.max((1, 2), keepdims=True)
    kept = np.where(total < low + 1e-5, 0, total)
    # at the minimum the official code is below zero, this one at zero
    expected = torch.from_numpy(((kept - low - 1e-5) / (high - low + 1e-5)).clip(0))
    score = cams.score(image[:1], torch.ones(1, 4))[0]
    torch.testing.assert_close(score, expected.float(), rtol=0, atol=1e-5)


@torch.no_grad()
def test_sub_maps_equal_those_of_the_loop_of_sc_cam():
    torch.manual_seed(0)
    backbone = Backbone("test_resnet", 8, False, None, None, [], {})
    net = partial(SubCamNet, backbone, 0.0, "xavier", 3, None)
    method = SCCAM(net, 4, SGD, **RATES, sub_weight=5.0).eval()
    (pixels, *_), image = photos(SIZES[0])
    cams = CamPredictor(
        method,
        CamSettings(
            scales=SCALES, flip=True, sub_maps=True, alignment="psa", normalisation="max", stride=8
        ),
    )
    score = cams.score(image[:1], torch.ones(1, 4))[0]
    total = psa_loop(method.sub_cam, pixels).reshape(4, 3, *SIZES[0])
    expected = [(maps / (maps.max() + 1e-5)).max(0) for maps in total]
    torch.testing.assert_close(score, torch.from_numpy(np.stack(expected)), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_longer_side_scales_official_views():
    method, (pixels, image) = classifier(16), photos((75, 100))
    cams = CamPredictor(
        method,
        CamSettings(
            scales=(0.5, 1.0), long_side=64, flip=False, alignment="psa", normalisation="max"
        ),
    )
    expected = by_max(psa_loop(method.cam, pixels[0], flip=False, scales=(0.32, 0.64)))
    score = cams.score(image[:1], torch.ones(1, 4))[0]
    torch.testing.assert_close(score, torch.from_numpy(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("alignment", ["irn", "psa"])
def test_grad_cam_of_the_encoder_is_the_cam_in_official_alignments_too(alignment):
    method, (_, image) = classifier(16), photos((75, 100))
    # all cells of a view contribute equally to its logit, so maps of one scale differ by a factor
    settings = {"scales": (1.0,), "flip": True, "alignment": alignment, "normalisation": "max"}
    cams = CamPredictor(method, CamSettings(**settings))
    with torch.no_grad():
        cam = cams.scores(image, TAGS)
    cams = CamPredictor(method, CamSettings(**settings, layer="encoder"))
    grad = cams.scores(image, TAGS)
    assert cam.keys() == grad.keys()
    for name in cam:
        # 1e-5 in the normalisation matters more for smaller maps
        first, second = (by_max(maps[name][0, [0, 2]].numpy()) for maps in (grad, cam))
        np.testing.assert_allclose(first, second, atol=1e-4)
        assert second.max() > 0.9


@torch.no_grad()
def test_predicted_tags_are_those_of_the_official_view():
    method, (pixels, image) = classifier(16), photos((75, 100))
    cams = CamPredictor(
        method, CamSettings(scales=(1.0,), tags="predicted", long_side=50, alignment="psa")
    )
    (view,) = official_views(pixels[0], (0.5,), flip=False)
    calls = []
    handle = method.net.register_forward_hook(lambda *args: calls.append((args[1][0], args[2])))
    score = cams.score(image[:1], torch.zeros(1, 4))[0]
    handle.remove()
    ((image_of_view, logits),) = calls
    torch.testing.assert_close(image_of_view, view, rtol=0, atol=1e-6)
    likely = logits[0] > 0
    assert 0 < likely.sum() < 4
    assert not score[~likely].any()
    assert score[likely].any()


@pytest.mark.parametrize("alignment", ["irn", "psa"])
def test_images_without_tags_have_no_score_in_official_alignments(alignment):
    method = classifier(16)
    cams = CamPredictor(method, CamSettings(alignment=alignment))
    result = cams.scores(torch.rand(2, 3, 40, 50), torch.zeros(2, 4))
    assert result["score"].shape == (2, 4, 40, 50)
    assert all(not maps.any() for maps in result.values())
    assert ("strided" in result) == (alignment == "irn")


@torch.no_grad()
def test_aligned_maps_can_be_normalised_by_their_maximum():
    method, (_, image) = classifier(16), photos((65, 97), count=1)
    method.net.head.weight.abs_()  # features are positive, so the minimum of a map is not zero
    cams = CamPredictor(method, CamSettings(normalisation="max"))
    score = cams.score(image, torch.ones(1, 4))
    cams = CamPredictor(method, CamSettings(normalisation="min_max"))
    stretched = cams.score(image, torch.ones(1, 4))
    low = score.amin((-2, -1), keepdim=True)
    torch.testing.assert_close(stretched, (score - low) / (1 - low), rtol=0, atol=1e-3)
    assert low.max() > 0.01


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"alignment": "seam"}, ["alignment", "seam", "aligned", "irn", "psa"]),
        ({"normalisation": "sum"}, ["normalisation", "sum", "min_max", "max"]),
    ],
)
def test_an_unknown_alignment_or_normalisation_is_refused(settings, facts):
    with raises_naming(ValueError, *facts):
        CamSettings(**settings)
