import errno
import json
import math
import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from facts import assert_names, raises_naming
from omegaconf import OmegaConf

from wsss_lightning.cache import manifest
from wsss_lightning.cache import stage_cache as run_module
from wsss_lightning.cache.stage_cache import StageCache, by_content
from wsss_lightning.errors import InputError
from wsss_lightning.utils.files import write_json


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
    def one(folder="run", store="store", seed=0, data_digest="", start=None):
        return StageCache(tmp_path / folder, tmp_path / store, seed, data_digest, start)

    return one


def lines(folder):
    return len((folder / "lines").read_text().split())


def numbers(folder):
    return json.loads((folder / "numbers.json").read_text())


def test_work_is_done_once_and_found_again(make):
    run = make()
    first = run.run("a/b", draw, x=1)
    assert first == run.run("a/b", draw, x=1) == make(folder="another").run("c", draw, x=1)
    assert lines(first) == 1
    assert not list(run.store.glob("*.partial"))


def test_a_stage_leaves_its_record(make):
    run = make(seed=3)
    record = json.loads((run.run("a", draw, x=[1, 2]) / "stage.json").read_text())
    assert (record["stage"], record["work"], record["seed"]) == ("a", "draw", 3)
    assert record["inputs"] == {"x": [1, 2]}
    assert run.seconds == {"a": record["seconds"]}


def test_work_can_ask_for_the_name_of_its_stage(make):
    told = []
    make().run("round_1/a", lambda folder: told.append(run_module.current_stage.get()))
    assert told == ["round_1/a"]
    assert run_module.current_stage.get("none") == "none"


def test_a_run_holds_relative_links_to_its_stages(make, tmp_path):
    run = make()
    done = run.run("seeds/train", draw)
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
    first = run.run("a", draw, x=1)
    second = run.run("a", draw, x=2)
    assert (run.folder / "a").resolve() == second.resolve() != first.resolve()
    assert lines(first) == 1
    assert sorted(p.name for p in run.folder.iterdir()) == ["a"]


def names(make, **inputs):
    return make().run("a", draw, **inputs).name


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
        make(seed=1).run("a", draw, x=1).name,
        make(data_digest="data").run("a", draw, x=1).name,
        make().run("a", other, x=1).name,
    ]
    assert len(set(made)) == len(made)


def test_the_name_depends_on_the_content_of_weights_and_not_on_their_place(make, tmp_path):
    files = [tmp_path / "a.pth", tmp_path / "moved/a.pth"]
    files[1].parent.mkdir()
    for file in files:
        file.write_bytes(b"first")
    given = [OmegaConf.create({"net": {"backbone": {"weights": str(file)}}}) for file in files]
    before, moved = (names(make, module=node) for node in given)
    assert before == moved
    files[0].write_bytes(b"other")  # as long as it was
    assert names(make, module=given[0]) != before
    files[0].write_bytes(b"first")
    assert names(make, module=given[0]) == before
    record = json.loads((make().run("a", draw, module=given[0]) / "stage.json").read_text())
    assert record["inputs"]["module"]["net"]["backbone"]["weights"] == str(files[0])
    absent = OmegaConf.create({"net": {"weights": None}})
    assert names(make, module=absent) != names(make, module={"net": {"weights": "gone.pth"}})


def test_the_name_depends_on_the_code(make):
    def changed(folder, **inputs):
        draw(folder, **inputs)

    changed.__name__ = "draw"
    run = make()
    first, second = run.run("a", draw, x=1), run.run("a", changed, x=1)
    assert first.name != second.name
    codes = [json.loads((path / "stage.json").read_text())["code"] for path in (first, second)]
    assert codes == [run.code.digest(draw), run.code.digest(changed)]
    assert codes[0] != codes[1]


def test_the_name_does_not_depend_on_places_or_the_order_of_inputs(make, tmp_path):
    here, there = tmp_path / "here/draw-123", tmp_path / "there/draw-123"
    assert names(make, x=here, y=1) == names(make, y=1, x=there)
    assert names(make, x={"k": here}) == names(make, x={"k": there})
    assert names(make, x=[here]) == names(make, x=[there])
    assert make().run("a", draw, x=1).name == make(store="b").run("z", draw, x=1).name


def test_references_count_by_what_they_refer_to(make):
    referring = OmegaConf.create({"n": 3, "data": {"classes": "${n}"}})
    assert names(make, x=referring.data) == names(make, x=OmegaConf.create({"classes": 3}))


def test_random_numbers_are_the_same_whether_earlier_stages_were_found_or_done(make):
    def pipeline(run, first):
        if first:
            run.run("first", other, x=1)
        return numbers(run.run("second", draw))

    fresh = pipeline(make(store="s1"), first=False)
    assert pipeline(make(store="s2"), first=True) == fresh
    kept = make(store="s3")
    kept.run("first", other, x=1)
    assert pipeline(kept, first=True) == fresh
    assert numbers(make(store="s4", seed=1).run("second", draw)) != fresh


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
            run.run("a", work)
        assert [p.suffix for p in run.store.iterdir() if p.is_dir()] == [".partial"]
        assert not (run.folder / "a").exists()
    done = run.run("a", work)
    assert {p.name for p in done.iterdir()} == {"1", "2", "3", "manifest.json", "stage.json"}
    assert [p.name for p in run.store.iterdir() if p.is_dir()] == [done.name]
    run.run("a", work)
    assert work.times == 3


def counts(folder, **inputs):
    (folder / str(len(list(folder.iterdir())))).touch()
    if (folder.parent.parent / "kill").exists():
        os.kill(os.getpid(), signal.SIGKILL)


def in_processes(*runs, work):
    """Do the stage `x` of each run in a process of its own, at once; their exit codes."""
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=run.run, args=("x", work)) for run in runs]
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


# what is found again is what was left


def image_work(folder, **inputs):
    """Work that goes on with the images that are left, as many stages do."""
    (folder / "below").mkdir(exist_ok=True)
    for name in ("x", "y", "below/z"):
        path = folder / f"{name}.npz"
        if not path.is_file():
            path.write_text(f"content of {name}")
            with (folder.parent / "made").open("a") as file:
                file.write(f"{path.stem}\n")


def reads(folder, *, before):
    (folder / "copy").write_text((before / "x.npz").read_text())
    with (folder.parent / "made").open("a") as file:
        file.write("reads\n")


def made(run):
    """What work was done since the last call, in order."""
    path = run.store / "made"
    told = path.read_text().split() if path.is_file() else []
    path.unlink(missing_ok=True)
    return told


def cut(path):
    path.write_text(path.read_text()[:4])


def alter(path):
    """Another content of the same size; times are set back as far as a program can."""
    before = path.stat()
    path.write_text(path.read_text()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def lengthen(path):
    path.write_text(path.read_text() + "more")


DAMAGE = {
    "truncated": cut,
    "altered": alter,
    "longer": lengthen,
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", ["x", "below/z"])
def test_a_damaged_file_is_named_and_made_again_and_no_other(make, capsys, kind, name):
    run = make()
    stage = run.run("a", image_work)
    before = {path.name: path.read_bytes() for path in stage.rglob("*.npz")}
    made(run)
    DAMAGE[kind](stage / f"{name}.npz")
    assert make().run("a", image_work) == stage
    assert made(run) == [name[-1]]
    assert {path.name: path.read_bytes() for path in stage.rglob("*.npz")} == before
    assert_names(capsys.readouterr().out, f"{name}.npz ({kind})")
    make().run("a", image_work)
    assert made(run) == []


def folders_work(folder, **inputs):
    for name in ("train/0001.npz", "val/0001.npz", "kept/train/0001.txt", "kept/val/0001.txt"):
        path = folder / name
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
            with (folder.parent / "made").open("a") as file:
                file.write(f"{name}\n")


def test_of_a_damaged_image_all_files_are_made_again_and_none_of_its_namesake(make):
    run = make()
    stage = run.run("a", folders_work)
    made(run)
    cut(stage / "train/0001.npz")
    make().run("a", folders_work)
    assert made(run) == ["train/0001.npz", "kept/train/0001.txt"]


def test_json_has_null_where_numbers_do_not_exist(tmp_path):
    bad = [math.nan, math.inf, -math.inf, np.float64("nan")]
    write_json(tmp_path / "x.json", {"a": bad[0], "b": [1.5, *bad, {"c": bad[1]}], "d": (0, None)})

    def refuse(word):
        raise ValueError(word)

    stored = json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse)
    assert stored == {"a": None, "b": [1.5, None, None, None, None, {"c": None}], "d": [0, None]}


def test_where_one_file_is_damaged_all_are_read(make):
    run = make()
    stage = run.run("a", image_work)
    listed = json.loads((stage / "manifest.json").read_text())
    alter(stage / "x.npz")
    now = (stage / "x.npz").stat()  # as if times told nothing, as after a failure of the disk
    listed["times"]["x.npz"] = [now.st_mtime_ns, now.st_ctime_ns]
    write_json(stage / "manifest.json", listed)
    made(run)
    cut(stage / "y.npz")
    make().run("a", image_work)
    assert made(run) == ["x", "y"]


@pytest.mark.parametrize("name", ["stage.json", "manifest.json"])
@pytest.mark.parametrize("kind", ["truncated", "missing"])
def test_a_stage_whose_record_is_damaged_is_done_again(make, capsys, name, kind):
    run = make()
    stage = run.run("a", image_work)
    made(run)
    DAMAGE[kind](stage / name)
    make().run("a", image_work)
    assert made(run) == ["x", "y", "z"]
    assert_names(capsys.readouterr().out, "record")


def test_a_manifest_that_was_altered_with_its_file_is_not_believed(make):
    run = make()
    stage = run.run("a", image_work)
    made(run)
    cut(stage / "x.npz")
    listed = json.loads((stage / "manifest.json").read_text())
    listed["files"]["x.npz"][0] = 4
    write_json(stage / "manifest.json", listed)
    make().run("a", image_work)
    assert made(run) == ["x", "y", "z"]


def test_a_copy_of_the_store_is_found_and_read_only_once(make, tmp_path, monkeypatch):
    make().run("a", image_work)
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    moved = make(store="copy")
    made(moved)
    moved.run("a", image_work)
    assert made(moved) == []

    monkeypatch.setattr(manifest, "digests_of", lambda paths: [pytest.fail(p) for p in paths])
    moved.run("a", image_work)


def test_logs_and_files_of_others_are_no_part_of_a_stage(make):
    def logs(folder):
        (folder / "csv").mkdir(exist_ok=True)
        (folder / "csv/metrics.csv").write_text("1")
        (folder / "x.npz").write_text("x")

    run = make()
    stage = run.run("a", logs)
    (stage / "csv/metrics.csv").unlink()
    (stage / "note.txt").write_text("mine")
    before = (stage / "stage.json").stat().st_mtime_ns
    run.run("a", logs)
    assert (stage / "stage.json").stat().st_mtime_ns == before


def test_what_was_made_of_another_content_is_made_again(make, capsys):
    run = make()
    run.run("b", reads, before=run.run("a", image_work))
    made(run)
    afresh = make(start="second")
    changed = afresh.run("a", other_content)  # under its name, as a GPU's rounding would
    assert made(run) == []
    again = make()
    assert again.run("b", reads, before=changed).joinpath("copy").read_text() == "another"
    assert made(run) == ["reads"]
    assert_names(capsys.readouterr().out, "b:", changed.name)
    again.run("b", reads, before=changed)
    assert made(run) == []


def other_content(folder):
    for name in ("x", "y"):
        (folder / f"{name}.npz").write_text("another")


other_content.__name__ = other_content.__qualname__ = "image_work"


def test_a_mended_stage_is_the_same_to_what_was_made_of_it(make):
    run = make()
    stage = run.run("a", image_work)
    run.run("b", reads, before=stage)
    made(run)
    cut(stage / "x.npz")
    again = make()
    again.run("b", reads, before=again.run("a", image_work))
    assert made(run) == ["x"]


# resume=false


def test_a_start_that_takes_nothing_done_before_does_each_stage_once(make):
    run = make()
    stage = run.run("a", image_work)
    (stage / "mine").touch()
    made(run)
    afresh = make(start="second")
    assert afresh.run("a", image_work) == stage
    assert made(run) == ["x", "y", "z"]
    assert not (stage / "mine").exists()
    afresh.run("again", image_work)
    make(start="second", folder="another job").run("a", image_work)
    make().run("a", image_work)
    assert made(run) == []
    make(start="third").run("a", image_work)
    assert made(run) == ["x", "y", "z"]
    assert [p.name for p in run.store.iterdir() if p.is_dir()] == [stage.name]


def test_the_finished_stage_stays_until_the_new_one_is_done(make):
    def fails(folder):
        (folder / "x.npz").touch()
        raise BrokenError

    fails.__name__ = fails.__qualname__ = "image_work"
    run = make()
    stage = run.run("a", image_work)
    made(run)
    with pytest.raises(BrokenError):
        make(start="second").run("a", fails)
    assert (run.folder / "a/x.npz").read_text() == "content of x"
    make().run("a", image_work)
    assert made(run) == []
    assert [p.name for p in run.store.iterdir() if p.is_dir()] == [stage.name]


def test_unfinished_work_is_not_gone_on_with_either(make):
    def fails(folder):
        (folder / "x.npz").write_text("half")
        raise BrokenError

    fails.__name__ = fails.__qualname__ = "image_work"
    with pytest.raises(BrokenError):
        make().run("a", fails)
    stage = make(start="second").run("a", image_work)
    assert (stage / "x.npz").read_text() == "content of x"


# what a machine does to a run


def test_what_a_killed_write_left_is_no_part_of_the_stage(make):
    def killed_amid_a_write(folder):
        (folder / ".x.npz.4711").write_text("ha")
        raise BrokenError

    killed_amid_a_write.__name__ = killed_amid_a_write.__qualname__ = "image_work"
    with pytest.raises(BrokenError):
        make().run("a", killed_amid_a_write)
    stage = make().run("a", image_work)
    assert not list(stage.rglob(".*"))


def test_a_link_that_a_killed_run_left_half_made_is_replaced(make):
    run = make()
    run.folder.mkdir()
    (run.folder / ".a.new").symlink_to("nowhere")
    run.run("a", image_work)
    assert [p.name for p in run.folder.iterdir()] == ["a"]


@pytest.mark.parametrize("jump", [-(10**9), 10**9])
def test_a_clock_that_jumps_changes_nothing(make, monkeypatch, jump):
    run = make()
    stage = run.run("a", image_work)
    made(run)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    monkeypatch.setattr(time, "time_ns", lambda: int((real() + jump) * 1e9))
    again = make()
    again.run("b", reads, before=again.run("a", image_work))
    assert made(run) == ["reads"]
    assert again.seconds["b"] >= 0
    monkeypatch.undo()
    make().run("b", reads, before=stage)
    assert made(run) == []


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "y.npz"), ["a:", "disk", "y.npz"]),
        (OSError(errno.EROFS, "Read-only file system", "y.npz"), ["output_dir=DIR"]),
        (MemoryError(), ["a:", "memory", "workers"]),
        (RuntimeError("CUDA out of memory. Tried to allocate"), ["a:", "memory"]),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
            ["worker process"],
        ),
    ],
)
def test_what_the_machine_did_is_told_and_work_goes_on(make, error, facts):
    def stopped(folder):
        (folder / "x.npz").write_text("content of x")
        raise error

    stopped.__name__ = stopped.__qualname__ = "image_work"
    with raises_naming(InputError, *facts):
        make().run("a", stopped)
    run = make()
    run.run("a", image_work)
    assert made(run) == ["y", "z"]


def test_a_full_disk_leaves_the_former_stage_and_no_half_of_the_new_one(make, monkeypatch):
    run = make()
    stage = run.run("a", image_work)

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with raises_naming(InputError, "disk"):
        make(start="second").run("a", image_work)
    monkeypatch.undo()
    made(run)
    assert make().run("a", image_work) == stage
    assert made(run) == []


def test_alarms_of_a_stage_are_kept_and_told_again_when_it_is_found(make, capsys):
    def alarming(folder):
        write_json(folder / "alarms.json", ["no mask shows [cat]"])

    for _ in range(2):
        stage = make().run("a", alarming)
        assert capsys.readouterr().out.count("a: no mask shows [cat]") == 1
    assert json.loads((stage / "stage.json").read_text())["alarms"] == ["no mask shows [cat]"]


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


def test_a_file_of_decisions_counts_by_its_content(tmp_path):
    files = [tmp_path / name for name in ("a.csv", "b.csv")]
    for file in files:
        file.write_text("name,class,decision,detail,time\n")
    one, other = (by_content({"pseudo": {"review": str(file)}}) for file in files)
    assert one == other
    files[1].write_text("name,class,decision,detail,time\na,,reject,{},t\n")
    assert by_content({"pseudo": {"review": str(files[1])}}) != one
    assert by_content({"pseudo": {"review": None}}) == {"pseudo": {"review": None}}
