"""What W&B is told, read back from the files that it writes offline."""

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from commands import TINY, there
from PIL import Image

pytest.importorskip("wandb")
from wandb.proto import wandb_internal_pb2 as protocol

from wsss_lightning.results import wandb as wandb_results

pytestmark = pytest.mark.slow

KEY = "0123456789abcdef" * 2 + "feedbeef"  # as long as W&B's are
# every tenth step is logged, and tiny trainings have few
OFTEN = (
    "fit.method.batch_size=4",
    "fit.method.max_epochs=4",
    "fit.segmenter.batch_size=4",
    "fit.segmenter.max_epochs=4",
    "trainer.check_val_every_n_epoch=1",
)
WANDB = ("logger=wandb", "logger.wandb.offline=true")
BLOCK, HEADER = 32768, 7


@dataclass
class Offline:
    """A run as its file has it."""

    folder: Path
    number: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    sweep: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Path] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    steps: dict[str, str] = field(default_factory=dict)

    @property
    def scores(self) -> dict[str, float]:
        """Of the summary, what is neither W&B's own nor a table or picture."""
        return {
            key: value
            for key, value in self.summary.items()
            if not key.startswith("_") and not isinstance(value, dict)
        }

    def table(self, key: str) -> dict[str, Any]:
        assert self.summary[key]["_type"] == "table-file"
        return json.loads(self.kept[f"{key}.table.json"].read_text())


def records(path: Path) -> Iterator[Any]:
    """Of a log in LevelDB's format: blocks of fragments, each behind checksum, length and kind."""
    content, at, whole = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(content):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + HEADER])
        whole += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            record = protocol.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def put(target: dict[str, Any], item: Any) -> None:
    """An item of a summary or history into a mapping, which may be nested."""
    *outer, last = item.nested_key or [item.key]
    for key in outer:
        target = target.setdefault(key, {})
    target[last] = json.loads(item.value_json)


def read(folder: Path) -> Offline:
    """The run that W&B left in a folder `offline-run-...`."""
    (path,) = folder.glob("*.wandb")
    run = Offline(folder)
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            told = record.run
            run.number, run.name, run.group = told.run_id, told.display_name, told.run_group
            run.job_type, run.tags, run.sweep = told.job_type, list(told.tags), told.sweep_id
            run.config = {u.key: json.loads(u.value_json) for u in told.config.update}
        elif kind == "summary":
            for item in record.summary.update:
                put(run.summary, item)
        elif kind == "history":
            run.history.append({})
            for item in record.history.item:
                put(run.history[-1], item)
        elif kind == "artifact":
            contents = record.artifact.manifest.contents
            run.kept |= {one.path: Path(one.local_path) for one in contents}
        elif kind == "metric":
            run.steps[record.metric.name or record.metric.glob_name] = record.metric.step_metric
    return run


def runs_of(run) -> dict[str, Offline]:
    """All W&B runs below a command's working folder, by job type."""
    folders = {path.resolve() for path in run.cwd.glob("runs/**/wandb/offline-run-*")}
    found = [read(folder) for folder in sorted(folders)]
    by_type = {one.job_type: one for one in found}
    assert len(by_type) == len(found), [(one.folder.name, one.job_type) for one in found]
    return by_type


@pytest.fixture(scope="module")
def cam(tmp_path_factory):
    """One run through the command line in a process of its own, with a key and no account."""
    with pytest.MonkeyPatch.context() as patch:
        # the same worlds as later commands of the test that repeats this one
        base = tmp_path_factory.getbasetemp()
        shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
        patch.setenv("WSSS_CACHE", str(shared / "cache"))
        patch.setenv("WANDB_API_KEY", KEY)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("WANDB_MODE", raising=False)
        folder = tmp_path_factory.mktemp("cam")
        words = ("experiment=cam", *TINY, *OFTEN, *WANDB)
        yield words, there(*words, folder=folder)


def test_a_pipeline_run_is_a_group_of_trainings_and_one_run_of_results(cam):
    _, run = cam
    found = runs_of(run)
    assert set(found) == {"classifier", "segmentation", "results"}
    (group,) = {one.group for one in found.values()}
    assert group.startswith("cam-tiny_world-seed0-")
    for stage, one in found.items():
        assert one.name == f"{group}/{stage}"
        assert one.tags == ["cam", "tiny_world", "cam", "seed 0"]
        assert one.config["experiment"] == "cam"
        assert one.config["data"]["name"] == "tiny_world"
        assert one.config["seed"] == 0
    trainings = {stage: found[stage].number for stage in ("classifier", "segmentation")}
    assert found["results"].config["trainings"] == trainings
    assert found["segmentation"].config["schedule"]["batch_size"] == 4


def test_the_summary_of_the_results_is_the_scores_of_results_json(cam):
    _, run = cam
    told = runs_of(run)["results"]
    assert told.scores == run.scores
    assert {key: value for key, value in told.history[0].items() if key in run.scores} == run.scores
    assert len(told.history) == 1
    for key in ("protocol", "versions"):
        assert told.config[key] == run.results[key]
    assert told.config["seeds"]["background_score"] == 0.2


def test_curves_of_all_trainings_have_the_same_names_over_the_same_steps(cam):
    _, run = cam
    found = runs_of(run)
    figures = {"classifier": "val/map", "segmentation": "val/miou"}
    for stage, figure in figures.items():
        one = found[stage]
        for names in ("train/*", "val/*"):
            assert one.steps[names] == "trainer/global_step"
        for key in ("train/loss", figure):
            rows = [row for row in one.history if key in row]
            assert rows
            assert all("trainer/global_step" in row for row in rows)


def test_tables_hold_probe_images_classes_and_thresholds(cam):
    _, run = cam
    told, scores = runs_of(run)["results"], run.scores
    steps = ["CRF", "pseudo mask", "prediction"]
    train, val = (told.table(f"probes/{split}") for split in ("train", "val"))
    shown = ["name", "tags", "image", "truth", "CAM", "confidence"]
    assert train["columns"] == [*shown, *steps]
    assert val["columns"] == [*shown, "CRF", "prediction"]
    for split, table in (("train", train), ("val", val)):
        names = sorted(path.stem for path in (run.folder / f"predictions/{split}").glob("*.png"))
        assert [row[0] for row in table["data"]] == [names[0], names[-1]]  # num_previews=2
        for row in table["data"]:
            for heading, cell in zip(table["columns"][2:], row[2:], strict=True):
                assert cell["_type"] == "image-file"
                with Image.open(told.kept[cell["path"]]) as picture:
                    # a heat map of each tag beside the others
                    count = len(row[1].split(", ")) if heading == "CAM" else 1
                    assert max(picture.width / count, picture.height) == 64
            assert [f"{tag}: peak" in row[6 - 2]["caption"] for tag in row[1].split(", ")]
    classes = told.table("per_class_iou")
    assert {f"{step}/{split}/iou_{name}": iou for step, split, name, iou in classes["data"]} == {
        key: value for key, value in scores.items() if "/iou_" in key
    }
    curve = told.table("threshold_curve")
    assert curve["columns"] == ["step", "split", "threshold", "miou", "precision", "recall"]
    best = {
        split: max(row[3] for row in curve["data"] if row[1] == split) for split in ("train", "val")
    }
    for split, value in best.items():
        assert value == pytest.approx(scores[f"seeds/{split}/miou_oracle"], abs=1e-5)
    assert {"pictures/train", "pictures/val", "per_class_iou/val_table"} <= set(told.summary)


def test_all_that_is_synced_later_lies_in_the_folder_of_the_run(cam):
    _, run = cam
    told = runs_of(run)["results"]
    assert told.kept
    assert all(path.is_file() and run.folder in path.parents for path in told.kept.values())


def test_a_key_of_wandb_is_written_nowhere(cam):
    _, run = cam
    assert KEY not in run.out + run.err
    files = [path for path in run.cwd.rglob("*") if path.is_file()]
    assert {"results.json", "config.yaml", "debug.log"} <= {path.name for path in files}
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_the_workspace_is_composed_without_an_account_of_what_is_logged(cam):
    pytest.importorskip("wandb_workspaces")
    script = Path(__file__).parents[2] / "experiments/dashboards/workspace.py"
    words = [sys.executable, str(script), "me", "--print"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    view = json.loads(done.stdout)["spec"]["section"]
    (runs,) = view["run_sets"]
    (only,) = runs["filters"]["filters"]
    assert (only["key"]["name"], only["value"]) == ("jobType", "results")
    logged = runs_of(cam[1])["results"].summary
    shown = {key.split(":")[1] for key in runs["run_feed"]["column_pinned"]} - {"displayName"}
    panels = [p for part in view["panel_bank_config"]["sections"] for p in part["panels"]]
    for panel in panels:
        told = panel["config"]
        shown |= {*told.get("metrics", []), *told.get("media_keys", [])}
    tables = re.findall(r'"(probes/\w+|per_class_iou|threshold_curve)"', done.stdout)
    assert len(set(tables)) == 4
    assert shown | set(tables) <= set(logged)
    assert len(shown) > 6


def test_a_repeated_command_tells_wandb_only_what_is_new(cam, here):
    words, first = cam
    found = runs_of(first)
    again = here(*words, folder=first.cwd)
    assert again.folder == first.folder
    assert {k: v.folder for k, v in runs_of(again).items()} == {
        k: v.folder for k, v in found.items()
    }
    record = first.folder / "wandb_results.json"
    number = json.loads(record.read_text())["id"]
    assert number == found["results"].number
    changed = here(*words, "logger.wandb.tags=[mine]", folder=first.cwd)
    told = sorted(changed.folder.glob("wandb/offline-run-*"), key=lambda p: p.stat().st_mtime_ns)
    assert len(told) == 2
    newest = read(told[-1])
    assert newest.number == number
    assert newest.tags[-1] == "mine"
    assert newest.scores == first.scores


def test_rounds_and_refiners_name_their_trainings_and_a_sweep_of_wandb_gets_the_results(
    here, monkeypatch
):
    # an agent has one process for each run; here others follow in this one
    monkeypatch.setattr(wandb_results, "_sweep", {})
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    monkeypatch.setenv("WANDB_RUN_ID", "agents11")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = here("experiment=sc_cam", *TINY, "pipeline.rounds=1", "refine=affinity", *WANDB)
    assert run.code == 0, run.err
    found = runs_of(run)
    assert set(found) == {
        "round_0/classifier",
        "round_1/classifier",
        "affinity/network",
        "segmentation",
        "results",
    }
    assert {one.sweep for kind, one in found.items() if kind != "results"} == {""}
    assert (found["results"].number, found["results"].sweep) == ("agents11", "sweep123")
    assert found["results"].tags[2] == "sc_cam"
    assert found["results"].scores == run.scores


@pytest.mark.long
def test_a_training_of_several_processes_is_one_run_and_the_next_begins_behind_it(tmp_path):
    words = ("experiment=full_supervision", *TINY, *OFTEN, *WANDB, "trainer=ddp_cpu")
    run = there(*words, folder=tmp_path)
    assert run.code == 0, run.err
    found = runs_of(run)
    assert set(found) == {"segmentation", "results"}
    for key in ("train/loss", "val/miou"):
        assert [row for row in found["segmentation"].history if key in row]
    assert found["results"].scores == run.scores


def test_runs_without_it_do_not_need_wandb_and_runs_with_it_say_so(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # whoever imports it gets an error
    run = here("experiment=full_supervision", *TINY)
    assert "segmentation/val/miou" in run.scores
    assert not (run.folder / "wandb_results.json").exists()
    told = here("experiment=full_supervision", *TINY, *WANDB)
    assert told.code == 1
    assert 'pip install "wsss-lightning[wandb]"' in told.err


def test_a_key_on_the_command_line_is_refused_before_anything_is_stored(here, tmp_path):
    told = here("experiment=cam", *TINY, f"+logger.wandb.api_key={KEY}")
    assert told.code == 1
    assert "WANDB_API_KEY" in told.err
    assert KEY not in told.err
    assert not (tmp_path / "runs").exists()


def test_wandb_without_an_account_is_told_before_the_first_stage(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    told = there("experiment=cam", *TINY, "logger=wandb", folder=tmp_path)
    assert told.code == 1
    assert "WANDB_MODE=offline" in told.err
    assert "Traceback" not in told.err
    assert not list(tmp_path.glob("runs/stages/*"))
