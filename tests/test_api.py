"""The Python API: runs, sweeps and the table of scores."""

import math
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from commands import CACHED, DONE, TINY, there
from example_results import example_results
from facts import assert_names, raises_naming

import wsss_lightning
from wsss_lightning import api
from wsss_lightning.cli.handover import VARIABLE
from wsss_lightning.errors import InputError
from wsss_lightning.results.schema import Protocol, ScoredImages, Splits, write_results

ROOT = Path(wsss_lightning.__file__).parents[1]
SEEDS = (*TINY, "pipeline=seeds", "refine=none")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch, request):
    """The folder of a user, who has not changed into the checkout."""
    if "generated_data_cache" not in request.fixturenames:
        monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    return tmp_path


@pytest.fixture
def program(elsewhere, monkeypatch):
    """`program(script)`: a shell script that stands for the command."""

    def replace(script: str) -> None:
        path = elsewhere / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(path))

    return replace


@pytest.mark.long
@pytest.mark.slow
def test_a_run_from_python_is_the_run_of_the_command(elsewhere, capsys):
    run = wsss_lightning.run("cam", overrides=SEEDS)
    assert DONE in capsys.readouterr().out
    command = there("experiment=cam", *SEEDS, folder=elsewhere)
    assert command.folder == run.folder
    assert not command.stages(DONE)
    assert command.stages(CACHED)
    assert command.scores == run.scores == run.results.scores

    runs = wsss_lightning.sweep("cam", "tiny_world", [*SEEDS, "seed=0,1"], show_output=False)
    assert capsys.readouterr().out == ""
    assert [one.seed for one in runs] == [0, 1]
    assert runs[0].scores == run.scores
    assert {row["run"] for row in wsss_lightning.results("runs")} == {
        str(one.folder.relative_to(elsewhere)) for one in (run, *runs)
    }


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({"experiment": "semm"}, ["experiment=semm", "seam"]),
        ({"experiment": "cam", "data": "voc"}, ["data=voc", "voc2012"]),
        ({"experiment": "cam", "overrides": ["seed=abc"]}, ["seed", "abc", "whole number"]),
        ({"experiment": "cam", "overrides": ["--cfg", "job"]}, ["--cfg"]),
        ({"experiment": "cam", "overrides": "seed=1"}, ["seed=1", "list"]),
        ({"experiment": "cam", "overrides": ["-m", "seed=0,1"]}, ["-m", "wsss_lightning.sweep"]),
        ({"experiment": "cam", "overrides": ["seed=0,1"]}, ["seed=0,1"]),
        ({"experiment": "cam", "config_dir": "nowhere"}, ["nowhere"]),
    ],
)
def test_bad_arguments_raise_the_message_of_the_command(elsewhere, arguments, facts, capfd):
    with raises_naming(InputError, *facts):
        wsss_lightning.run(**arguments)
    assert "error:" not in "".join(capfd.readouterr())  # the exception says it
    assert not (elsewhere / "runs").exists()


def test_a_failed_sweep_names_its_jobs(elsewhere):
    overrides = ["seeds.background_score=2,3", "-m"]
    with raises_naming(InputError, "2 jobs", "seeds.background_score", 2.0, 3.0):
        wsss_lightning.sweep("cam", overrides=overrides, show_output=False)


def test_output_is_shown_while_the_run_goes_on(program, elsewhere, monkeypatch):
    class Notebook:
        """Standard output that is no file; it lets the program end once it printed."""

        text = ""

        def write(self, text):
            self.text += text
            (elsewhere / "seen").touch()

        flush = lambda self: None  # noqa: E731
        isatty = lambda self: False  # noqa: E731

    notebook = Notebook()
    monkeypatch.setattr(sys, "stdout", notebook)
    folder = elsewhere / "run"
    write_results(folder, example_results())
    wait = "while ! test -f seen; do sleep 0.05; done"
    program(
        f"echo first; echo second >&2; {wait}; printf 'caf\\303\\251'\n"
        f"""echo '{{"folders": ["{folder}"]}}' > "${VARIABLE}" """
    )
    run = wsss_lightning.run("cam")
    assert notebook.text == "first\nsecond\ncafé"
    assert run.folder == folder


@pytest.mark.parametrize(
    ("script", "facts"),
    [
        ("echo the last line; exit 3", ["code 3", "the last line", "experiment=cam"]),
        ("echo the last line; kill -9 $$", ["SIGKILL", "the last line"]),
    ],
)
def test_a_crash_is_no_input_error_and_keeps_the_output(program, script, facts):
    program(script)
    with raises_naming(RuntimeError, *facts):
        wsss_lightning.run("cam", show_output=False)


def test_an_interrupted_notebook_interrupts_the_run(program, elsewhere, monkeypatch):
    wait = "echo go; while :; do sleep 0.1; done"
    program(f"trap 'echo > interrupted; exit 130' INT; echo $$ > pid; {wait}")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.stdout, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        wsss_lightning.run("cam")
    assert (elsewhere / "interrupted").exists()
    assert not Path(f"/proc/{(elsewhere / 'pid').read_text().strip()}").exists()


def test_scores_are_a_row_each(tmp_path):
    scores = {
        "segmentation/val/miou": 0.625,
        "pseudo/train/iou_traffic_light": 0.5,
        "round_2/seeds/train/miou_held_out": 0.25,
        "classifier/val/map": None,
    }
    protocol = Protocol(
        Splits("train", "val"),
        ["scoring"],
        true_masks_digest="a-b",
        scored_splits={"val": ScoredImages(7, "masks")},
        initial_weights="random",
    )
    write_results(tmp_path / "a/cam", example_results(scores=scores, protocol=protocol, seed=3))
    write_results(tmp_path / "b/seam", example_results(experiment="seam"))
    rows = wsss_lightning.results([tmp_path / "a", str(tmp_path / "b")])
    assert len(rows) == 4 + 2
    assert len({tuple(row) for row in rows}) == 1  # the same columns in the same order
    by_key = {(row["experiment"], row["round"], row["step"], row["metric"]): row for row in rows}
    assert by_key["cam", None, "segmentation", "miou"] == {
        "run": str(tmp_path / "a/cam"),
        "experiment": "cam",
        "data": "pets",
        "seed": 3,
        "supervision": "tags",
        "round": None,
        "step": "segmentation",
        "split": "val",
        "metric": "miou",
        "class": None,
        "value": 0.625,
        "images": 7,
        "true_masks": "a-b",
        "initial_weights": "random",
        "overrides": "experiment=cam seed=0",
    }
    light = by_key["cam", None, "pseudo", "iou"]
    assert (light["class"], light["value"], light["images"]) == ("traffic_light", 0.5, None)
    early = by_key["cam", 2, "seeds", "miou_held_out"]
    assert (early["split"], early["class"], early["value"]) == ("train", None, 0.25)
    assert math.isnan(by_key["cam", None, "classifier", "map"]["value"])
    assert by_key["seam", None, "segmentation", "miou"]["value"] == 0.625


def test_the_table_opens_in_pandas(tmp_path):
    pandas = pytest.importorskip("pandas")
    for seed, value in enumerate((0.5, 0.7)):
        write_results(
            tmp_path / f"cam_{seed}", example_results(seed=seed, scores={"seeds/val/miou": value})
        )
    table = pandas.DataFrame(wsss_lightning.results(tmp_path))
    assert table.groupby(["experiment", "step"]).value.mean()["cam", "seeds"] == pytest.approx(0.6)


def test_a_folder_without_runs_is_an_error(tmp_path):
    with raises_naming(InputError, tmp_path / "none"):
        wsss_lightning.results(tmp_path / "none")


def test_the_package_is_imported_at_once_and_without_pytorch():
    code = (
        "import sys, wsss_lightning; assert not {'torch', 'hydra', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_no_other():
    for name in wsss_lightning.__all__:
        assert getattr(wsss_lightning, name) is not None
    assert dir(wsss_lightning) == sorted(wsss_lightning.__all__)
    with pytest.raises(AttributeError, match="predictor"):
        _ = wsss_lightning.predictor


def test_the_function_results_stays_when_its_namesake_package_is_used():
    code = (
        "import wsss_lightning\n"
        "from wsss_lightning.results.schema import Results\n"
        "assert callable(wsss_lightning.results)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_functions_have_types():
    for function in (api.run, api.sweep, api.results):
        assert set(function.__annotations__) >= {"return"}
    assert (ROOT / "wsss_lightning/py.typed").is_file()
    assert_names(api.run.__doc__, "Returns", "Raises")
