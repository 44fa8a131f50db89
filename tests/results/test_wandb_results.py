import json
import os

import pytest
from example_results import example_results
from omegaconf import OmegaConf

from wsss_lightning.data.supervision import BOXES, TAGS
from wsss_lightning.results import wandb as wandb_results
from wsss_lightning.results.wandb import (
    last_step,
    learner_name,
    log_results,
    name_runs,
    per_class,
    records_of,
    threshold_curves,
    trainings_of,
)


@pytest.fixture
def cfg(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    node = {"project": "p", "group": None, "tags": ["mine"], "config": {}, "offline": False}
    return OmegaConf.create(
        {
            "name": "seam",
            "seed": 3,
            "data": {"name": "pets"},
            "method": {"_target_": "wsss_lightning.methods.seam.module.SEAM"},
            "pipeline": {"_target_": "wsss_lightning.pipelines.base.tags"},
            "logger": {"wandb": node},
        }
    )


def stage(folder, name, work, **files):
    """A finished stage as `Run` leaves it: a folder in the store and a link to it."""
    done = folder / "stages" / f"{work}-{name.replace('/', '-')}"
    done.mkdir(parents=True)
    record = {"stage": name, "work": work, "inputs": {"split": name.split("/")[-1]}}
    for file, content in {"stage.json": json.dumps(record), **files}.items():
        (done / file).write_text(content)
    link = folder / "run" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(done)


def test_group_and_tags_tell_experiment_data_method_and_seed(cfg, tmp_path):
    name_runs(cfg, tmp_path / "a", TAGS)
    node = cfg.logger.wandb
    assert node.group.startswith("seam-pets-seed3-")
    assert node.tags == ["seam", "pets", "seam", "seed 3", "mine"]
    assert node.config == {
        "experiment": "seam",
        "learner": "seam",
        "seed": 3,
        "data": {"name": "pets"},
    }


def test_runs_in_other_folders_are_other_groups_and_a_given_group_stays(cfg, tmp_path):
    groups = set()
    for folder in ("a", "b", "a"):
        cfg.logger.wandb.group = None
        name_runs(cfg, tmp_path / folder, TAGS)
        groups.add(cfg.logger.wandb.group)
    assert len(groups) == 2
    cfg.logger.wandb.group = "ours"
    name_runs(cfg, tmp_path / "a", TAGS)
    assert cfg.logger.wandb.group == "ours"


def test_pipelines_that_learn_from_no_tags_are_their_own_method(cfg):
    cfg.pipeline._target_ = "wsss_lightning.pipelines.base.boxes"
    assert learner_name(cfg, BOXES) == "boxes"


def test_trainings_do_not_see_that_an_agent_of_a_sweep_waits(cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb_results, "_sweep", {})
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    name_runs(cfg, tmp_path, TAGS)
    assert "WANDB_SWEEP_ID" not in os.environ  # the results get it, as test_wandb.py shows


def test_nothing_is_told_where_wandb_is_not_chosen(cfg, tmp_path):
    del cfg.logger["wandb"]
    name_runs(cfg, tmp_path, TAGS)
    log_results(cfg, tmp_path, example_results(), {})
    assert not list(tmp_path.iterdir())


def test_per_class_scores_become_rows():
    scores = {"a/val/miou": 0.5, "a/val/iou_cat": 0.4, "round_1/a/train/iou_dog": 0.6}
    assert per_class(scores) == [["a", "val", "cat", 0.4], ["round_1/a", "train", "dog", 0.6]]


def test_bars_show_the_last_step_outside_of_rounds():
    assert last_step(["seeds", "round_3/segmentation", "pseudo", "crf"]) == "pseudo"
    assert last_step(["segmentation", "segmentation_crf", "seeds"]) == "segmentation_crf"
    assert last_step(["round_1/seeds", "round_2/seeds"]) == "round_2/seeds"


def test_curves_are_those_of_scored_seeds_of_every_round(tmp_path):
    points = {"threshold": [0, 1], "miou": [0.1, 0.2], "precision": [0, 0.5], "recall": [1, 0]}
    curve = {"curve.json": json.dumps(points | {"other": [1]})}
    stage(tmp_path, "round_1/seeds_miou/val", "evaluate_seeds", **curve)
    stage(tmp_path, "seeds_miou/train", "evaluate_seeds", **{"metrics.json": "{}"})  # no masks
    stage(tmp_path, "classifier", "fit")
    names = ("round_1/seeds_miou/val", "seeds_miou/train", "classifier")
    stages = records_of(tmp_path / "run", dict.fromkeys(names, 1.0))
    found = threshold_curves(stages)
    assert found == {"round_1/seeds/val": [(0, 0.1, 0, 1), (1, 0.2, 0.5, 0)]}


def test_trainings_are_the_stages_with_a_run_of_their_own(tmp_path):
    stage(tmp_path, "classifier", "fit", **{"wandb_run.txt": "1234abcd"})
    stage(tmp_path, "segmentation", "fit")  # was trained without W&B
    stages = records_of(tmp_path / "run", {"classifier": 1.0, "segmentation": 1.0})
    assert trainings_of(stages) == {"classifier": "1234abcd"}
