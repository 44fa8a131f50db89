"""Several processes give what one gives; these run through the command line."""

import hashlib
import os
import re
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
from commands import TINY, start, there

pytestmark = pytest.mark.slow

# numbers of images that no number of processes here divides
ODD = [word for word in TINY if "num_" not in word and not word.startswith("trainer")]
ODD += ["data.generate.num_train=7", "data.generate.num_val=5", "experiment=cam"]
SHARED = ("validate_tags-*", "cams-*", "predict-*", "features-*", "walk-*")


def files_of(store: Path) -> dict[str, str]:
    """Digest of every result of a stage, but for what tells how long it took."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in store.rglob("*")
        if path.is_file()
        and path.suffix != ".lock"
        and path.name not in ("stage.json", "manifest.json")
    }


@pytest.fixture
def one_key(monkeypatch):
    """Have all trainers share stages, so that several processes use networks trained by one."""
    monkeypatch.setattr("wsss_lightning.training.trainer.check_trainer", lambda *_: "same")


def test_what_processes_share_is_the_same_to_the_last_bit(here, tmp_path, one_key):
    words = [*ODD, f"output_dir={tmp_path}/runs", "cam.batch_size=2", "test.batch_size=3"]
    store = tmp_path / "runs/stages"
    alone = here(*words, "trainer=cpu")
    expected, scores = files_of(store), alone.scores
    for pattern in SHARED:
        for folder in store.glob(pattern):
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    # on 5 images of val the third process has none
    shared = here(*words, "trainer=ddp_cpu", "trainer.devices=3")
    assert shared.scores == scores
    assert files_of(store) == expected
    counted = re.findall(r"(\d)/(\d) images, each once, 3 processes", shared.out)
    # tags of val; seeds and predictions of both splits
    assert sorted(counted) == [("5", "5")] * 3 + [("7", "7")] * 2


@pytest.mark.long
def test_features_and_walks_are_shared_to_the_last_bit_too(here, tmp_path, one_key):
    words = [*ODD, "experiment=sc_cam", "pipeline.rounds=1", "pipeline.segment=false"]
    words += ["refine=affinity", "refine.schedule.max_epochs=1", f"output_dir={tmp_path}/runs"]
    words.remove("experiment=cam")
    store = tmp_path / "runs/stages"
    alone = here(*words, "trainer=cpu")
    expected, scores = files_of(store), alone.scores
    redone = [folder for pattern in SHARED for folder in store.glob(f"{pattern}/")]
    assert {"features", "walk"} <= {folder.name.split("-")[0] for folder in redone}
    for folder in redone:
        shutil.rmtree(folder)
    shared = here(*words, "trainer=ddp_cpu")
    assert shared.scores == scores
    assert files_of(store) == expected
    assert shared.out.count("images, each once, 2 processes") == len(redone)


@pytest.mark.long
def test_training_by_several_processes_is_that_of_one_up_to_rounding(tmp_path):
    # statistics of a batch are of a process's share of it; kept, nothing else differs
    words = [*ODD, "pipeline=seeds", "backbone.freeze_norm=true", "fit.method.batch_size=6"]
    words += ["fit.method.max_epochs=2", "cam.storage_bits=16"]
    found = {}
    for name, trainer in {"one": "cpu", "three": "ddp_cpu", "again": "ddp_cpu"}.items():
        words_of = [*words, f"output_dir={tmp_path}/{name}", f"trainer={trainer}"]
        words_of += ["trainer.devices=3"] if trainer == "ddp_cpu" else []
        found[name] = there(*words_of, folder=tmp_path).scores
    assert found["three"] == found["again"]
    assert found["three"] == pytest.approx(found["one"], abs=0.02)


@pytest.mark.long
def test_a_process_that_is_ended_takes_the_others_along_and_the_run_goes_on(tmp_path):
    words = [*ODD, "pipeline=seeds", f"output_dir={tmp_path}/runs", "trainer=ddp_cpu"]
    words += ["fit.method.max_epochs=60"]
    run = start(*words, folder=tmp_path)
    checkpoint = "runs/stages/train-*.partial/last.ckpt"
    while not list(tmp_path.glob(checkpoint)):
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    # processes of a stage are those whose parent is the server that forks them
    ranks = [p for c in psutil.Process(run.pid).children() for p in c.children()]
    assert len(ranks) == 2
    os.kill(ranks[1].pid, signal.SIGTERM)
    begun = time.monotonic()
    _, told = run.communicate(timeout=60)
    assert time.monotonic() - begun < 20
    assert run.returncode == 1
    assert re.search(
        r"error: process [01] of 2 \(pid \d+\) was ended by SIGTERM, and the oth", told
    )
    assert not psutil.pid_exists(ranks[0].pid)
    whole = there(*[w.replace("/runs", "/whole") for w in words], folder=tmp_path)
    assert there(*words, folder=tmp_path).scores == whole.scores


@pytest.mark.long
def test_processes_end_with_the_one_that_started_them(tmp_path):
    words = [*ODD, "pipeline=seeds", f"output_dir={tmp_path}/runs", "trainer=ddp_cpu"]
    run = start(*words, "fit.method.max_epochs=500", folder=tmp_path)
    while not list(tmp_path.glob("runs/stages/train-*.partial/last.ckpt")):
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    children = psutil.Process(run.pid).children(recursive=True)
    assert len(children) >= 3
    run.kill()
    _, left = psutil.wait_procs(children, timeout=20)
    assert not left
