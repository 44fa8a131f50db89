"""results.json: what is written is read again, older versions too, and damage is named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from example_results import example_results

from wsss_lightning.config.renamed import current_override
from wsss_lightning.errors import InputError
from wsss_lightning.results.schema import (
    SCHEMA,
    RecipeRecord,
    ReviewCounts,
    read_results,
    write_results,
)

RECORDS = Path(__file__).parents[2] / "experiments"
RECORDED = sorted(RECORDS.glob("**/records/**/results.json"))


def write_version_1(folder, **changes):
    """A results.json as versions before `schema` wrote it."""
    content = {
        "experiment": "cam",
        "recipe": {
            "name": "cam_voc2012",
            "differences": [{"key": "score.flip", "value": False, "published": True}],
        },
        "data": "pets",
        "data_digest": "files-train-masks",
        "seed": 3,
        "scores": {"seeds/train/miou": 0.5},
        "protocol": {
            "trained_on": "tags",
            "splits": {"train": "train", "val": None},
            "tags_from": "xml",
            "scored_on": {"train": {"images": 7, "masks": "masks"}},
            "segmentation": {"scales": [1.0], "flip": True},
            "segmentation_begins_with": "classifier",
            "initial_weights": "of the hub",
            "tags_of_seeds": "given",
            "seeds": {"scales": [1], "flip": False},
            "thresholds": {"miou": "fixed at 0.2, over the split"},
            "true_masks_of_train": "tags and scoring",
        },
        "annotation": {
            "tag_questions": 20,
            "boxes": 0,
            "masks": 0,
            "objects_outlined": 0,
            "held_out_masks": 1,
        },
        "words": ["experiment=cam", "+score.flip=false", "pipeline.network=afresh", "~logger"],
        "reader": {
            "_target_": "wsss_lightning.data.voc_layout.VOCLayout",
            "classes": ["cat"],
            "untagged": "error",
        },
        "seconds": {"classifier": 60.0},
        "versions": {"code": "0"},
        "trained": ["fit-1"],
        **changes,
    }
    path = folder / "results.json"
    path.write_text(json.dumps(content))
    return path


def test_what_is_written_is_read_again(tmp_path):
    recipe = RecipeRecord("cam_voc2012", [{"key": "seed", "value": 1, "published": 0}])
    results = example_results(recipe=recipe, trainings=["fit-1"], key="12")
    write_results(tmp_path, results)
    assert json.loads((tmp_path / "results.json").read_text())["schema"] == SCHEMA == 2
    assert read_results(tmp_path / "results.json") == results


def test_the_work_of_a_review_is_written_and_may_be_absent_in_older_files(tmp_path):
    review = ReviewCounts(images=3, decisions={"reject": 2, "box": 1}, seconds=42.5, digest="d")
    results = example_results()
    results = replace(results, annotation=replace(results.annotation, review=review))
    write_results(tmp_path, results)
    path = tmp_path / "results.json"
    assert read_results(path).annotation.review == review
    content = json.loads(path.read_text())
    del content["annotation"]["review"]
    path.write_text(json.dumps(content))
    assert read_results(path).annotation.review is None


def test_version_1_is_upgraded(tmp_path):
    results = read_results(write_version_1(tmp_path))
    assert results.supervision == "tags"
    assert results.overrides == [
        "experiment=cam",
        "+cam.flip=false",
        "pipeline.training=scratch",
        "~logger",
    ]
    assert results.dataset["_target_"] == "wsss_lightning.data.dataset.VOCDataset"
    assert results.dataset["on_missing_labels"] == "error"
    assert results.classes == ["cat"]
    assert results.trainings == ["fit-1"]
    assert results.recipe.differences[0]["key"] == "cam.flip"
    assert results.annotation.images is None
    protocol = results.protocol
    assert (protocol.splits.train, protocol.splits.val) == ("train", None)
    assert protocol.true_masks_digest == "masks"
    assert protocol.scored_splits["train"].images == 7
    assert protocol.train_masks_used_for == ["tags", "scoring"]
    assert protocol.initial_weights == "hub"
    assert protocol.seeds.tags == "given"
    assert protocol.seeds.thresholds["miou"] == "fixed at 0.2, over the split"
    assert protocol.segmentation.init_from == "classifier"


@pytest.mark.parametrize(
    ("trained_on", "supervision", "used", "uses"),
    [
        ("tags", "tags", "scoring only", ["scoring"]),
        ("boxes", "boxes", "boxes and scoring", ["boxes", "scoring"]),
        ("true masks", "masks", None, ["training", "scoring"]),
    ],
)
def test_supervision_of_version_1(tmp_path, trained_on, supervision, used, uses):
    protocol = {"trained_on": trained_on, "splits": {"train": "a", "val": "b"}}
    protocol |= {} if used is None else {"true_masks_of_train": used}
    results = read_results(write_version_1(tmp_path, protocol=protocol))
    assert results.supervision == supervision
    assert results.protocol.train_masks_used_for == uses


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("score.bits=8", "cam.storage_bits=8"),
        ("data.reader.untagged=error", "data.dataset.on_missing_labels=error"),
        ("runs=~/r", "output_dir=~/r"),
        ("pipeline.begin=last", "pipeline.init_from=last_round"),
        ("++method.net.taps=[-1]", "++method.net.feature_layers=[-1]"),
        ("seed=1", "seed=1"),
        ("data.root=/a=b", "data.root=/a=b"),
        ("seeds.background_score=0.3", "seeds.background_score=0.3"),
    ],
)
def test_overrides_get_the_current_names_of_their_keys(old, new):
    assert current_override(old) == new


@pytest.mark.parametrize("path", RECORDED[::10], ids=lambda path: path.parent.name)
def test_recorded_studies_stay_readable(path):
    content, results = json.loads(path.read_text()), read_results(path)
    assert "schema" not in content
    assert results.scores == content["scores"]
    assert results.annotation.tag_questions == content["annotation"]["tag_questions"]
    assert results.trainings == content["trained"]


def test_a_newer_version_is_refused_by_its_number(tmp_path):
    write_results(tmp_path, example_results())
    path = tmp_path / "results.json"
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 3'))
    with pytest.raises(InputError) as error:
        read_results(path)
    for fact in (str(path), "version 3", "1 to 2"):
        assert fact in str(error.value)


@pytest.mark.parametrize("version", ["2", None, True, 0, -1, 1.5])
def test_a_version_that_is_no_version_is_refused(tmp_path, version):
    write_results(tmp_path, example_results())
    path = tmp_path / "results.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": version}))
    with pytest.raises(InputError, match="schema"):
        read_results(path)


def test_ids_of_masks_are_numbers_after_json_too(tmp_path):
    dataset = {"classes": ["cat"], "mask_ids": {0: "background", 8: "cat"}}
    write_results(tmp_path, example_results(dataset=dataset))
    assert read_results(tmp_path / "results.json").dataset_node == dataset
