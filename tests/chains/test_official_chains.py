"""Published experiments, from photos and official checkpoints to pseudo masks, against `oracle`.

Networks are taken as they are: trainings have no epochs. ResNet38 has an eighth of its channels,
which changes nothing in what follows it. Maps agree to the 16 bits with which they are stored.
Label maps agree in every pixel, but where two labels are equal to that precision. The CRF is
pydensecrf's on both sides, so its approximation cancels out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import oracle
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from official_files import (
    PHOTOS,
    centre_head,
    irn_boundary_state,
    irn_classifier_state,
    photo_of,
    resnet38_state,
    write_voc,
)

from wsss_lightning.cache.stage_cache import StageCache
from wsss_lightning.cli.check_networks import resolve_statistics
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.config.ranges import check_values
from wsss_lightning.config.splits import normalise_splits
from wsss_lightning.config.targets import check_targets
from wsss_lightning.data.scores import load_mask, load_score, load_strided
from wsss_lightning.nets import resnet38
from wsss_lightning.ops.affinity import confident_cells
from wsss_lightning.pipelines.base import runtime_of

pytest.importorskip("pydensecrf", reason="the reference CRF is an extra: wsss-lightning[crf]")

NARROW = 8  # times fewer channels of ResNet38
SIDE = 128  # that IRN's images are padded to; 512 in the official code
HALF_PART = 0.5 / 65_000  # of scores stored with 16 bits
EPS = 3e-5  # of single precision, accumulated
WALKED = HALF_PART + 3 * EPS
MARGINAL = 0.02  # of the CRF, which sees the logarithms of stored scores


@dataclass(frozen=True)
class Official:
    """What the scripts of one ResNet38 method do."""

    heads: dict[str, tuple[int, int]]
    network: Callable
    normalised: Callable
    powers: tuple[float, float]  # of the background in both CRFs
    alpha: float  # of the background in the walk
    squarings: int


def clipped(maps):
    """SEAM's scores; ours are cut off at zero, where pixels within 1e-5 of a minimum lie."""
    return np.maximum(oracle.stretched(maps), 0)


METHODS = {
    "cam_psa_voc2012": Official(
        {"fc8": (20, 512)}, oracle.cam_of("fc8"), oracle.divided_by_maximum, (4, 32), 16, 8
    ),
    "seam_voc2012": Official(
        {"fc8": (21, 512), "f8_3": (8, 64), "f8_4": (16, 128), "f9": (24, 27)},
        oracle.seam_refined,
        clipped,
        (4, 24),
        6,
        6,
    ),
    "sc_cam_voc2012": Official(
        {"fc8_20": (20, 512), "fc8_200": (200, 512)},
        oracle.cam_of("fc8_20"),
        oracle.divided_by_maximum,
        (4, 32),
        16,
        8,
    ),
}
# squeezed features of narrow networks
NARROW_WORDS = {
    "seam_voc2012": ["method.net.feature_channels=[8,16]", "method.net.embedding=24"],
}


@pytest.fixture
def narrow(monkeypatch):
    """ResNet38 with fewer channels."""
    for table in ("RESIDUAL", "BOTTLENECKS"):
        blocks = {
            name: tuple(n // NARROW if n >= 64 else n for n in shape)
            for name, shape in getattr(resnet38, table).items()
        }
        monkeypatch.setattr(resnet38, table, blocks)


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path / "voc")


@pytest.fixture
def chain(tmp_path, voc):
    """`chain(experiment, *words)`: the folder of a run up to its pseudo masks."""

    def call(*words: str):
        usual = [
            f"data.root={voc}",
            "data.train=train",
            "data.val=null",
            "benchmark.split=null",
            "pipeline.segment=false",
            "segmenter.net.backbone.pretrained=false",
            "fit.method.max_epochs=0",
            "refine.schedule.max_epochs=0",
            "refine.labels.parameters.engine=pydensecrf",
            "trainer=cpu",
            "workers=0",
            "num_previews=1",
        ]
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            cfg = compose("config", overrides=[*usual, *words])
        normalise_splits(cfg.data)
        check_values(cfg)
        check_targets(cfg)
        resolve_statistics(cfg)
        run = StageCache(tmp_path / "run", tmp_path / "stages", seed=0, runtime=runtime_of(cfg))
        instantiate(cfg.pipeline)(cfg, run)
        return run.folder

    return call


def saved(path, state):
    torch.save(state, path)
    return path


def assert_labels_vary(labels):
    """Equality of constant maps would say nothing."""
    _, counts = np.unique(labels, return_counts=True)
    assert len(counts) > 1
    assert np.sort(counts)[-2] > 0.02 * labels.size


def assert_same_mask(found, scores, tags):
    """The mask of these scores (k H W), but where the two highest are equal to our precision."""
    expected = oracle.named(scores.argmax(0), tags)
    second, first = np.sort(scores / scores.sum(0), axis=0)[-2:]
    differs = found != expected
    assert (first - second)[differs].max(initial=0) < 2 * WALKED
    assert differs.mean() < 1e-3
    return expected


@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_the_chain_of_a_resnet38_method_equals_the_official_one(name, narrow, voc, chain, tmp_path):
    official = METHODS[name]
    state = resnet38_state(**official.heads)
    first = np.asarray(photo_of(voc, next(iter(PHOTOS))))
    features = oracle.resnet38(oracle.normalised(first), state)[2]
    centre_head(state[f"{next(iter(official.heads))}.weight"], features)
    affinity = resnet38_state(f8_3=(8, 64), f8_4=(16, 128), f8_5=(32, 512), f9=(56, 56))
    affinity["f9.weight"] *= 3  # so that features differ from cell to cell
    folder = chain(
        f"experiment={name}",
        "backbone.weights=null",
        f"method.net.weights={saved(tmp_path / 'method.pth', state)}",
        f"refine.module.net.weights={saved(tmp_path / 'affinity.pth', affinity)}",
        "refine.module.net.feature_channels=[8,16,32]",
        "refine.crf=null",
        *NARROW_WORDS.get(name, []),
    )
    cells, masks = [], []
    for image, (_, tags) in PHOTOS.items():
        photo = photo_of(voc, image)
        pixels = np.asarray(photo)
        added = oracle.added_maps(photo, tags, state, official.network, (0.5, 1.0, 1.5, 2.0))
        scores = official.normalised(added)
        stored, keys = load_score(folder / f"seeds/train/{image}.npz")
        assert keys.tolist() == [tag + 1 for tag in tags]
        np.testing.assert_allclose(stored, scores, rtol=0, atol=HALF_PART + EPS)

        sides = [oracle.crf_of_scores(pixels, scores, power) for power in official.powers]
        ours = [
            load_score(folder / f"affinity/labels_{side}/{image}.npz")[0]
            for side in ("low", "high")
        ]
        for one, other in zip(ours, sides, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=MARGINAL)
        cells.append(oracle.psa_cell_labels(*sides))
        found = confident_cells(*map(torch.from_numpy, ours), stride=8)
        assert np.array_equal(found.numpy(), cells[-1])

        matrix = oracle.psa_affinity(oracle.psa_features(photo, affinity))
        walk = oracle.psa_walk(scores, matrix, official.alpha, 8, official.squarings)
        marginal, keys = load_score(folder / f"affinity/train/{image}.npz")
        assert keys.tolist() == [0, *(tag + 1 for tag in tags)]
        np.testing.assert_allclose(marginal, walk / walk.sum(0), rtol=0, atol=WALKED)
        masks.append(assert_same_mask(load_mask(folder / f"pseudo/{image}.png"), walk, tags))
    for maps in (cells, masks):
        assert_labels_vary(np.concatenate([labels.ravel() for labels in maps]))


@torch.no_grad()
def test_the_chain_of_irn_equals_the_official_one(voc, chain, tmp_path):
    classifier, boundary = irn_classifier_state(), irn_boundary_state()
    folder = chain(
        "experiment=cam_voc2012",
        "backbone.pretrained=false",
        f"method.net.weights={saved(tmp_path / 'cam.pth', classifier)}",
        f"refine.module.net.weights={saved(tmp_path / 'irn.pth', boundary)}",
        f"refine.module.net.least_size={SIDE}",
    )
    labels, masks = [], []
    for image, (size, tags) in PHOTOS.items():
        photo = photo_of(voc, image)
        strided, scores = oracle.irn_seeds(photo, tags, classifier, (1.0, 0.5, 1.5, 2.0))
        path = folder / f"seeds/train/{image}.npz"
        stored, keys = load_score(path)
        assert keys.tolist() == [tag + 1 for tag in tags]
        np.testing.assert_allclose(stored, scores, rtol=0, atol=HALF_PART + EPS)
        np.testing.assert_allclose(load_strided(path), strided, rtol=0, atol=EPS)

        labels.append(oracle.named(oracle.irn_labels(np.asarray(photo), scores, 0.3, 0.05), tags))
        # the CRF leaves ties of two labels, which rounding decides
        assert (load_mask(folder / f"irn/labels/{image}.png") != labels[-1]).mean() < 1e-3

        edge = oracle.irn_boundary(photo, boundary, SIDE)
        walk = oracle.irn_walk(strided, edge, oracle.irn_affinity(edge), size, 10, 8)
        full = np.concatenate([np.full((1, *size), 0.25), walk])
        marginal, _ = load_score(folder / f"irn/train/{image}.npz")
        np.testing.assert_allclose(marginal, full / full.sum(0), rtol=0, atol=WALKED)
        masks.append(assert_same_mask(load_mask(folder / f"pseudo/{image}.png"), full, tags))
    for maps in (labels, masks):
        assert_labels_vary(np.concatenate([one.ravel() for one in maps]))
