"""What happens to a run from outside: kills, a full disk, damage, ended workers, two at once."""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import command
from commands import CACHED, DONE, SKIPPED, TINY, Outcome, stages_in, start, there
from facts import assert_names

from wsss_lightning.cache.stage_cache import StageCache
from wsss_lightning.cli import run as cli
from wsss_lightning.steps.train import replay
from wsss_lightning.training.checkpoints import TimedCheckpoint
from wsss_lightning.utils import interrupts

pytestmark = pytest.mark.slow

LONG = partial(pytest.param, marks=pytest.mark.long)
KILL = Path(__file__).parents[2] / "experiments/benchmarks/faults/kill.py"
# three steps an epoch
STEPS = ("fit.method.batch_size=4", "fit.method.max_epochs=2", "pipeline=seeds")


def stage(folder: Path, name: str) -> Path:
    (link,) = folder.glob(f"runs/*/{name}")
    return link.resolve()


def trained(folder: Path, name: str = "classifier") -> dict:
    return torch.load(stage(folder, name) / "last.ckpt", weights_only=True)


def files(folder: Path) -> dict[str, bytes]:
    """Results of all stages of the runs of a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.glob("runs/stages/**/*"))
        if path.suffix in (".npz", ".png") or path.name in ("metrics.json", "curve.json")
    }


class StoppedError(Exception):
    pass


# kills


@pytest.mark.long
def test_runs_killed_at_random_moments_end_as_an_undisturbed_one():
    told = command(KILL, "--experiments", "cam", "--kills", 4)
    assert_names(told, "4 kills", "0 runs")


# step 3 is the end of an epoch
@pytest.mark.parametrize(
    ("step", "workers"), [LONG(1, 0), LONG(2, 0), (3, 0), LONG(4, 0), (2, 2), LONG(3, 2)]
)
def test_a_training_that_was_stopped_goes_on_behind_its_last_step(
    here, shared, tmp_path, monkeypatch, step, workers
):
    words = ("experiment=cam", *TINY, *STEPS, "backbone.freeze_norm=false")
    whole = shared.with_name("unstopped")
    here(*words, folder=whole)
    seen = []
    saves, begins = TimedCheckpoint.on_train_batch_end, TimedCheckpoint.on_train_epoch_start

    def stops(self, trainer, module, outputs, batch, *rest):
        saves(self, trainer, module, outputs, batch, *rest)
        seen.append(batch["name"])
        if trainer.global_step == step != 3 and "stopped" not in seen:
            seen.append("stopped")
            raise StoppedError

    def stops_between(self, trainer, module):
        begins(self, trainer, module)
        if trainer.global_step == step == 3 and "stopped" not in seen:
            seen.append("stopped")
            raise StoppedError

    monkeypatch.setattr(TimedCheckpoint, "on_train_batch_end", stops)
    monkeypatch.setattr(TimedCheckpoint, "on_train_epoch_start", stops_between)
    how = (f"workers={workers}", "checkpoint_minutes=0")
    with pytest.raises(StoppedError):
        here(*words, *how, folder=tmp_path / "stopped")
    assert here(*words, *how, folder=tmp_path / "stopped").code == 0
    seen.remove("stopped")
    assert len(seen) == 6  # no step twice, and none left out
    for epoch in (seen[:3], seen[3:]):
        assert len({name for batch in epoch for name in batch}) == 12
    expected, found = trained(whole), trained(tmp_path / "stopped")
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        torch.testing.assert_close(found[key], expected[key], rtol=0, atol=0)


@pytest.mark.parametrize("how", ["trainer=cpu", LONG("trainer=ddp_cpu")])
def test_an_interrupted_training_says_once_that_the_command_goes_on(tmp_path, how):
    words = [word for word in TINY if not word.startswith("trainer")]
    words += ["experiment=cam", *STEPS, "fit.method.max_epochs=60", how]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    run = start(*words, folder=tmp_path)
    signal.signal(signal.SIGINT, before)
    while not list(tmp_path.glob("runs/stages/train-*.partial/last.ckpt")):
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == interrupts.EXIT_CODE
    assert said.endswith(interrupts.MESSAGE), said
    assert "Traceback" not in said
    assert list(tmp_path.glob("runs/stages/train-*.partial/last.ckpt"))


def test_a_checkpoint_that_was_cut_off_is_told_and_not_gone_on_from(here, tmp_path, monkeypatch):
    words = ("experiment=cam", *TINY, *STEPS)

    def stops(self, trainer, module):
        if trainer.current_epoch == 1:
            raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(TimedCheckpoint, "on_train_epoch_start", stops)
        with pytest.raises(StoppedError):
            here(*words, folder=tmp_path / "cut")
    (last,) = tmp_path.glob("cut/runs/stages/train-*.partial/last.ckpt")
    last.write_bytes(last.read_bytes()[:-1000])
    again = here(*words, folder=tmp_path / "cut")
    assert_names(again.out, "last.ckpt", "damaged", near=60)
    assert again.scores == here(*words, folder=tmp_path / "whole").scores


def test_processes_of_a_stage_end_with_a_run_that_is_killed_alone(tmp_path):
    """As the kernel does for lack of memory: one process, not its group."""
    code = (
        "import os, time; from pathlib import Path\n"
        "from wsss_lightning.steps.parallel import parallel_map\n"
        "def work(i):\n    Path(f'{os.getpid()}.pid').touch(); time.sleep(1)\n"
        "parallel_map(work, list(range(100)), 2, 'x', threads=False)"
    )
    run = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    patience = time.monotonic() + 60
    while len(list(tmp_path.glob("*.pid"))) < 2:
        assert time.monotonic() < patience
        time.sleep(0.05)
    run.kill()
    run.wait()
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    patience = time.monotonic() + 20
    while any(lives(worker) for worker in workers):
        assert time.monotonic() < patience, "they would hold the lock of the stage for ever"
        time.sleep(0.1)


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# the same numbers


@pytest.mark.long
def test_one_seed_gives_the_same_bits_twice_and_with_other_workers(here, tmp_path):
    words = ("experiment=cam", *TINY, "fit.method.batch_size=4")
    found = []
    for name, workers in (("a", 0), ("b", 0), ("c", 2)):
        here(*words, f"workers={workers}", folder=tmp_path / name)
        weights = [
            trained(tmp_path / name, n)["state_dict"] for n in ("classifier", "segmentation")
        ]
        found.append((files(tmp_path / name), weights))
    assert len(found[0][0]) > 60
    for again, weights in found[1:]:
        assert again == found[0][0]
        torch.testing.assert_close(weights, found[0][1], rtol=0, atol=0)


# damage


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damaged_results_of_every_stage_are_named_and_made_again(here, tmp_path):
    words = ("experiment=cam", *TINY)
    first = here(*words)
    before, scores = files(tmp_path), first.scores
    harmed = []
    for folder in sorted((tmp_path / "runs/stages").glob("*-*")):
        if folder.is_dir():
            *_, last = sorted(
                p
                for p in folder.rglob("*")
                if p.suffix in (".npz", ".png", ".ckpt", ".json", ".csv")
                and p.name not in ("stage.json", "manifest.json")
            )
            damage(last)
            harmed.append(last.name)
    again = here(*words)
    for name in harmed:
        assert_names(again.out, f"{name} (altered)")
    assert files(tmp_path) == before
    assert again.scores == scores
    assert not here(*words).stages(DONE)


# resume=false


def test_a_run_that_shall_not_resume_does_all_anew_once(here, tmp_path):
    words = ("experiment=cam", *TINY, "pipeline=seeds")
    first = here(*words)
    before = files(tmp_path)
    anew = here(*words, "resume=false")
    assert anew.folder == first.folder
    # what is done twice in one run, under two names, is done once
    assert set(anew.stages(CACHED)) == {
        "pseudo",
        "pseudo_miou/train",
    }
    assert files(tmp_path) == before
    assert not here(*words).stages(DONE)


@pytest.mark.long
def test_jobs_of_one_start_share_what_they_do_anew(here, tmp_path):
    words = ("experiment=cam", *TINY, "pipeline=seeds", "-m", "seeds.background_score=0.2,0.3")
    here(*words)
    anew = here(*words, "resume=false")
    assert anew.code == 0, anew.err
    assert anew.stages(DONE).count("classifier") == 1
    assert anew.stages(CACHED).count("classifier") == 1
    assert SKIPPED not in anew.out
    assert here(*words).out.count(SKIPPED) == 2


# the disk

# in the order of the pipeline
KINDS = {
    "cam": "classifier classifier_val seeds/val seeds_miou/val crf/val crf_masks/val crf_miou/val "
    "segmentation predictions/val tag_probabilities/val pictures/val",
    "box": "round_0/labels round_1/labels",
    "sc_cam": "round_1/features round_1/clusters pictures/round_1",
}
FEW = {
    "sc_cam": ("pipeline.rounds=1", "pipeline.segment=false"),
    "box": ("pipeline.rounds=1", "pipeline.epochs=1"),
}


@contextlib.contextmanager
def full_disk():
    """No file may grow beyond some bytes: the kernel refuses as it does on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("experiment", ["cam", "box", LONG("sc_cam")])
def test_a_full_disk_is_told_in_every_kind_of_stage_and_spoils_nothing(
    here, tmp_path, monkeypatch, experiment
):
    words = (f"experiment={experiment}", *TINY, *FEW.get(experiment, ()))
    whole = here(*words)
    before, scores = files(tmp_path), whole.scores
    does = StageCache._do
    kinds = KINDS[experiment].split()
    for folder in {stage(tmp_path, kind) for kind in kinds}:
        shutil.rmtree(folder)
    for kind in kinds:

        def full(self, name, *rest, kind=kind):
            with full_disk() if name == kind else contextlib.nullcontext():
                does(self, name, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(StageCache, "_do", full)
            told = here(*words)
        assert told.code == 1, kind
        assert_names(told.err, "error:", f"{kind}:", "disk", "File too large")
        assert "Traceback" not in told.out + told.err
        # the run for the next kind makes this one whole
        assert {p: before[p] for p in files(tmp_path)} == files(tmp_path), kind
    assert here(*words).scores == scores
    assert files(tmp_path) == before
    assert not list(tmp_path.glob("runs/stages/*.partial"))
    assert not [p for p in tmp_path.glob("runs/stages/**/.*") if p.is_file()]


def mounts() -> bool:
    done = subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "x", "/mnt"], check=False)
    return done.returncode == 0


def on_tmpfs(*words: str, folder: Path, options: str) -> Outcome:
    """The command line with `runs/` on a file system of its own."""
    (folder / "runs").mkdir(parents=True)
    mount = f'mount -t tmpfs -o {options} tmpfs runs && exec "$@"'
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mount, "-", sys.executable, "-m", "wsss_lightning", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Outcome(done.returncode, done.stdout, done.stderr, folder)


@pytest.mark.skipif(not mounts(), reason="no file system can be mounted here")
@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ("size=120k", ["disk", "No space left on device"]),
        LONG("nr_inodes=60", ["disk", "No space left on device"]),
        ("ro", ["Read-only file system"]),
    ],
)
def test_a_disk_that_is_full_or_closed_is_told(here, shared, tmp_path, options, facts):
    here("experiment=cam", *TINY, "pipeline=seeds", folder=shared)  # data is made by then
    told = on_tmpfs("experiment=cam", *TINY, folder=tmp_path / "x", options=options)
    assert told.code == 1
    assert_names(told.err, *facts)
    assert "Traceback" not in told.out + told.err


# processes


DYING_WORKERS = """
import os, signal
from wsss_lightning.cli import run as cli
from wsss_lightning.utils import interrupts
from wsss_lightning.data.dataset import VOCDataset

reads, command = VOCDataset.__getitem__, os.getpid()

def dies(self, i):
    if os.getpid() != command:
        os.kill(os.getpid(), signal.SIGKILL)
    return reads(self, i)

VOCDataset.__getitem__ = dies
cli.main()
"""


def test_a_worker_that_is_killed_is_told_and_the_stage_goes_on(here, tmp_path):
    words = ("experiment=cam", *TINY, *STEPS, "workers=2")
    logger = ("logger=wandb", "logger.wandb.offline=true")  # it waits for threads at the end
    told = there(*words, *logger, folder=tmp_path, program=("-c", DYING_WORKERS))
    assert told.code == 1
    assert_names(told.err, "error:", "classifier:", "worker process")
    assert_names(told.err, "fit.method.batch_size", "fit.method.crop_size")
    assert "Traceback" not in told.err
    assert here(*words).code == 0
    assert len(list(tmp_path.glob("runs/stages/train-*/"))) == 1


def test_two_runs_of_one_folder_at_once_do_each_stage_once(tmp_path, here):
    words = ("experiment=cam", *TINY, "pipeline=seeds")
    both = [start(*words, folder=tmp_path) for _ in range(2)]
    told = [run.communicate(timeout=300) for run in both]
    assert [run.returncode for run in both] == [0, 0], told
    for name in ("classifier", "seeds/train", "crf/val"):
        assert sum(stages_in(out, DONE).count(name) for out, _ in told) == 1
    assert not here(*words).stages(DONE)
    here(*words, folder=tmp_path / "alone")
    assert files(tmp_path) == files(tmp_path / "alone")


@pytest.mark.parametrize("jump", [-(10**8), pytest.param(10**8, marks=pytest.mark.long)])
def test_a_clock_that_jumps_changes_no_result(here, tmp_path, monkeypatch, jump):
    words = ("experiment=cam", *TINY, "pipeline=seeds", "checkpoint_minutes=0")
    expected = here(*words, folder=tmp_path / "whole").scores
    real, begun = time.time, time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + jump * (time.monotonic() - begun))
        assert here(*words, folder=tmp_path / "jumps").scores == expected
    assert not here(*words, folder=tmp_path / "jumps").stages(DONE)


# watchdogs


def test_a_loss_that_is_no_number_is_told_and_its_step_can_be_replayed(here, tmp_path):
    words = ("experiment=cam", *TINY, *STEPS, "method.optimizer.lr=1e30")
    told = here(*words)
    assert told.code == 1
    assert re.search(r"\b(nan|inf)\b", told.err)
    assert_names(told.err, "loss", "epoch 0", "step")
    assert re.search(r"\btiny_0\d+", told.err)
    assert "Traceback" not in told.err
    (repro,) = tmp_path.glob("runs/stages/train-*.partial/repro.pt")
    loss = replay(repro)
    assert not torch.isfinite(loss)
    stored = torch.load(repro, weights_only=True)
    assert len(stored["batch"]["name"]) == 4
    np.testing.assert_equal(loss.item(), replay(repro).item())


def test_memory_that_does_not_suffice_is_told_with_the_keys_that_need_it(here, monkeypatch):
    from wsss_lightning.methods.cam_predictor import CamPredictor

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(CamPredictor, "predict_step", full)
    told = here("experiment=cam", *TINY, "pipeline=seeds")
    assert told.code == 1
    assert_names(told.err, "error:", "seeds/train:", "memory", "cam.batch_size", "cam.scales")


def test_alarms_of_pseudo_masks_are_shown_and_stand_in_the_record(here, tmp_path):
    run = here("experiment=cam", *TINY, "pipeline=seeds", "seeds.background_score=1.0")
    assert_names(run.out, "crf_masks/train:", 12, "masks", "single label", near=80)
    record = json.loads((run.folder / "pseudo/stage.json").read_text())
    assert record["alarms"]
