"""Sweeps as a user starts them; Hydra's plugins run the jobs."""

import importlib.util
import json
import re
import signal
import time
from pathlib import Path

import pytest
from commands import SKIPPED, TINY, start, there
from facts import assert_names

pytestmark = pytest.mark.slow


def needs(plugin):
    return pytest.mark.skipif(
        importlib.util.find_spec(f"hydra_plugins.{plugin}") is None,
        reason=f"{plugin} is an extra: wsss-lightning[sweep]",
    )


# shorter than a name: what was said last wins
SWEEP = ["-m", "experiment=cam", *TINY, "pipeline=seeds", "hydra.sweep.dir=sweep"]


def jobs(folder: Path) -> list[dict]:
    """Records of a sweep's jobs, in their order."""
    paths = folder.glob("*/job.json")
    return [json.loads(p.read_text()) for p in sorted(paths, key=lambda p: p.parent.name)]


def results(folder: Path) -> list[dict]:
    return [json.loads(p.read_text()) for p in sorted(folder.glob("*/results.json"))]


@pytest.mark.long
def test_numbers_of_processes_in_one_sweep_give_the_same_numbers(tmp_path):
    # of odd numbers of images; each job has a store of its own, so none finds another's stages
    words = [*SWEEP, "data.generate.num_train=7", "data.generate.num_val=5"]
    words += ["trainer=ddp_cpu", "trainer.devices=1,2,1", "output_dir=runs${hydra:job.num}"]
    # training by shares differs by rounding, so here it changes nothing
    words += ["method.optimizer.lr=0", "backbone.freeze_norm=true"]
    done = there(*words, folder=tmp_path)
    assert done.code == 0, done.err
    one, two, again = results(tmp_path / "sweep")
    assert one["scores"] == two["scores"] == again["scores"]
    assert done.out.count("5/5 images, each once, 2 processes") == 2
    assert done.out.count("7/7 images, each once, 2 processes") == 1


def test_a_job_that_fails_is_told_at_the_end_and_stops_no_other(here, tmp_path):
    words = [*SWEEP, "seed=0,1", "fit.method.batch_size=0,8"]
    first = here(*words)
    assert first.code == 1
    assert [job["state"] for job in jobs(tmp_path / "sweep")] == ["failed", "done"] * 2
    assert_names(first.err, "2 jobs")
    assert first.err.count("fit.method.batch_size is 0") == 2
    assert "job 0:" in first.err
    assert "job 2:" in first.err
    begun = [path.stat().st_mtime for path in sorted(tmp_path.glob("sweep/*/results.json"))]
    second = here(*words)
    assert second.code == 1
    assert second.out.count(SKIPPED) == 2
    after = [path.stat().st_mtime for path in sorted(tmp_path.glob("sweep/*/results.json"))]
    assert after == begun


@pytest.mark.long
def test_a_sweep_that_is_killed_goes_on_with_what_is_missing(here, tmp_path):
    words = [*SWEEP, "seed=0,1", "fit.method.max_epochs=4"]
    whole = here(*[w.replace("dir=sweep", "dir=whole") for w in words], "output_dir=w")
    assert whole.code == 0, whole.err
    run = start(*words, folder=tmp_path)
    while len(results(tmp_path / "sweep")) < 1:
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    again = here(*words)
    assert again.code == 0, again.err
    assert again.out.count(SKIPPED) == 1
    found = results(tmp_path / "sweep")
    assert [r["scores"] for r in found] == [r["scores"] for r in results(tmp_path / "whole")]


@pytest.mark.long
def test_two_sweeps_share_a_store_at_the_same_time(tmp_path):
    words = [*SWEEP, "seed=0,1"]
    both = [
        start(*words, f"hydra.sweep.dir={name}", f"seeds.background_score={score}", folder=tmp_path)
        for name, score in {"a": 0.2, "b": 0.3}.items()
    ]
    told = [run.communicate(timeout=300) for run in both]
    assert [run.returncode for run in both] == [0, 0], told
    # two seeds, each trained once by whoever came first
    assert len(list(tmp_path.glob("runs/stages/train-*/stage.json"))) == 2
    oracle = "seeds/train/miou_oracle"
    a, b = ([r["scores"][oracle] for r in results(tmp_path / name)] for name in "ab")
    assert a == b


@pytest.mark.long
@needs("hydra_joblib_launcher")
def test_jobs_beside_each_other_have_devices_of_their_own(tmp_path, monkeypatch):
    # where slots are locked: a sweep that this machine is at would be waited for
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    words = [*SWEEP, "seed=0,1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    # each reads its images by a process of its own
    done = there(*words, "device_groups=[[0],[1]]", "workers=1", folder=tmp_path)
    assert done.code == 0, done.err
    ran = jobs(tmp_path / "sweep")
    assert [job["state"] for job in ran] == ["done"] * 3
    by_process = {job["pid"]: job["devices"] for job in ran}
    assert sorted(by_process.values()) == [[0], [1]]
    assert all(by_process[job["pid"]] == job["devices"] for job in ran)


@needs("hydra_optuna_sweeper")
@pytest.mark.parametrize("trainer", ["cpu", pytest.param("ddp_cpu", marks=pytest.mark.long)])
def test_optuna_tries_and_outlives_a_failure(here, tmp_path, trainer):
    words = ["hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_jobs=1"]
    words += ["hydra.sweeper.n_trials=3", "hydra.sweeper.max_failure_rate=1.0"]
    words += ["hydra.sweeper.sampler.seed=0", f"trainer={trainer}"]
    # of no images; of 3, which two processes cannot share
    wrong, told = {
        "cpu": (0, "fit.method.batch_size is 0"),
        "ddp_cpu": (3, "2 processes together, and they cannot share it evenly"),
    }[trainer]
    words += [f"fit.method.batch_size=choice(2,{wrong})"]
    plain = [w for w in SWEEP if w != "pipeline=seeds"]
    done = here(*plain, *words, "test.flip=false")
    assert done.code == 0, done.err
    ran = jobs(tmp_path / "sweep")
    assert len(ran) == 3
    for job in ran:
        size = next(w for w in job["overrides"] if w.startswith("fit.method.batch_size"))
        assert job["state"] == ("failed" if size.endswith(f"={wrong}") else "done")
    assert {job["state"] for job in ran} == {"failed", "done"}
    assert told in done.err


@pytest.mark.long
@needs("hydra_submitit_launcher")
def test_a_cluster_runs_the_jobs_as_this_machine_does(here, tmp_path):
    words = [*SWEEP, "seed=0,1"]
    done = there(*words, "hydra/launcher=submitit_local", folder=tmp_path)
    assert done.code == 0, done.err
    here(*[w.replace("dir=sweep", "dir=here") for w in words], "output_dir=h")
    found, expected = results(tmp_path / "sweep"), results(tmp_path / "here")
    assert [r["scores"] for r in found] == [r["scores"] for r in expected]
    assert re.search(r"2 jobs of the sweep", done.out)
