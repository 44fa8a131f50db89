import json
import os

import pytest

from wsss_lightning.errors import InputError
from wsss_lightning.report.reading import find_runs, group


def change(folder, **keys):
    path = folder / "results.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def methods(folder) -> dict[str, list[int]]:
    (data,) = group(find_runs([folder]))
    return {method.name: [run.seed for run in method.runs] for method in data.methods}


def test_runs_that_differ_in_their_seed_are_one_method(write_runs, tmp_path):
    write_runs(tmp_path, {"cam": 1.0, "seam": 1.2}, seeds=3, images=4)
    assert methods(tmp_path) == {"cam": [0, 1, 2], "seam": [0, 1, 2]}


def test_methods_are_named_by_the_words_that_distinguish_them(write_runs, tmp_path):
    skills = {
        "cam refine=none score.flip=true": 1.0,
        "cam refine=crf score.flip=true": 1.0,
        "cam score.flip=true method.lr=1 refine.lr=2": 1.0,
    }
    write_runs(tmp_path, skills, seeds=1, images=4)
    expected = {"cam refine=none": [0], "cam refine=crf": [0], "cam method.lr=1 refine.lr=2": [0]}
    assert methods(tmp_path) == expected


def test_what_does_not_fit_into_a_name_is_counted_and_names_stay_apart(write_runs, tmp_path):
    many = " ".join(f"refine.labels.threshold_{i}=0.{i}" for i in range(4))
    skills = {"cam refine=crf": 1.0, f"cam refine=affinity {many}": 1.0}
    skills |= {f"cam refine=affinity {many.replace('_3=0.3', '_3=0.4')}": 1.0}
    write_runs(tmp_path, skills, seeds=1, images=4)
    (data,) = group(find_runs([tmp_path]))
    assert {method.name for method in data.methods} == {
        "cam refine=crf",
        "cam refine=affinity threshold_0=0.0 +3",
        "cam refine=affinity threshold_0=0.0 +3 (2)",
    }
    assert {len(method.words.split()) for method in data.methods} == {2, 6}


def test_words_about_where_a_run_is_made_distinguish_nothing(write_runs, tmp_path):
    write_runs(tmp_path, {"cam workers=1 trainer.devices=2 runs=a": 1.0, "cam": 1.0}, 1, 4)
    assert methods(tmp_path) == {"cam": [0]}  # of one seed the later counts


def test_of_two_runs_of_a_seed_the_one_written_last_counts_and_a_note_says_so(write_runs, tmp_path):
    write_runs(tmp_path / "a", {"cam": 1.0}, seeds=2, images=4)
    write_runs(tmp_path / "b", {"cam": 2.0}, seeds=1, images=4)
    os.utime(tmp_path / "b/cam_0/results.json", ns=(2**62, 2**62))
    (data,) = group(find_runs([tmp_path]))
    (method,) = data.methods
    assert [run.folder.parent.name for run in method.runs] == ["b", "a"]
    assert data.notes == ["cam has several runs of seed 0; the one that was finished last counts."]


def test_a_run_that_stopped_earlier_gives_way_to_the_whole_one_without_a_word(write_runs, tmp_path):
    write_runs(tmp_path / "whole", {"cam": 1.0}, seeds=1, images=4)
    write_runs(tmp_path / "seeds", {"cam": 1.0}, seeds=1, images=4)
    scores = json.loads((tmp_path / "whole/cam_0/results.json").read_text())["scores"]
    early = {key: value for key, value in scores.items() if key.startswith("seeds/")}
    change(tmp_path / "seeds/cam_0", scores=early)
    os.utime(tmp_path / "seeds/cam_0/results.json", ns=(2**62, 2**62))
    (data,) = group(find_runs([tmp_path]))
    assert [run.folder.parent.name for run in data.methods[0].runs] == ["whole"]
    assert data.notes == []


def test_runs_of_other_true_masks_stand_apart(write_runs, tmp_path):
    write_runs(tmp_path, {"cam": 1.0, "box": 1.0}, seeds=1, images=4)
    change(tmp_path / "box_0", data_digest="with-boxes-c")
    assert len(group(find_runs([tmp_path]))) == 1
    change(tmp_path / "box_0", data_digest="a-b-other")
    assert len(group(find_runs([tmp_path]))) == 2


def test_versions_of_code_that_mix_are_noted(write_runs, tmp_path):
    write_runs(tmp_path, {"cam": 1.0}, seeds=2, images=4)
    change(tmp_path / "cam_1", versions={"code": "1"})
    (data,) = group(find_runs([tmp_path]))
    assert data.notes == ["Runs of cam were made by 2 versions of the code."]


def test_methods_are_compared_by_the_last_step_that_two_of_them_have(write_runs, tmp_path):
    write_runs(tmp_path, {"cam": 1.0, "seam": 1.0}, seeds=1, images=4)
    (data,) = group(find_runs([tmp_path]))
    assert data.main_step() == ("segmentation", "val")
    seeds = (("seeds", "train"), ("seeds", "val"), ("crf", "train"))
    write_runs(tmp_path / "b", {"cam": 1.0, "seam": 1.0}, seeds=1, images=4, steps=seeds)
    (data,) = group(find_runs([tmp_path / "b"]))
    assert data.main_step() == ("crf", "train")


def test_a_run_is_found_once_however_it_is_named(write_runs, tmp_path):
    write_runs(tmp_path, {"cam": 1.0}, seeds=1, images=4)
    assert len(find_runs([tmp_path, tmp_path / "cam_0"])) == 1


def test_what_is_no_run_is_told(write_runs, tmp_path):
    with pytest.raises(InputError, match="is no folder; give folders of runs"):
        find_runs([tmp_path / "absent"])
    with pytest.raises(InputError, match=r"no results.json lies in these folders"):
        find_runs([tmp_path])
    write_runs(tmp_path, {"cam": 1.0}, seeds=1, images=4)
    path = tmp_path / "cam_0/results.json"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(InputError, match=r"results.json cannot be read .* repeat the run"):
        find_runs([tmp_path])
    path.write_text('{"experiment": "cam"}')
    with pytest.raises(InputError, match="has no data; it was written by another version"):
        find_runs([tmp_path])
