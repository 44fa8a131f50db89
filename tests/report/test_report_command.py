"""The page of real runs, from the command line to the pictures."""

import json
import re
import shutil

import pytest
from commands import TINY, write_voc
from facts import assert_names, assert_names_none

from wsss_lightning.report.__main__ import main

pytestmark = pytest.mark.slow


@pytest.fixture
def swept(here, shared):
    run = here("-m", "experiment=cam,box,full_supervision", *TINY, folder=shared)
    assert run.code == 0, run.err
    (folder,) = re.findall(r"^sweep +(\S+)$", run.out, re.MULTILINE)
    return shared / folder


def test_a_sweep_becomes_a_page_with_pictures_of_every_method(swept, tmp_path):
    charts = tmp_path / "charts"
    main([str(swept), "--out", str(tmp_path / "page.html"), "--charts", str(charts)])
    assert {"tiny_world_cost.png", "tiny_world_steps.png"} <= {p.name for p in charts.iterdir()}
    text = (tmp_path / "page.html").read_text()
    assert_names(text, "3 methods", "3 runs", near=40)
    for said in ("From seeds to segmentation", "Error types", "Rounds", "Background threshold"):
        assert said in text
    assert_names(text, "full_supervision", "cam", "mIoU", near=200)
    # of the first image of val: given, and what every method has of it
    for caption in (
        r"CAM of \w+ of cam",
        "confidence of cam",
        r"[^\"]*\bsegmentation of cam",
        r"[^\"]*\bsegmentation of box",
        r"[^\"]*\blabels 4\b[^\"]* of box",  # labels of rounds may be the same
    ):
        assert re.search(f'alt="{caption}"', text), caption
    assert text.count("data:image/jpeg") > 50
    assert_names_none(text, "data.root")


def test_what_a_run_consumed_is_counted(swept):
    for path in swept.glob("*/results.json"):
        results = json.loads(path.read_text())
        told = results["annotation"]
        assert (told["images"], told["tag_questions"]) == (12, 72)
        kind = results["experiment"]
        assert (told["boxes"] > 0) == (kind == "box")
        assert told["masks"] == (12 if kind == "full_supervision" else 0)
        assert told["held_out_masks"] == (1 if kind == "cam" else 0)
        assert f"experiment={kind}" in results["overrides"]


def test_without_the_photos_the_page_says_why_it_has_no_pictures(here, tmp_path):
    root = write_voc(tmp_path / "voc")
    small = [word for word in TINY if not word.startswith("data.generate")]
    words = ["experiment=cam", "data=voc_layout", "pipeline=seeds", f"data.root={root}"]
    words += ["data.name=mine", "data.num_classes=3", "data.dataset.classes=[bird,cat,dog]"]
    words += ["data.dataset.mask_ids={0:background,3:bird,8:cat,12:dog}"]
    run = here(*words, *small, f"output_dir={tmp_path}/runs")
    assert run.code == 0, run.err
    shutil.rmtree(root)
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "page.html")])
    text = (tmp_path / "page.html").read_text()
    assert_names(text, "data.root", root, near=100)
    assert "data:image/jpeg" not in text
