"""What a run's scores become: objective, units of annotation, protocol and the printed table."""

from types import SimpleNamespace

import pytest
from facts import assert_names, assert_names_none
from hydra import compose, initialize_config_dir
from hydra.types import RunMode
from PIL import Image

from wsss_lightning.cli import checks
from wsss_lightning.cli.run import show_scores
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.config.splits import normalise_splits
from wsss_lightning.errors import InputError
from wsss_lightning.pipelines.base import refiner_steps, supervision_of
from wsss_lightning.results.annotation import count_annotation
from wsss_lightning.results.protocol import protocol_of
from wsss_lightning.results.schema import Splits
from wsss_lightning.steps.datasets import forget_splits
from wsss_lightning.steps.labels import declare_steps

IMAGES = {"train": 30, "val": 11}


@pytest.fixture
def root(tmp_path):
    """A data set of tagged images without any mask."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    rows = ["image,cat"]
    for split, count in IMAGES.items():
        names = [f"{split}_{i}" for i in range(count)]
        (tmp_path / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(names))
        for name in names:
            Image.new("RGB", (8, 8)).save(tmp_path / f"JPEGImages/{name}.png")
        rows += [f"{name},1" for name in names]
    (tmp_path / "tags.csv").write_text("\n".join(rows))
    return tmp_path


@pytest.fixture
def configured(root):
    """`configured(*words)`: configuration of an experiment on this data set."""

    def call(*words: str):
        own = ["data=voc_layout", f"data.root={root}", "data.name=mine", "data.num_classes=1"]
        own += ["data.dataset.classes=[cat]", "data.dataset.tags=tags.csv"]
        own += ["backbone.mean=[0,0,0]", "backbone.std=[1,1,1]"]
        if not any(word.startswith("experiment=") for word in words):
            own.append("experiment=cam")
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            cfg = compose("config", overrides=[*own, *words])
        normalise_splits(cfg.data)
        return cfg

    return call


def add_masks(root, split):
    for i in range(IMAGES[split]):
        Image.new("L", (8, 8)).save(root / f"SegmentationClass/{split}_{i}.png")


# masks of every tenth image, of the last split that has any
@pytest.mark.parametrize(
    ("masks", "words", "held_out"),
    [
        (["train", "val"], [], 2),
        (["val"], [], 2),
        (["train"], [], 3),
        ([], [], 0),
        (["train", "val"], ["data.val=null"], 3),
        (["val"], ["data.val=null"], 0),
        (["train", "val"], ["data.val=train"], 3),
        (["train", "val"], ["seeds.held_out=0"], 0),
        (["train", "val"], ["experiment=full_supervision", "data.val=null"], 0),
    ],
)
def test_held_out_masks_are_those_that_choose_a_threshold(configured, root, masks, words, held_out):
    for split in masks:
        add_masks(root, split)
    cfg = configured(*words)
    units = count_annotation(cfg, supervision_of(cfg.pipeline))
    assert units.held_out_masks == held_out
    assert units.tag_questions == units.images == IMAGES["train"]
    assert units.masks == (IMAGES["train"] if "experiment=full_supervision" in words else 0)


def test_a_sweep_maximises_val_and_nothing_where_there_is_none(configured):
    scores = {"segmentation/train/miou": 0.9, "segmentation/val/miou": 0.4}
    assert checks.objective(configured(), scores) == 0.4
    assert checks.objective(configured("data.val=train"), scores) == 0.9
    assert checks.objective(configured("data.val=null"), scores) is None


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["data.val=null"], ["data.val", "null"]),
        (["pipeline=seeds"], ["pipeline.segment", "false"]),
        ([], ["data.val", "val"]),
    ],
)
def test_a_sweeper_that_would_find_no_score_is_refused(configured, root, monkeypatch, words, facts):
    add_masks(root, "train")
    sweeper = SimpleNamespace(_target_="hydra_plugins.hydra_optuna_sweeper.OptunaSweeper")
    now = SimpleNamespace(mode=RunMode.MULTIRUN, sweeper=sweeper)
    monkeypatch.setattr(checks.HydraConfig, "get", lambda: now)
    with pytest.raises(InputError) as error:
        checks.check_objective(configured(*words))
    assert_names(error.value, "OptunaSweeper", *facts)

    add_masks(root, "val")
    forget_splits()
    checks.check_objective(configured())  # raises nothing
    sweeper._target_ = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
    checks.check_objective(configured(*words))  # a list of values needs no score


def protocol(cfg):
    return protocol_of(cfg, supervision_of(cfg.pipeline))


def test_the_protocol_says_that_there_is_no_validation_split(configured):
    assert protocol(configured("data.val=null")).splits == Splits("train", None)


def test_the_protocol_tells_true_masks_apart_whatever_is_learnt_from(configured, root):
    def digest(*words: str) -> str:
        forget_splits()
        return protocol(configured(*words)).true_masks_digest

    without = digest()
    add_masks(root, "train")
    assert digest() == digest("experiment=full_supervision") != without


def test_the_protocol_names_the_weights_that_each_network_begins_with(configured):
    own = ["+backbone@segmenter.net.backbone=resnet101", "segmenter.net.backbone.weights=a/b.pth"]
    weak = protocol(configured("backbone.weights=c/d.safetensors", *own))
    assert weak.initial_weights == "d.safetensors"
    assert weak.segmentation.initial_weights == "b.pth"
    whole = ["segmenter=deeplab_v2", "segmenter.net.weights=e/f.pth"]
    full = protocol(configured("experiment=full_supervision", *whole))
    assert full.initial_weights == full.segmentation.initial_weights == "f.pth"
    weak = protocol(configured("+backbone@segmenter.net.backbone=resnet18"))
    assert weak.segmentation.initial_weights == "random"


def test_the_protocol_tells_the_kernels_behind_the_segmentation_network(configured):
    def kernels(*words: str):
        return protocol(configured(*words)).segmentation.crf

    assert kernels() is None
    assert kernels("test.crf=true", "crf.theta_alpha=31")["theta_alpha"] == 31
    own = kernels("test.crf=true", "+crf@test_crf=deeplab_v1_segbase", "crf.theta_alpha=31")
    # lib/utils/DenseCRF.py of semantic-segmentation-codebase, and test.py behind SEAM
    assert (own["theta_alpha"], own["theta_beta"], own["w1"]) == (32, 13, 10)
    assert (own["theta_gamma"], own["w2"], own["iterations"]) == (3, 3, 1)


def printed(capsys, cfg, scores, tmp_path) -> str:
    show_scores(cfg, scores, {}, tmp_path)
    return capsys.readouterr().out


def test_the_table_has_a_column_for_each_split_that_is_read(configured, capsys, tmp_path):
    scores = {"segmentation/train/miou": 0.25}
    both = printed(capsys, configured(), scores, tmp_path)
    assert " val " in both
    assert_names_none(both, "validation split")
    alone = printed(capsys, configured("data.val=null"), scores, tmp_path)
    assert " val " not in alone
    assert_names(alone, "validation split")
    same = printed(capsys, configured("data.val=train"), scores, tmp_path)
    assert same.count(" train ") == 1
    assert same.count("25.0") == 1


def test_without_any_score_the_terminal_says_why_and_shows_no_table(configured, capsys, tmp_path):
    out = printed(capsys, configured("data.val=null"), {}, tmp_path)
    assert_names(out, "masks", "train")
    assert "│" not in out


def test_seeds_without_refinement_are_named_so(configured, capsys, tmp_path):
    cfg = configured("refine=none")
    declare_steps(refiner_steps(cfg))
    out = printed(capsys, cfg, {"none/train/miou": 0.5}, tmp_path)
    assert_names(out, "seeds", "refinement")
    assert "none" not in out


def test_names_that_look_like_markup_are_shown_as_they_are(configured, capsys, tmp_path):
    cfg = configured("name='[/x]'", "data.name='[b]y'")
    assert_names(printed(capsys, cfg, {"segmentation/val/miou": 0.5}, tmp_path), "[/x]", "[b]y")
