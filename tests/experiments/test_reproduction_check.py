"""The verdicts of the reproduction kit, on results that are made up."""

import json
import os
from pathlib import Path

import pytest
from facts import assert_names
from reproduction import KIT, script

from wsss_lightning.recipes import Fact, Recipe, Score, Setting, read_recipe

pytestmark = pytest.mark.skipif(not KIT.is_dir(), reason="experiments/ is not in the sdist")

SEEDS, NETWORK = "seeds/train/miou_oracle", "segmentation_crf/val/miou"


def setting(key: str, official: object, **ours) -> Setting:
    own = {"deliberate": bool(ours), "ours": ours.get("ours", official)}
    reason, effect = ("no weights are public", "not measured") if ours else ("", "")
    return Setting(key, official, "paper", reason=reason, effect=effect, **own)


def made_up(name: str = "seam_voc2012") -> Recipe:
    return Recipe(
        name=name,
        title="SEAM",
        experiment=name,
        overrides=(),
        paper="Wang et al., CVPR 2020",
        note="",
        repositories={},
        scores=(Score(SEEDS, 55.4, 1.0, "paper, table 1"), Score(NETWORK, 64.5, 1.0, "paper")),
        hardware=None,
        settings=(
            setting("fit.method.batch_size", 8),
            setting("segmenter.net.backbone.name", "vgg16", ours="resnet101"),
        ),
        facts=(
            Fact("flip", "both", "paper", "tests/a.py::test_b", "", "", ""),
            Fact("resizing", "bicubic", "paper", "", "bilinear", "one way", "none"),
            Fact(
                "initial weights of the segmentation network",
                "COCO's masks",
                "paper",
                "",
                "ImageNet",
                "no masks",
                "2.5 points",
            ),
        ),
    )


@pytest.fixture(scope="module")
def check():
    return script("check")


@pytest.fixture
def judged(check, tmp_path, monkeypatch, capsys):
    """`judged()`: exit status and rows of the command for the runs in `tmp_path`."""
    monkeypatch.setattr(check, "recipe_names", lambda: ["seam_voc2012", "cam_voc2012"])
    monkeypatch.setattr(check, "read_recipe", made_up)

    def call():
        with pytest.raises(SystemExit) as stop:
            check.main([str(tmp_path), "--json"])
        rows = json.loads(capsys.readouterr().out)
        return stop.value.code, {(row["recipe"], row["score"]): row for row in rows}

    return call


def write(folder: Path, seed: int = 0, seeds: float = 55.0, network: float = 64.0, **other) -> Path:
    """Results of a run that follows the recipe in all, but for `other`."""
    images = {"train_aug": 10582, "train": 1464, "val": 1449} | other.get("images", {})
    content = {
        "experiment": "seam_voc2012",
        "data": "voc2012",
        "data_digest": "a-b",
        "seed": seed,
        "scores": {SEEDS: seeds / 100, NETWORK: network / 100},
        "protocol": {
            "trained_on": "tags",
            "splits": {"train": "train_aug", "val": "val"},
            "scored_on": {
                split: {"images": count, "masks": "SegmentationClass"}
                for split, count in images.items()
            },
            "initial_weights": other.get("initial_weights", "resnet38.pth"),
        },
        "annotation": dict.fromkeys(
            ("tag_questions", "boxes", "masks", "objects_outlined", "held_out_masks"), 0
        ),
        "words": [f"seed={seed}", "data.root=/voc", "trainer=gpu", *other.get("words", ())],
        "reader": {"classes": ["cat"]},
        "versions": {"code": "1"},
        "seconds": {"classifier": 1.0},
        "recipe": {"name": "seam_voc2012", "differences": other.get("differences", [])},
    }
    for key in other.get("without", ()):
        content.pop(key)
    path = folder / f"run_{seed}{other.get('name', '')}"
    path.mkdir()
    (path / "results.json").write_text(json.dumps(content))
    return path


def test_means_within_the_tolerance_are_reproduced(judged, tmp_path):
    write(tmp_path, seed=0, seeds=54.0, network=65.5)
    write(tmp_path, seed=1, seeds=55.0, network=65.5)  # means 54.5 and 65.5: 0.9 and 1.0 away
    status, rows = judged()
    row = rows["seam_voc2012", SEEDS]
    assert row["verdict"] == "reproduced"
    assert row["seeds"] == {"0": 54.0, "1": 55.0}
    assert row["mean"] == 54.5
    assert rows["seam_voc2012", NETWORK]["verdict"] == "reproduced"
    assert rows["cam_voc2012", SEEDS]["verdict"] == "not run"
    assert status == 0


@pytest.mark.parametrize(("measured", "verdict"), [(53.6, "off by -1.8"), (57.2, "off by +1.8")])
def test_a_mean_outside_the_tolerance_is_off_by_its_distance(judged, tmp_path, measured, verdict):
    write(tmp_path, seeds=measured)
    status, rows = judged()
    assert rows["seam_voc2012", SEEDS]["verdict"] == verdict
    assert rows["seam_voc2012", NETWORK]["verdict"] == "reproduced"
    assert status == 1


BATCH = {"key": "fit.method.batch_size", "value": 16, "published": 8}
DIFFERENT = {
    "a setting of the table": ({"differences": [BATCH]}, "fit.method.batch_size"),
    "an override that the table lacks": (
        {"words": ["+trainer.limit_train_batches=2"]},
        "trainer.limit_train_batches",
    ),
    "a training split": ({"words": ["data.train=train"]}, "data.train"),
    "images of val": ({"images": {"val": 100}}, "images of val"),
    "images of train": ({"images": {"train": 1463}}, "images of train"),
    "images of train_aug": ({"images": {"train_aug": 1464}}, "images of train_aug"),
    "random weights": ({"initial_weights": "random"}, "backbone.weights"),
}


@pytest.mark.parametrize(("other", "key"), DIFFERENT.values(), ids=DIFFERENT)
def test_a_run_that_differs_from_the_published_one_is_never_reproduced(
    judged, tmp_path, other, key
):
    write(tmp_path, seeds=55.4, **other)
    status, rows = judged()
    row = rows["seam_voc2012", SEEDS]
    assert row["verdict"] == f"settings differ: {key}"
    assert [reason.split(":")[0] for reason in row["differences"]] == [key]
    assert row["mean"] == 55.4
    assert status == 1


def test_an_override_that_the_table_compares_counts_by_its_value(judged, tmp_path):
    write(tmp_path, words=["fit.method.batch_size=8", "backbone.weights=resnet38.pth"])
    assert judged()[0] == 0


def test_runs_that_differ_are_left_out_where_others_do_not(judged, tmp_path):
    write(tmp_path, seed=0, seeds=55.4)
    write(tmp_path, seed=1, seeds=10.0, differences=[BATCH])
    status, rows = judged()
    assert rows["seam_voc2012", SEEDS]["seeds"] == {"0": 55.4}
    assert status == 0


def test_of_several_runs_of_a_seed_the_last_counts(judged, tmp_path):
    first = write(tmp_path, seeds=10.0)
    os.utime(first / "results.json", (1, 1))
    write(tmp_path, seeds=55.4, name="_again")
    assert judged()[1]["seam_voc2012", SEEDS]["seeds"] == {"0": 55.4}


def test_a_score_that_is_missing_is_not_reproduced(judged, tmp_path):
    write(tmp_path, network=float("nan"))
    status, rows = judged()
    assert rows["seam_voc2012", NETWORK]["verdict"] == "not scored"
    assert status == 1


def test_a_row_names_the_published_network_where_it_is_another(judged, tmp_path):
    write(tmp_path)
    _, rows = judged()
    network, initial = rows["seam_voc2012", NETWORK]["other_networks"]
    assert "resnet101 (published vgg16)" in network
    assert "ImageNet (published: COCO's masks)" in initial
    assert rows["seam_voc2012", SEEDS]["other_networks"] == []  # seeds do not pass through it


@pytest.mark.parametrize("name", ["cam_psa_voc2012", "sc_cam_voc2012", "box_voc2012"])
def test_tables_of_this_package_name_the_other_network(check, name):
    recipe = read_recipe(name)  # whose segmentation networks, or their weights, are not ours
    for score in recipe.scores:
        assert bool(check.other_networks(recipe, score)) == score.key.startswith("segmentation")


@pytest.mark.parametrize("form", [[], ["--markdown"]])
def test_tables_name_verdicts_and_reasons(check, judged, tmp_path, capsys, form):
    write(tmp_path, differences=[BATCH])
    with pytest.raises(SystemExit):
        check.main([str(tmp_path), *form])
    shown = capsys.readouterr().out
    assert_names(shown, "fit.method.batch_size", 16, 8, near=100)
    assert "not run" in shown


BAD = {
    "no results": (lambda path: (path / "results.json").unlink(), "no results.json"),
    "damaged": (lambda path: (path / "results.json").write_text("{"), "cannot be read"),
}


@pytest.mark.parametrize(("spoil", "told"), BAD.values(), ids=BAD)
def test_results_that_cannot_be_read_are_an_error(check, judged, tmp_path, capsys, spoil, told):
    spoil(write(tmp_path))
    with pytest.raises(SystemExit) as stop:
        check.main([str(tmp_path)])
    assert stop.value.code == 1
    assert told in capsys.readouterr().err


def test_results_of_another_version_are_an_error(check, judged, tmp_path, capsys):
    write(tmp_path, without=["recipe"])
    with pytest.raises(SystemExit) as stop:
        check.main([str(tmp_path)])
    assert stop.value.code == 1
    assert_names(capsys.readouterr().err, "results.json", "version")


def test_runs_of_no_recipe_are_an_error(check, judged, tmp_path, capsys):
    path = write(tmp_path) / "results.json"
    content = json.loads(path.read_text())
    content |= {"experiment": "cam", "recipe": None}
    path.write_text(json.dumps(content))
    with pytest.raises(SystemExit):
        check.main([str(tmp_path)])
    assert "seam_voc2012" in capsys.readouterr().err
