"""Whole commands, as a user types them: what they leave behind, and how they answer slips."""

import csv
import json
import re
import shutil
from dataclasses import fields

import numpy as np
import pytest
from bad_input import edit
from commands import CACHED, DONE, MINE, SMALL, TINY, kill_when, start, there, write_coco
from facts import assert_names
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from wsss_lightning.cli.options import options
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.data.coco import Split, write_voc_layout
from wsss_lightning.results.schema import Results

pytestmark = pytest.mark.slow

WEAK = {
    "classifier/val/map",
    "seeds/train/miou",
    "seeds/train/miou_held_out",
    "seeds/train/miou_oracle",
    "crf/train/miou",
    "pseudo/train/miou",
}
PUBLISHED = ("_voc2012", "_coco2014")
EXPERIMENTS = [name for name in options("experiment") if not name.endswith(PUBLISHED)]
RECIPES = [name for name in options("experiment") if name.endswith(PUBLISHED)]


def on_generated_data(experiment: str) -> bool:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("config", overrides=[f"experiment={experiment}"])
    return "generate" in cfg.data


def composed(experiment: str) -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides=[f"experiment={experiment}"])


def few_rounds(experiment: str) -> list[str]:
    """Words that keep an experiment of rounds small."""
    cfg = composed(experiment)
    words = []
    if cfg.pipeline.get("stop_epochs"):
        words += ["pipeline.stop_epochs=[1,1]", "pipeline.first_schedule.max_epochs=1"]
        words += ["pipeline.first_schedule.crop_size=64", "pipeline.first_schedule.batch_size=2"]
    if cfg.pipeline.get("rounds"):
        words.append("pipeline.rounds=2")
    if "epochs" in cfg.pipeline:
        words.append("pipeline.epochs=1")
    if "runs" in cfg.box_labels:
        words += ["box_labels.runs=3"]
    return words


def check_contract(run, experiment: str) -> None:
    """Check the content of `results.json`, the previews, and the score table."""
    results, scores = run.results, run.scores
    assert list(results) == [
        "schema",
        *(field.name for field in fields(Results)),
    ]
    assert results["experiment"] == experiment
    assert results["seed"] == 0
    wanted = {"segmentation/val/miou"}
    if results["supervision"] == "tags":
        wanted |= WEAK
    assert wanted <= set(scores)
    # agreement and silhouettes of clusters and rank correlations may lie below 0
    signed = {key for key in scores if "clusters/" in key or "/spearman" in key}
    least = {key: -1 if key in signed else 0 for key in scores}
    assert all(isinstance(value, float) for value in scores.values())
    assert all(least[key] <= value <= 1 for key, value in scores.items())
    assert all(re.fullmatch(r"(round_\d+/)?\w+/\w+/\w+", key) for key in scores)
    assert "torch" in results["versions"]
    assert set(results["seconds"]) >= {"segmentation", "predictions/val"}
    for split in ("train", "val"):
        (image_grid,) = (run.folder / "pictures" / split).glob("*.png")
        with Image.open(image_grid) as picture:
            assert min(picture.size) > 100
    assert_names(run.out, experiment, results["data"], "seed 0", near=100)
    assert_names(run.out, f"{100 * scores['segmentation/val/miou']:.1f}")
    assert str(run.folder.relative_to(run.cwd)) in run.out


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name != "cam"])
def test_every_experiment_ends_in_scores_and_pictures(here, voc, mine, experiment):
    words = TINY if on_generated_data(experiment) else mine[1:]
    few = few_rounds(experiment)
    check_contract(here(f"experiment={experiment}", *words, *few), experiment)


@pytest.mark.long
def test_a_repeated_command_does_nothing_again(tmp_path, here):
    first = there("experiment=cam", *TINY, folder=tmp_path)
    check_contract(first, "cam")
    assert not list(first.folder.glob("*.log"))
    assert first.stages(DONE)
    before = (first.folder / "results.json").read_bytes()
    again = here("experiment=cam", *TINY)
    assert again.folder == first.folder
    assert not again.stages(DONE)
    assert len(again.stages(CACHED)) == len(again.results["seconds"])
    assert (again.folder / "results.json").read_bytes() == before


def test_a_killed_run_repeated_has_the_scores_of_an_unbroken_one(tmp_path, here):
    words = ("experiment=cam", *TINY, "fit.method.max_epochs=6")
    killed, stages = tmp_path / "killed", tmp_path / "killed/runs/stages"
    kill_when(start(*words, folder=killed), stages, "train-*.partial/last.ckpt")
    assert not list(stages.glob("train-*/stage.json"))  # amid training
    kill_when(start(*words, folder=killed), stages, "cams-*")  # behind it
    assert not list(killed.rglob("results.json"))
    resumed = here(*words, folder=killed)
    assert "classifier" in resumed.stages(CACHED)
    unbroken = here(*words, folder=tmp_path / "unbroken")
    assert resumed.scores == unbroken.scores


@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_loggers_beside_csv_are_a_word_away_and_need_no_account(here, monkeypatch, logger):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    often = ("fit.segmenter.batch_size=4", "fit.segmenter.max_epochs=4")  # every tenth step counts
    run = here("experiment=full_supervision", *TINY, *often, f"logger={logger}")
    logs = run.folder / "segmentation"
    assert "train/" in next((logs / "csv").rglob("metrics.csv")).read_text()
    pattern = {"tensorboard": "tensorboard/**/events.*", "wandb": "wandb/offline-run-*/*.wandb"}
    assert list(logs.glob(pattern[logger]))
    if logger == "wandb":  # a training that goes on goes on in this run
        number = (logs / "wandb_run.txt").read_text()
        (made,) = logs.glob("wandb/offline-run-*")
        assert made.name.endswith(f"-{number}")


def test_pascal_voc_is_read_as_it_comes(here, voc):
    run = here("experiment=cam", "data=voc2012", f"data.root={voc}", *SMALL, "recipe=cam_voc2012")
    check_contract(run, "cam")
    assert run.results["data"] == "voc2012"
    assert run.results["protocol"]["tags_source"] == "xml"
    # a run that names a published one is compared with it
    assert_names(run.out, "published", "cam_voc2012", near=100)
    assert run.results["recipe"]["name"] == "cam_voc2012"
    keys = [difference["key"] for difference in run.results["recipe"]["differences"]]
    assert "fit.method.batch_size" in keys


@pytest.mark.long
@pytest.mark.parametrize("experiment", RECIPES)
def test_published_recipes_run_on_small_data_in_their_layout(here, voc, tmp_path, experiment):
    if experiment.endswith("coco2014"):
        pytest.importorskip("pycocotools", reason="an extra: wsss-lightning[coco]")
        coco, root = write_coco(tmp_path / "coco"), tmp_path / "layout"
        write_voc_layout(
            {
                split: Split(
                    coco / f"annotations/instances_{split}2014.json", coco / f"{split}2014"
                )
                for split in ("train", "val")
            },
            root,
        )
    else:
        root = voc
        lists = voc / "ImageSets/Segmentation"
        shutil.copy(lists / "train.txt", lists / "train_aug.txt")
        shutil.copytree(voc / "SegmentationClass", voc / "SegmentationClassAug")
    # networks of a size for this machine; all else is as the recipe has it
    cfg = composed(experiment)
    small_network = ["name=resnet18", "output_stride=16", "frozen=[]"]
    small_network += ["pretrained=false", "weights=null"]
    words = [f"backbone.{setting}" for setting in small_network]
    if not OmegaConf.is_interpolation(cfg.segmenter.net, "backbone"):
        words += [f"segmenter.net.backbone.{setting}" for setting in small_network]
    words += ["method.net.feature_layers=[-2,-1]"] if experiment.startswith("seam") else []
    words += ["cam.layer=encoder"] if experiment.startswith("grad_cam") else []
    if "schedule" in cfg.refine:
        words += ["refine.schedule.max_epochs=1", "refine.schedule.batch_size=2"]
        words += ["refine.schedule.crop_size=64", "refine.walk.steps=4"]
    if cfg.refine.name == "irn":
        words += ["refine.module.net.least_size=64"]
    words += ["fit.method.crop_size=64", "fit.segmenter.crop_size=64"]
    words += ["fit.method.batch_size=2", "fit.segmenter.batch_size=2", "test.scales=[1.0]"]
    small = [word for word in SMALL if not word.startswith("data.long_side")]
    run = here(
        f"experiment={experiment}", f"data.root={root}", *small, *words, *few_rounds(experiment)
    )
    assert run.results["experiment"] == experiment
    assert 0 <= run.scores["segmentation/val/miou"] <= 1


@pytest.mark.parametrize("tags", ["masks", "cls_labels.npy"])  # other tests take XML and CSV
def test_a_data_file_of_ones_own_gives_classes_and_the_mapping_of_mask_ids(here, mine, tags):
    run = here(*mine, f"data.dataset.tags={tags}")
    check_contract(run, "cam")
    seen = {key for key in run.scores if key.startswith("pseudo/train/iou_")}
    assert seen == {f"pseudo/train/iou_{name}" for name in ("background", "bird", "cat", "dog")}
    used = run.results["protocol"]["train_masks_used_for"]
    assert used == (["tags", "scoring"] if tags == "masks" else ["scoring"])


@pytest.mark.parametrize("refine", ["crf", "affinity"])
def test_weak_methods_do_without_the_true_masks_of_the_training_split(
    here, mine, voc, tmp_path, refine
):
    mine = [*mine, f"refine={refine}"]
    scored = here(*mine)
    bare = shutil.copytree(voc, tmp_path / "bare")
    for mask in (bare / "SegmentationClass").glob("train_*.png"):
        mask.unlink()
    unscored = here(*mine, f"data.root={bare}", "output_dir=bare_runs")
    masks = {path.name: path.read_bytes() for path in (scored.folder / "pseudo").glob("*.png")}
    assert len(masks) == 6
    for name, content in masks.items():
        assert (unscored.folder / "pseudo" / name).read_bytes() == content
    assert not [key for key in unscored.scores if key.startswith(("seeds/train", "pseudo/train"))]
    val = [key for key in scored.scores if "/val/" in key]
    assert {key: unscored.scores[key] for key in val} == {key: scored.scores[key] for key in val}


def test_an_image_without_a_tag_is_background_where_the_data_file_allows_it(here, mine, voc):
    edit(voc / "tags.csv", "train_0,1,0,0", "train_0,0,0,0")
    run = here(*mine, "data.dataset.on_missing_labels=background")
    with Image.open(run.folder / "pseudo/train_0.png") as mask:
        assert not np.asarray(mask).any()


def test_a_data_set_without_a_validation_split_is_learnt_from_and_scored_on_train(here, mine, voc):
    (voc / "ImageSets/Segmentation/val.txt").unlink()
    run = here(*mine, "data.dataset.lists.val=null")
    assert {key.split("/")[-2] for key in run.scores} == {"train"}
    assert "segmentation/train/miou" in run.scores
    assert run.results["protocol"]["splits"] == {"train": "train", "val": None}
    assert [path.name for path in (run.folder / "pictures").iterdir()] == ["train"]
    assert {path.name for path in run.folder.glob("*/val")} == set()
    for logged in run.folder.glob("*/csv/**/metrics.csv"):
        assert "val/" not in logged.read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("experiment", "words", "key"),
    [
        ("cam", ["refine=none", "pipeline=seeds"], "none/train/miou"),
        (
            "cam",
            ["segmenter=deeplab_v3_plus", "test.crf=true", "fit.segmenter.validate_crf=true"],
            "segmentation_crf/val/miou",
        ),
        (
            "full_supervision",
            [
                "segmenter=deeplab_v2",
                "fit.segmenter.scale_step=0.25",
                "test.crf=true",
                "+crf@test_crf=deeplab_v2",
            ],
            "segmentation_crf/val/miou",
        ),
        ("cam", ["crf.engine=torch", "refine.area_factor=3", "pipeline=seeds"], "crf/train/kept"),
        ("cam", ["cam.tags=predicted", "pipeline=seeds"], "seeds/train/miou"),
        ("cam", ["refine=affinity", "pipeline=seeds"], "affinity_crf/val/miou"),
        ("cam", ["refine=affinity_small", "pipeline=seeds"], "affinity_crf/val/miou"),
        ("seam", ["refine=irn", "refine.crf=null", "pipeline=seeds"], "irn/val/miou"),
        ("grad_cam", ["cam.layer=encoder.model.layer3", "pipeline=seeds"], "seeds/train/miou"),
    ],
)
def test_parts_are_exchanged_by_a_word(here, shared, experiment, words, key):
    run = here(f"experiment={experiment}", *TINY, *words, folder=shared)
    assert key in run.scores


def test_a_sweep_makes_a_folder_for_each_of_its_runs(here, tmp_path):
    run = here("experiment=full_supervision", *TINY, "-m", "seed=0,1")
    assert run.code == 0, run.err
    folders = sorted(path.parent for path in tmp_path.glob("runs/sweep/*/*/results.json"))
    assert [folder.name for folder in folders] == ["0000_seed-0", "0001_seed-1"]
    results = [json.loads((folder / "results.json").read_text()) for folder in folders]
    assert [result["seed"] for result in results] == [0, 1]
    assert results[0]["scores"] != results[1]["scores"]


def test_the_composed_configuration_can_be_printed(here):
    run = here("experiment=cam", "--cfg", "job")
    assert run.code == 0
    assert OmegaConf.create(run.out).fit.method.max_epochs


def test_options_may_stand_between_overrides(here, voc):
    own = voc.with_name("own") / "data"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(MINE)
    run = here("experiment=cam", "--config-dir", str(own.parent), "data=mine", "--cfg", "job")
    assert run.code == 0, run.err
    assert "- dog" in run.out


def test_seeds_are_made_and_scored_without_a_segmentation_network(here):
    run = here("experiment=cam", *TINY, "pipeline=seeds")
    assert {"seeds/train/miou", "crf/val/miou", "pseudo/train/miou"} <= set(run.scores)
    assert not any(key.startswith("segmentation") for key in run.scores)
    assert not (run.folder / "segmentation").exists()
    assert (run.folder / "pictures/val/val.png").is_file()


@pytest.mark.long
def test_sub_categories_are_sought_in_rounds_which_a_repeated_command_goes_on_with(tmp_path, here):
    words = ("experiment=sc_cam", *TINY, "data.generate.num_train=30", "pipeline.rounds=2")
    killed = tmp_path / "killed"
    kill_when(start(*words, folder=killed), killed / "runs", "*/round_1/clusters")
    run = here(*words, folder=killed)
    assert {"round_0/classifier", "round_1/features"} <= set(run.stages(CACHED))
    assert "round_2/classifier" in run.stages(DONE)
    for r in range(3):
        assert f"round_{r}/seeds/train/miou" in run.scores
    assert run.scores["seeds/train/miou"] == run.scores["round_2/seeds/train/miou"]
    told = {key for key in run.scores if key.startswith("round_1/clusters/train")}
    assert {key.rsplit("/", 1)[1] for key in told} == {"silhouette", "stability", "recovery"}
    sheets = {path.stem for path in (run.folder / "pictures/round_1").glob("*.png")}
    assert sheets == {"boat", "car", "cat", "dog", "sheep", "train"}
    # each round begins anew: nothing but its clusters tells it from the one before
    modules = [(run.folder / f"round_{r}/classifier/module.yaml").read_text() for r in (1, 2)]
    assert len(set(modules)) == 1

    plain = here("experiment=cam", *TINY, "data.generate.num_train=30", folder=killed)
    assert "classifier" in plain.stages(CACHED)
    assert plain.scores["seeds/train/miou"] == run.scores["round_0/seeds/train/miou"]

    words = (
        *words,
        "pipeline.init_from=last_round",
        "pipeline.rounds=1",
        "pipeline.peak=0.7",
        "cam.sub_maps=true",
    )
    other = here(*words, "pipeline.segment=false", folder=killed)
    assert other.scores["seeds/train/miou"] != run.scores["round_1/seeds/train/miou"]


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (("experiment=cam", "method=sc_cam"), ["SCCAM", "pipeline"]),
        (("experiment=cam", "pipeline=sc_cam"), ["Classifier"]),
        (("experiment=sc_cam", "pipeline.rounds=0"), ["pipeline.rounds", 0, 1]),
        (
            ("experiment=sc_cam", "pipeline.peak=2"),
            ["pipeline.peak", 2],
        ),
        (
            ("experiment=sc_cam", "pipeline.init_from=first"),
            ["pipeline.init_from", "first", "backbone"],
        ),
        (
            ("experiment=cam", "cam.sub_maps=true"),
            ["cam.sub_maps", "true", "method=classifier"],
        ),
        (("experiment=sc_cam", "data.subcategories=none.csv"), ["none.csv"]),
    ],
)
def test_slips_about_sub_categories_are_told(here, words, facts):
    run = here(*words, *TINY)
    assert run.code == 1
    assert_names(run.err, *facts)


def test_slots_that_are_no_groups_are_answered_before_devices_are_taken(here):
    slip = here("experiment=cam", *TINY, "device_groups=2")
    assert slip.code == 1
    assert_names(slip.err, "device_groups", 2)


def test_a_run_with_other_workers_finds_the_stages_of_the_first(here, tmp_path):
    words = ("experiment=cam", *TINY, "pipeline=seeds", f"output_dir={tmp_path}/runs")
    here(*words)
    again = here(*words, "workers=1")
    assert not again.stages(DONE)
    assert len(again.stages(CACHED)) > 10


def test_modes_of_hydra_that_do_not_go_together_are_told(here):
    slip = here("experiment=cam", "-m", "--cfg", "job")
    assert slip.code == 1
    assert_names(slip.err, "-m", "--cfg")
    assert "Traceback" not in slip.out + slip.err


def test_a_pickled_configuration_is_not_read(here, tmp_path):
    slip = here("--experimental-rerun", str(tmp_path / "config.pickle"))
    assert slip.code == 1
    assert_names(slip.err, "--experimental-rerun")


def test_a_configuration_from_elsewhere_does_not_run_what_it_likes(here, mine, voc, tmp_path):
    """Hydra would build its callbacks before any of our checks."""
    trace = tmp_path / "was_here"
    attack = f"hydra: {{callbacks: {{a: {{_target_: pathlib.Path.touch, self: {trace}}}}}}}\n"
    path = voc.with_name("conf") / "experiment/theirs.yaml"
    path.parent.mkdir()
    path.write_text(f"# @package _global_\ndefaults: [cam]\n{attack}")
    slip = here("experiment=theirs", *mine[1:])
    assert slip.code == 1
    assert_names(slip.err, "theirs.yaml", "hydra.callbacks.a._target_", "pathlib.Path.touch")
    assert not trace.exists()


def test_a_file_of_ones_own_that_does_not_parse_is_named(here, mine, voc):
    (voc.with_name("conf") / "data/mine.yaml").write_text(MINE + "  tags: [a\n")
    slip = here(*mine)
    assert slip.code == 1
    assert_names(slip.err, "YAML", "mine.yaml")
    assert "Traceback" not in slip.out + slip.err


@pytest.mark.parametrize("below", ["", "/deep/er"])
def test_a_place_for_runs_that_cannot_be_written_is_told(here, tmp_path, below):
    (tmp_path / "file").write_text("")
    slip = here("experiment=cam", f"output_dir={tmp_path}/file{below}")
    assert slip.code == 1
    assert f"{tmp_path}/file" in slip.err
    assert "output_dir=DIR" in slip.err
    assert "Traceback" not in slip.err
    assert not (tmp_path / "runs").exists()


def test_a_reference_that_does_not_parse_is_told(here, mine, voc):
    (voc.with_name("conf") / "data/mine.yaml").write_text(MINE.replace("tags.csv", "tags.cs${v"))
    slip = here(*mine)
    assert slip.code == 1
    assert_names(slip.err, "${...}")


def test_the_curve_of_a_training_ends_at_the_score_of_its_test(here):
    words = ("fit.segmenter.max_epochs=3", "trainer.check_val_every_n_epoch=3", "test.flip=false")
    run = here("experiment=full_supervision", *TINY, *words, "test.long_side=96")
    with (run.folder / "segmentation/csv/version_0/metrics.csv").open() as file:
        curve = [row["val/miou"] for row in csv.DictReader(file) if row["val/miou"]]
    assert float(curve[-1]) == pytest.approx(run.scores["segmentation/val/miou"], abs=1e-4)
