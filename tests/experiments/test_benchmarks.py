"""The benchmarks' commands, on work so small that their figures mean nothing."""

import json
import os
from pathlib import Path

import pytest
from benchmarks import command
from commands import TINY
from example_results import example_results
from facts import assert_names
from label_masks import CLASSES as MASK_CLASSES
from label_masks import write_masks

from wsss_lightning.results.schema import write_results

ROOT = Path(__file__).parents[2]
CRF = ROOT / "experiments/benchmarks/crf"
SEAM = ROOT / "experiments/benchmarks/seam/benchmark.py"
CLUSTERS = ROOT / "experiments/benchmarks/clusters/benchmark.py"
WALK = ROOT / "experiments/benchmarks/walk/benchmark.py"
FAULTS = ROOT / "experiments/benchmarks/faults"
MASKS = ROOT / "experiments/benchmarks/masks/benchmark.py"
PROCESSES = ROOT / "experiments/benchmarks/processes/benchmark.py"
pytestmark = pytest.mark.slow


@pytest.mark.long
def test_engines_of_the_crf_are_compared(tmp_path):
    pytest.importorskip("pydensecrf", reason="the reference is an extra: wsss-lightning[crf]")
    small = ("--sizes", "40x30", "--labels", 2, "--pictures", 1, "--repeats", 1)
    told = command(CRF / "benchmark.py", *small, "--no-scaling", "--out", tmp_path / "found.json")
    assert "pydensecrf" in told
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert {row["engine"] for row in rows} >= {"pydensecrf", "native", "torch"}
    assert all(row["argmax_worst"] > 0.999 for row in rows if row["engine"] != "torch on GPU")


@pytest.mark.long
def test_a_runs_crf_is_timed_and_gated(here, mine):
    pytest.importorskip("pydensecrf", reason="the reference is an extra: wsss-lightning[crf]")
    run = here(*mine)
    assert "2 processes" in command(CRF / "whole_pass.py", run.folder)
    assert "factor 3" in command(CRF / "area_check.py", run.folder, "--factors", 3)
    told = command(CRF / "benchmark.py", "--run", run.folder, "--pictures", 2, "--repeats", 1)
    assert_names(told, "native", "96 px", near=60)


@pytest.mark.long
def test_the_memory_of_seam_is_measured():
    small = ("--height", 40, "--width", 48, "--block-mib", 0.01)
    for part in ("pcm", "train"):
        told = command(SEAM, "memory", "--of", part, *small)
        assert_names(told.splitlines()[0], part, "48x40")


@pytest.mark.skipif("WSSS_OFFICIAL_SEAM" not in os.environ, reason="set it to YudeWang/SEAM's code")
def test_seam_equals_the_official_code():
    told = command(SEAM, "equal", os.environ["WSSS_OFFICIAL_SEAM"])
    assert told.count("gradients reach 39 tensors in both codes: True") == 2
    assert float(told.split("of all gradients ")[-1].split()[0]) < 1e-7


@pytest.mark.skipif("WSSS_OFFICIAL_SC_CAM" not in os.environ, reason="set it to SC-CAM's code")
def test_sub_categories_equal_those_of_the_official_script():
    small = ("--images", 1500, "--features", 256)
    told = command(CLUSTERS, os.environ["WSSS_OFFICIAL_SC_CAM"], *small)
    assert_names(told, "100.00%")


@pytest.mark.long
def test_the_walk_is_that_of_the_whole_matrix():
    told = command(WALK, "--grids", "9x11", "--steps", 16, "--repeats", 1)
    row = next(line for line in told.splitlines() if line.startswith("9x11      ours"))
    assert float(row.split()[-1]) < 1e-5


@pytest.mark.long
def test_processes_are_timed_beside_one():
    small = [word for word in TINY if not word.startswith(("trainer", "workers"))]
    told = command(PROCESSES, *small, "--devices", 1, 2)
    assert [line.split()[0] for line in told.splitlines()[1:]] == ["1", "2"]


def test_the_cost_of_manifests_is_measured():
    told = command(FAULTS / "verify.py", "--files", 20, "--bytes", 100)
    assert len(told.splitlines()) == 4


def test_formats_of_masks_are_compared(tmp_path):
    dataset = {
        "root": str(tmp_path), "image_dir": "images", "mask_dir": "no", "classes": MASK_CLASSES
    }  # fmt: skip
    write_masks(tmp_path)
    (tmp_path / "masks").rename(tmp_path / "pseudo")
    write_results(tmp_path, example_results(dataset=dataset))
    told = command(MASKS, tmp_path, "--images", 2, "--simplify", 0, 2)
    assert_names(told, "| coco-rle | 0 | 100.0 % |", "| coco | 0 | 100.0 % |")
    assert "| coco | 2 | 100.0 % |" not in told
