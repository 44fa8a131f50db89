"""`data=folder` on the command line."""

import csv
import json
import re

import pytest
from commands import SMALL
from facts import assert_names
from hydra import compose, initialize_config_dir
from photo_sets import write_mixed, write_photos

from wsss_lightning.cli.photo_folder import read_photos
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.data.supervision import TAGS

QUICK = ("pipeline.segment=false", "refine=none", *SMALL)


def write_table(path, tags) -> None:
    """As Excel exports it in Germany."""
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        rows = [[name, ", ".join(words)] for name, words in tags.items()]
        csv.writer(file, delimiter=";").writerows([["Filename", "Tags"], *rows])


@pytest.fixture
def photos(tmp_path):
    tags = write_mixed(tmp_path / "my photos (1)/a=b,c", 10)
    write_table(tmp_path / "tags.csv", tags)
    return tags


WORDS = ("experiment=cam", "data=folder", "data.root=my photos (1)/a=b,c/", "data.tags=tags.csv")


@pytest.mark.slow
def test_a_run_prints_keeps_and_reuses_what_it_understood(here, photos, tmp_path):
    first = here(*WORDS, *QUICK)
    assert first.code == 0, first.err
    assert_names(first.out, "tags.csv", "Filename", "Tags", "cat", "dog", "horse", near=200)
    with (first.folder / "split.csv").open() as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert {name: row["tags"].split(", ") for name, row in rows.items()} == {
        name: sorted(words) for name, words in photos.items()
    }
    splits = [row["split"] for row in rows.values()]
    counts = re.search(r"photos +│ +(\d+) │ +(\d+)", first.out)
    assert counts is not None
    assert [splits.count("train"), splits.count("val")] == list(map(int, counts.groups()))
    assert first.results["dataset"]["classes"] == ["cat", "dog", "horse"]
    assert first.results["data"] == "a=b,c"
    # the table of splits is itself a table of tags and splits; with it every step is reused
    split = first.folder / "split.csv"
    again = here(*WORDS[:3], f"data.tags={split}", f"data.split={split}", *QUICK)
    assert again.code == 0, again.err
    assert again.stages("done") == []
    photos[next(iter(photos))] = ["cat"]
    write_table(tmp_path / "tags.csv", photos)
    assert "classifier" in here(*WORDS, *QUICK).stages("done")


def test_without_a_validation_split_all_photos_are_for_training(
    photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = ["experiment=cam", "data=folder", "data.root='my photos (1)/a=b,c'"]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("config", overrides=[*words, "data.tags=tags.csv", "data.val=null"])
    found = read_photos(cfg, TAGS)
    assert found is not None
    # one batch of 8 an epoch, and 16 and 10 epochs
    assert_names(capsys.readouterr().out, "16 steps", "10 steps", "fit.method.max_epochs=160")
    assert len(found.split("train")) == 10
    assert cfg.data.num_classes == 3
    assert read_photos(cfg) is None


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        ((), ["data.tags", "tags=FILE"]),
        (("data.tags=tgas.csv",), ["data.tags", "tgas.csv", "tags.csv"]),
        (("data.tags=tags.csv", "data.classes=[cta]"), ["data.classes", "cta", "cat"]),
        (("data.tags=tags.csv", "data.val_fraction=1"), ["data.val_fraction", "1", "[0, 1)"]),
        (("data.tags=tags.csv", "data.num_classes=7"), ["data.num_classes", "7", "3"]),
        (("data.tags=tags.csv", "data.tag_columns=[Tag]"), ["data.tag_columns", "Tag", "Tags"]),
        (("data.tags=tags.csv", "data.split_seed=-1"), ["data.split_seed", "-1"]),
        (("data.tags=tags.csv", "experiment=box"), ["boxes", "tags.csv", "data.boxes", "COCO"]),
        (("data.tags=tags.csv", "data.root=nowhere"), ["data.root", "nowhere"]),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_key(here, photos, words, facts):
    given = {word.partition("=")[0] for word in words}
    base = [word for word in WORDS[:3] if word.partition("=")[0] not in given]
    outcome = here(*base, *words, *SMALL)
    assert outcome.code == 1
    assert_names(outcome.err, *facts)
    assert not list(outcome.cwd.glob("runs/*"))


@pytest.mark.slow
def test_boxes_of_a_coco_file_are_learnt_from(here, tmp_path):
    names = [f"{i}.jpg" for i in range(4)]
    write_photos(tmp_path / "p", names, {name: ["cat"] for name in names})
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    boxes = [{"id": i, "image_id": i, "category_id": 0, "bbox": [4, 8, 16, 20]} for i in range(4)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 0, "name": "cat"}]}
    (tmp_path / "p/coco.json").write_text(json.dumps(content))
    outcome = here(
        "experiment=box_naive", "data=folder", "data.root=p", "data.tags=coco.json",
        "pipeline.rounds=1", *(word for word in SMALL if not word.startswith("fit.method")),
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.results["annotation"]["boxes"] == 3


@pytest.mark.slow
def test_forty_photos_and_a_table_become_a_network(here, tmp_path):
    tags = write_mixed(tmp_path / "PHOTOS", 40)
    write_table(tmp_path / "tags.csv", tags)
    (tmp_path / "PHOTOS/Thumbs.db").write_text("x")
    (tmp_path / "PHOTOS/IMG_1.HEIC").write_text("x")
    outcome = here(
        "experiment=cam", "data=folder", "data.root=PHOTOS", "data.tags=tags.csv", *SMALL
    )
    assert outcome.code == 0, outcome.err
    assert_names(outcome.out, "1 images are left out", ".heic", near=100)
    predicted = [path.stem for path in (outcome.folder / "predictions/val").glob("*.png")]
    with (outcome.folder / "split.csv").open() as file:
        listed = [row["image"] for row in csv.DictReader(file) if row["split"] == "val"]
    assert sorted(predicted) == sorted(name.rpartition(".")[0] for name in listed)
    assert 6 <= len(predicted) <= 10
    assert "classifier/val/map" in outcome.scores
    assert not any(key.endswith("miou") for key in outcome.scores)


def test_a_key_of_another_option_names_the_option(here, photos):
    outcome = here("experiment=cam", "data.root=x", "data.tags=tags.csv")
    assert outcome.code == 1
    assert_names(outcome.err, "data.tags", "data=folder")
