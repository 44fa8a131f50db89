import json

from wsss_lightning.report.__main__ import main
from wsss_lightning.report.export import export_runs
from wsss_lightning.report.grouping import group
from wsss_lightning.report.runs import find_runs


def kept(runs, folder):
    """What is kept of runs, read again."""
    (data,) = group(find_runs([runs]))
    export_runs(data, folder)
    return data, group(find_runs([folder]))[0]


def add_overrides(folder, *overrides):
    path = folder / "results.json"
    results = json.loads(path.read_text())
    path.write_text(json.dumps({**results, "overrides": [*results["overrides"], *overrides]}))


def test_what_is_kept_gives_the_same_tables_and_verdicts(write_runs, tmp_path):
    write_runs(tmp_path / "runs", {"cam": 1.0, "seam": 1.4}, seeds=2, images=30)
    for step in ("seeds/train", "pseudo/train", "segmentation/val"):
        said = []
        for runs in ("runs", "kept"):
            out = tmp_path / f"{runs}.html"
            words = [str(tmp_path / runs), "--out", str(out), "--step", step]
            main([*words, "--keep", str(tmp_path / "kept")])
            said.append(out.with_suffix(".md").read_text())
            said.append(out.with_suffix(".csv").read_text())
        assert said[:2] == said[2:]
        assert "seam" in said[0]
        assert 'class="card verdict' in (tmp_path / "kept.html").read_text()


def test_no_folder_of_this_machine_is_kept(write_runs, tmp_path):
    write_runs(tmp_path / "runs", {"cam": 1.0}, seeds=1, images=4)
    add_overrides(
        tmp_path / "runs/cam_0", f"data.root={tmp_path}/photos", f"output_dir={tmp_path}/r"
    )
    kept(tmp_path / "runs", tmp_path / "kept")
    (results,) = (tmp_path / "kept").rglob("results.json")
    assert str(tmp_path) not in results.read_text()
    assert "data.root=photos" in json.loads(results.read_text())["overrides"]


def test_a_run_made_anew_takes_the_place_of_the_former(write_runs, tmp_path):
    for name, skill in {"here": 1.0, "there": 2.0}.items():
        write_runs(tmp_path / name, {"cam": skill, "seam": 1.0}, seeds=1, images=4)
        add_overrides(tmp_path / name / "cam_0", f"data.root={tmp_path}/{name}/photos")
        runs, found = kept(tmp_path / name, tmp_path / "kept")
        step = ("segmentation", "val")
        assert [m.mious(step) for m in found.methods] == [m.mious(step) for m in runs.methods]


def test_runs_that_share_a_training_still_do(write_runs, tmp_path):
    write_runs(tmp_path / "runs", {"cam": 1.0, "seam": 1.0}, seeds=1, images=4)
    for name in ("cam_0", "seam_0"):
        (tmp_path / "runs" / name / "classifier").symlink_to("../../stages/train-1")
    _, found = kept(tmp_path / "runs", tmp_path / "kept")
    assert [method.runs[0].trainings for method in found.methods] == [{"train-1"}] * 2


def test_what_is_kept_in_the_place_that_it_is_read_from_stays(write_runs, tmp_path):
    write_runs(tmp_path / "runs", {"cam": 1.0, "seam": 1.0}, seeds=1, images=4)
    kept(tmp_path / "runs", tmp_path / "kept")
    before = sorted(path.relative_to(tmp_path) for path in (tmp_path / "kept").rglob("*"))
    kept(tmp_path / "kept", tmp_path / "kept")
    assert sorted(path.relative_to(tmp_path) for path in (tmp_path / "kept").rglob("*")) == before
    assert any(path.name == "images.npz" for path in before)
