import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from wsss_lightning import run as run_module
from wsss_lightning.run import Run, write_json


def draw(folder, **inputs):
    """Work that leaves random numbers, and a line each time it is done."""
    with (folder / "lines").open("a") as file:
        file.write("line\n")
    numbers = [torch.rand(1).item(), np.random.rand()]
    (folder / "numbers.json").write_text(json.dumps(numbers))


def other(folder, **inputs):
    torch.rand(5)


def slow(folder, **inputs):
    time.sleep(0.3)
    draw(folder)


class BrokenError(Exception):
    pass


@pytest.fixture
def make(tmp_path):
    def one(folder="run", store="store", seed=0, salt=""):
        return Run(tmp_path / folder, tmp_path / store, seed, salt)

    return one


def lines(folder):
    return len((folder / "lines").read_text().split())


def numbers(folder):
    return json.loads((folder / "numbers.json").read_text())


def test_work_is_done_once_and_found_again(make):
    run = make()
    first = run.stage("a/b", draw, x=1)
    assert first == run.stage("a/b", draw, x=1) == make(folder="another").stage("c", draw, x=1)
    assert lines(first) == 1
    assert not list(run.store.glob("*.partial"))


def test_a_stage_leaves_its_record(make):
    run = make(seed=3)
    record = json.loads((run.stage("a", draw, x=[1, 2]) / "stage.json").read_text())
    assert (record["stage"], record["work"], record["seed"]) == ("a", "draw", 3)
    assert record["inputs"] == {"x": [1, 2]}
    assert run.seconds == {"a": record["seconds"]}


def test_a_run_holds_relative_links_to_its_stages(make, tmp_path):
    run = make()
    done = run.stage("seeds/train", draw)
    link = run.folder / "seeds/train"
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve() == done.resolve()
    tmp_path.rename(moved := tmp_path.with_name(f"{tmp_path.name}_moved"))
    assert lines(moved / "run/seeds/train") == 1
    moved.rename(tmp_path)


def test_links_are_replaced_and_so_is_a_folder_in_their_place(make):
    run = make()
    (run.folder / "a/old").mkdir(parents=True)
    first = run.stage("a", draw, x=1)
    second = run.stage("a", draw, x=2)
    assert (run.folder / "a").resolve() == second.resolve() != first.resolve()
    assert lines(first) == 1
    assert sorted(p.name for p in run.folder.iterdir()) == ["a"]


def names(make, **inputs):
    return make().stage("a", draw, **inputs).name


def test_the_name_depends_on_inputs_seed_salt_and_work(make, tmp_path):
    made = [
        names(make, x=1),
        names(make, x=2),
        names(make, y=1),
        names(make, x=1, y=1),
        names(make, x=None),
        names(make, x=OmegaConf.create({"y": [1, 2]})),
        names(make, x=OmegaConf.create({"y": [2, 1]})),
        names(make, x={"y": tmp_path / "a"}),
        names(make, x={"y": tmp_path / "b"}),
        names(make, x=[tmp_path / "a"]),
        names(make, x=[tmp_path / "b"]),
        make(seed=1).stage("a", draw, x=1).name,
        make(salt="data").stage("a", draw, x=1).name,
        make().stage("a", other, x=1).name,
    ]
    assert len(set(made)) == len(made)


def test_the_name_depends_on_the_code(make, monkeypatch):
    before = names(make, x=1)
    monkeypatch.setattr(run_module, "code_version", lambda: "changed")
    assert names(make, x=1) != before


def test_the_name_does_not_depend_on_places_or_the_order_of_inputs(make, tmp_path):
    here, there = tmp_path / "here/draw-123", tmp_path / "there/draw-123"
    assert names(make, x=here, y=1) == names(make, y=1, x=there)
    assert names(make, x={"k": here}) == names(make, x={"k": there})
    assert names(make, x=[here]) == names(make, x=[there])
    assert make().stage("a", draw, x=1).name == make(store="b").stage("z", draw, x=1).name


def test_references_count_by_what_they_refer_to(make):
    referring = OmegaConf.create({"n": 3, "data": {"classes": "${n}"}})
    assert names(make, x=referring.data) == names(make, x=OmegaConf.create({"classes": 3}))


def test_random_numbers_are_the_same_whether_earlier_stages_were_found_or_done(make):
    def pipeline(run, first):
        if first:
            run.stage("first", other, x=1)
        return numbers(run.stage("second", draw))

    fresh = pipeline(make(store="s1"), first=False)
    assert pipeline(make(store="s2"), first=True) == fresh
    kept = make(store="s3")
    kept.stage("first", other, x=1)
    assert pipeline(kept, first=True) == fresh
    assert numbers(make(store="s4", seed=1).stage("second", draw)) != fresh


def test_work_that_failed_is_never_taken_as_finished_and_goes_on_where_it_stopped(make):
    class Fails:
        """Writes a file each time, and gives up twice."""

        __name__, times = "fails", 0

        def __call__(self, folder):
            self.times += 1
            (folder / str(self.times)).touch()
            if self.times < 3:
                raise BrokenError

    run, work = make(), Fails()
    for _ in range(2):
        with pytest.raises(BrokenError):
            run.stage("a", work)
        assert [p.suffix for p in run.store.iterdir() if p.is_dir()] == [".partial"]
        assert not (run.folder / "a").exists()
    done = run.stage("a", work)
    assert {p.name for p in done.iterdir()} == {"1", "2", "3", "manifest.json", "stage.json"}
    assert [p.name for p in run.store.iterdir() if p.is_dir()] == [done.name]
    run.stage("a", work)
    assert work.times == 3


def counts(folder, **inputs):
    (folder / str(len(list(folder.iterdir())))).touch()
    if (folder.parent.parent / "kill").exists():
        os.kill(os.getpid(), signal.SIGKILL)


def in_processes(*runs, work):
    """Do the stage `x` of each run in a process of its own, at once; their exit codes."""
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=run.stage, args=("x", work)) for run in runs]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    return [process.exitcode for process in started]


def test_work_that_was_killed_goes_on_in_the_next_process(make, tmp_path):
    (tmp_path / "kill").touch()
    assert in_processes(make(), work=counts) == [-signal.SIGKILL]
    (partial,) = (p for p in (tmp_path / "store").iterdir() if p.is_dir())
    assert partial.suffix == ".partial"
    assert not (tmp_path / "run/x").exists()
    (tmp_path / "kill").unlink()
    assert in_processes(make(), work=counts) == [0]
    (done,) = (p for p in (tmp_path / "store").iterdir() if p.is_dir())
    assert done.name == partial.stem
    assert {p.name for p in done.iterdir()} == {"0", "1", "manifest.json", "stage.json"}


@pytest.mark.parametrize("folders", [["a", "b"], ["same", "same"]])
def test_processes_at_once_do_the_work_once(make, folders):
    runs = [make(folder=folder) for folder in folders]
    assert in_processes(*runs, work=slow) == [0, 0]
    for run in runs:
        assert lines(run.folder / "x") == 1
        assert [p.name for p in run.folder.iterdir()] == ["x"]


# write_json


def test_what_is_written_is_read(tmp_path):
    write_json(tmp_path / "x.json", {"b": [1, 2.5], "a": None})
    assert json.loads((tmp_path / "x.json").read_text()) == {"b": [1, 2.5], "a": None}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("failure", ["content", "disk"])
def test_a_failed_write_leaves_the_former_file_and_nothing_else(tmp_path, monkeypatch, failure):
    write_json(tmp_path / "x.json", "former")
    content = {"a": 1, "b": object()} if failure == "content" else {"a": 1}
    if failure == "disk":

        def full(_descriptor):
            raise OSError("no space left")

        monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((TypeError, OSError)):
        write_json(tmp_path / "x.json", content)
    assert json.loads((tmp_path / "x.json").read_text()) == "former"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
