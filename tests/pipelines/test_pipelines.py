"""Which stages a pipeline does on which splits; the stages themselves are not run."""

from dataclasses import dataclass, field

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from wsss_lightning.cache.stage_cache import StageCache
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.config.splits import normalise_splits
from wsss_lightning.evaluation.pixel_counts import PIXEL_COUNTS_FILE
from wsss_lightning.steps import scored_splits
from wsss_lightning.steps.evaluate import evaluate_masks
from wsss_lightning.utils.files import write_json

PIPELINES = {
    "tags": ["experiment=cam"],
    "seeds": ["experiment=cam", "pipeline=seeds", "refine=none"],
    "affinity": ["experiment=seam", "refine=affinity", "test.crf=true"],
    "irn": ["experiment=cam", "refine=irn"],
    "sc_cam": ["experiment=sc_cam", "pipeline.rounds=2"],
    "boxes": ["experiment=box", "pipeline.rounds=2", "pipeline.min_change=null"],
    "continued boxes": ["experiment=box", "pipeline.training=finetune", "pipeline.rounds=1"],
    "full_supervision": ["experiment=full_supervision"],
}


@dataclass
class RecordingRun(StageCache):
    """Notes what each stage is given in place of doing it; every evaluation gives 0.5."""

    stages: dict[str, dict] = field(default_factory=dict)
    has_masks: bool = True

    def run(self, name, work, *, memory_keys=None, **inputs):
        self.stages[name] = {"work": work.__name__, **inputs}
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        key = "changed" if work.__name__ == "relabel" else "miou"
        write_json(folder / "metrics.json", {key: 0.5})
        if self.has_masks and work is evaluate_masks:
            (folder / PIXEL_COUNTS_FILE).touch()
        return folder


@pytest.fixture
def done(tmp_path):
    """`done(*words)`: the recorded run and the scores of a pipeline with these overrides."""

    def call(*words: str, has_masks: bool = True):
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            cfg = compose("config", overrides=["data.root=absent", *words])
        normalise_splits(cfg.data)
        run = RecordingRun(tmp_path, tmp_path, seed=0, has_masks=has_masks)
        return run, instantiate(cfg.pipeline)(cfg, run)

    return call


def splits_in(run: RecordingRun) -> set:
    return {inputs["split"] for inputs in run.stages.values() if "split" in inputs}


@pytest.mark.parametrize("words", PIPELINES.values(), ids=PIPELINES)
def test_without_a_validation_split_every_pipeline_reads_train_alone(done, words):
    run, scores = done(*words, "data.dataset.lists.val=null")
    assert splits_in(run) == {"train"}
    assert "validate_tags" not in {inputs["work"] for inputs in run.stages.values()}
    assert not [name for name in run.stages if "val" in name.split("/")]
    assert scores
    assert all(key.split("/")[-2] == "train" for key in scores)
    assert "pictures/train" in run.stages


@pytest.mark.parametrize("words", PIPELINES.values(), ids=PIPELINES)
def test_a_validation_split_adds_its_stages_and_changes_none_of_train(done, words):
    alone, few = done(*words, "data.val=null")
    run, scores = done(*words)
    assert splits_in(run) == {"train", "val"}
    assert set(alone.stages) < set(run.stages)
    assert set(few) < set(scores)
    assert all(key.split("/")[-2] == "val" for key in set(scores) - set(few))


@pytest.mark.parametrize("words", PIPELINES.values(), ids=PIPELINES)
def test_where_val_is_train_every_stage_is_done_on_it(done, words):
    run, scores = done(*words, "data.val=train")
    alone, few = done(*words, "data.val=null")
    assert splits_in(run) == {"train"}
    extra = {name for name in run.stages if name not in alone.stages}
    assert all(run.stages[name]["work"] == "validate_tags" for name in extra)
    for name, inputs in alone.stages.items():
        assert list(run.stages[name].get("steps", {})) == list(inputs.get("steps", {}))
    assert set(few) <= set(scores)


def test_a_network_that_is_given_needs_no_rounds(done):
    words = [*PIPELINES["sc_cam"], "fit.method.max_epochs=0", "method.net.weights=released.pth"]
    run, _ = done(*words)
    tags, _ = done(*PIPELINES["tags"])
    assert list(run.stages) == list(tags.stages)
    assert run.stages["classifier"]["module"].net.weights == "released.pth"


def test_an_affinity_network_is_given_what_its_labels_are_made_of(done):
    for refine, prefer_class in (("affinity", False), ("irn", True)):
        run, _ = done("experiment=cam", f"refine={refine}")
        assert run.stages[f"{refine}/labels"]["prefer_class"] == prefer_class
        given = run.stages[f"{refine}/network"]
        assert given["masks"] == run.folder / f"{refine}/labels"
        assert given["marginals"] == {
            side: run.folder / f"{refine}/labels_{side}" for side in ("low", "high")
        }


def test_the_curve_over_rounds_is_of_train_where_there_is_no_val(done):
    run, _ = done(*PIPELINES["boxes"], "data.val=null")
    points = run.stages["pictures/rounds"]["points"]
    assert [r for r, _ in points["network, train"]] == [1, 2, 3]
    run, _ = done(*PIPELINES["boxes"])
    assert "network, val" in run.stages["pictures/rounds"]["points"]


def test_pictures_name_steps_as_people_do(done):
    run, _ = done(*PIPELINES["seeds"])
    assert list(run.stages["pictures/val"]["steps"]) == ["seeds without refinement"]


@pytest.mark.parametrize(("words", "behind"), [([], 80), (["+crf@test_crf=deeplab_v2"], 67)])
def test_the_crf_behind_the_segmentation_network_can_have_kernels_of_its_own(done, words, behind):
    own = ["experiment=cam", "crf=psa", "test.crf=true", "fit.segmenter.validate_crf=true"]
    run, _ = done(*own, *words)
    assert run.stages["crf/train"]["parameters"].theta_alpha == 80
    assert run.stages["predictions_crf/val"]["parameters"].theta_alpha == behind
    assert run.stages["segmentation"]["crf"].parameters.theta_alpha == behind


@pytest.mark.parametrize("words", PIPELINES.values(), ids=PIPELINES)
def test_a_benchmark_scores_what_train_is_scored_on_and_trains_nothing_again(
    done, words, monkeypatch
):
    monkeypatch.setattr(
        scored_splits, "_benchmark", lambda cfg: scored_splits.ScoredSplit("part", cfg.data, "12")
    )
    run, scores = done(*words)
    parts = {key.replace("/part/", "/train/") for key in scores if "/part/" in key}
    evaluated = {"evaluate_seeds", "evaluate_masks"}
    # clusters are not compared with masks
    assert parts == {k for k in scores if k.endswith("/train/miou") and "clusters" not in k}
    works = {stage["work"] for stage in run.stages.values() if stage.get("split") == "part"}
    assert works
    assert works <= evaluated


RANKED = {
    "tags": {"train": "pseudo", "val": "segmentation"},
    "seeds": {"train": "pseudo", "val": "none"},
    "affinity": {"train": "pseudo", "val": "segmentation_crf"},
    "boxes": {"labels": "pseudo", "train": "pseudo", "val": "segmentation"},
    "full_supervision": {"train": "segmentation", "val": "segmentation"},
}


@pytest.mark.parametrize("name", RANKED)
def test_pictures_rank_images_by_pseudo_masks_of_train_and_by_the_last_masks_of_val(done, name):
    run, _ = done(*PIPELINES[name])
    for preview, step in RANKED[name].items():
        split = "val" if preview == "val" else "train"
        shown = run.stages[f"pictures/{preview}"]
        assert shown["evaluation"] == run.folder / f"{step}_miou/{split}"
        assert shown["evaluated"]


@pytest.mark.parametrize("name", ["tags", "boxes"])
def test_without_true_masks_pictures_of_train_are_ranked_by_quality(done, name):
    without, _ = done(*PIPELINES[name], has_masks=False)
    shown = {split: without.stages[f"pictures/{split}"] for split in ("train", "val")}
    assert [inputs["evaluation"] for inputs in shown.values()] == [None, None]
    assert shown["train"]["quality"] == without.folder / "quality"
    assert shown["val"]["quality"] is None


def test_with_true_masks_the_estimated_quality_changes_no_picture(done):
    run, _ = done(*PIPELINES["tags"])
    assert run.stages["pictures/train"]["quality"] is None


def test_pictures_show_the_last_marginals_and_the_tags_of_the_last_classifier(done):
    for name, refined in (("affinity", "affinity_crf"), ("tags", "crf"), ("sc_cam", "crf")):
        run, _ = done(*PIPELINES[name])
        for split in ("train", "val"):
            shown = run.stages[f"pictures/{split}"]
            assert shown["marginals"] == run.folder / refined / split
            assert shown["probabilities"] == run.folder / "tag_probabilities" / split
            classifier = "round_2/classifier" if name == "sc_cam" else "classifier"
            tagged = run.stages[f"tag_probabilities/{split}"]
            assert tagged["trained"] == run.folder / classifier


@pytest.mark.parametrize("words", [PIPELINES["tags"], PIPELINES["sc_cam"], PIPELINES["boxes"]])
def test_the_segmentation_network_learns_from_what_is_kept_of_the_pseudo_masks(done, words):
    run, _ = done(*words)
    assert run.stages["quality"]["work"] == "quality"
    assert "kept" not in run.stages
    all_masks = run.stages["quality"]["masks"]
    assert run.stages["segmentation"]["masks"] == all_masks
    run, _ = done(*words, "pseudo.drop_worst=0.2")
    assert run.stages["kept"]["share"] == 0.2
    assert run.stages["kept"]["masks"] == all_masks
    assert run.stages["segmentation"]["masks"] == run.folder / "kept"


def test_quality_is_estimated_from_what_a_pipeline_has(done):
    run, _ = done(*PIPELINES["tags"])
    given = run.stages["quality"]
    assert given["cams"] == run.folder / "class_cams"
    assert given["marginals"] is None
    run, _ = done(*PIPELINES["boxes"])
    given = run.stages["quality"]
    assert given["cams"] is None
    assert given["marginals"] == run.folder / "round_2/predictions/train"
    run, _ = done("experiment=box", "pipeline.rounds=0")
    assert run.stages["quality"]["marginals"] is None
