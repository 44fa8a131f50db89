import os
import subprocess
import sys
import time

import pytest
from facts import raises_naming
from filelock import FileLock
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from wsss_lightning.cli import sweep
from wsss_lightning.cli.sweep import SWEEP, Sweeps, claim_devices, print_jobs, recorded, records
from wsss_lightning.errors import InputError


@pytest.fixture(autouse=True)
def _apart(monkeypatch, tmp_path):
    """Locks of its own, no slot held, and an environment that is put back."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(sweep, "_locks", [])
    monkeypatch.setattr(sweep, "_devices", [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv(SWEEP, "this")


def job(folder, name, act):
    (folder / name).mkdir(parents=True)
    with recorded(folder / name, ["experiment=cam", f"seed={name[0]}"]) as record:
        act(record)


def fail(error):
    def act(_):
        raise error

    return act


def test_the_cause_of_a_failed_job_names_the_key(tmp_path):
    with pytest.raises(InputError):
        job(tmp_path, "0_a", fail(InputError("`root` is nowhere")))
    assert records(tmp_path, "this")[0]["cause"] == "data.root is nowhere"


def test_what_became_of_each_job_is_told_in_order(tmp_path, capsys):
    job(tmp_path, "10_b", lambda record: record.update(objective=0.5))
    with pytest.raises(InputError):
        job(tmp_path, "2_a", fail(InputError("a key is wrong")))
    with pytest.raises(KeyboardInterrupt):
        job(tmp_path, "3_c", fail(KeyboardInterrupt()))
    with pytest.raises(ZeroDivisionError):
        job(tmp_path, "4_d", fail(ZeroDivisionError("division by zero")))
    found = records(tmp_path, "this")
    assert [r["state"] for r in found] == ["failed", "interrupted", "failed", "done"]
    assert "traceback" not in found[0]
    assert "ZeroDivisionError" in found[2]["traceback"]
    jobs = print_jobs(tmp_path)
    assert [job.get("cause") for job in jobs] == [
        "a key is wrong",
        "KeyboardInterrupt",
        "division by zero",
        None,
    ]
    out = capsys.readouterr().out
    assert "seed=2" in out
    assert "experiment=cam" not in out  # common to all
    assert "50.0" in out


def test_a_job_that_was_not_scored_says_so(tmp_path, capsys):
    job(tmp_path, "0_a", lambda record: record.update(objective=None))
    (job_record,) = print_jobs(tmp_path)
    assert job_record["state"] == "done"
    assert "not scored" in capsys.readouterr().out


def test_the_error_of_a_job_is_raised_without_hydras_line_before_it(capsys):
    failed = JobReturn(status=JobStatus.FAILED, overrides=["seed=1"])
    failed.return_value = InputError("a key is wrong")
    done = JobReturn(status=JobStatus.COMPLETED)
    done.return_value = 0.5
    for job_return in (failed, done):
        Sweeps().on_job_end(config=OmegaConf.create(), job_return=job_return)
    with raises_naming(InputError, "a key is wrong"):
        _ = failed.return_value
    assert done.return_value == 0.5
    assert capsys.readouterr().err == ""


def test_overrides_that_look_like_markup_are_told_as_they_are(tmp_path, capsys):
    for name in ("0000_a", "0001_b"):
        (tmp_path / name).mkdir()
        with recorded(tmp_path / name, ["seed=0", f"data.root=/[red]/{name}"]):
            pass
    print_jobs(tmp_path)
    assert "data.root=/[red]/0001_b" in capsys.readouterr().out


def test_jobs_of_another_sweep_in_the_folder_are_not_told(tmp_path, monkeypatch):
    job(tmp_path, "0_a", lambda _: None)
    monkeypatch.setenv(SWEEP, "another")
    job(tmp_path, "1_a", lambda _: None)
    assert [r["name"] for r in records(tmp_path, "another")] == ["1_a"]


def test_a_job_whose_process_is_gone_is_lost(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    job(tmp_path, "0_a", lambda _: None)
    path = tmp_path / "0_a" / sweep.RECORD
    told = path.read_text().replace('"done"', '"running"')
    path.write_text(told)
    assert records(tmp_path, "this")[0]["state"] == "running"
    path.write_text(told.replace(str(os.getpid()), str(gone.pid)))
    assert records(tmp_path, "this")[0]["state"] == "lost"


def test_a_jobs_environment_ends_with_it(tmp_path):
    def leave(_):
        os.environ["LEFT"] = "behind"
        del os.environ["CUDA_VISIBLE_DEVICES"]

    job(tmp_path, "0_a", leave)
    assert "LEFT" not in os.environ
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_slot_is_the_first_group_of_which_nothing_is_taken(tmp_path):
    base = tmp_path / "tmp" / f"wsss_lightning-{os.getuid()}"
    base.mkdir()
    with FileLock(base / "gpu-1.lock"):
        assert claim_devices([[0, 1], [2, 3]], "gpu") == [2, 3]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"
    # kept for the process's next jobs, since CUDA does not look again
    assert claim_devices([[0, 1], [2, 3]], "gpu") == [2, 3]
    with FileLock(base / "gpu-0.lock", timeout=0):  # what was tried was let go
        pass
    assert claim_devices(None, "gpu") is None


def test_who_finds_no_slot_waits_for_one(tmp_path):
    base = tmp_path / "tmp" / f"wsss_lightning-{os.getuid()}"
    base.mkdir()
    lock = base / "gpu-0.lock"
    code = f"from filelock import FileLock; import time; lock = FileLock({str(lock)!r}); "
    holder = subprocess.Popen(
        [sys.executable, "-c", code + "lock.acquire(); print(flush=True); time.sleep(1)"],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    begun = time.monotonic()
    assert claim_devices([[0]], "gpu") == [0]
    assert time.monotonic() - begun > 0.5
    holder.wait()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are bound on Linux only")
def test_on_the_cpu_slots_are_cores():
    before = os.sched_getaffinity(0)
    core = min(before)
    try:
        assert claim_devices([[core]], "cpu") == [core]
        assert os.sched_getaffinity(0) == {core}
    finally:
        os.sched_setaffinity(0, before)
