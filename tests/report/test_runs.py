import json
import os
import shutil

import pytest
from facts import assert_names, raises_naming

from wsss_lightning.errors import InputError
from wsss_lightning.report.grouping import group
from wsss_lightning.report.runs import find_runs


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
        "cam refine=none cam.flip=true": 1.0,
        "cam refine=crf cam.flip=true": 1.0,
        "cam cam.flip=true method.lr=1 refine.lr=2": 1.0,
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
    assert {len(method.description.split()) for method in data.methods} == {2, 6}


def test_words_about_where_a_run_is_made_distinguish_nothing(write_runs, tmp_path):
    write_runs(tmp_path, {"cam workers=1 trainer.devices=2 output_dir=a": 1.0, "cam": 1.0}, 1, 4)
    assert methods(tmp_path) == {"cam": [0]}  # of one seed the later counts


def test_arguments_of_the_trainer_that_change_numbers_distinguish_methods(write_runs, tmp_path):
    clipped = "cam +trainer.gradient_clip_val=1 trainer.log_every_n_steps=1"
    write_runs(tmp_path, {"cam": 1.0, clipped: 1.0}, 1, 4)
    assert methods(tmp_path) == {"cam": [0], "cam gradient_clip_val=1": [0]}


def test_of_two_runs_of_a_seed_the_one_written_last_counts_and_a_note_says_so(write_runs, tmp_path):
    write_runs(tmp_path / "a", {"cam": 1.0}, seeds=2, images=4)
    write_runs(tmp_path / "b", {"cam": 2.0}, seeds=1, images=4)
    os.utime(tmp_path / "b/cam_0/results.json", ns=(2**62, 2**62))
    (data,) = group(find_runs([tmp_path]))
    (method,) = data.methods
    assert [run.folder.parent.name for run in method.runs] == ["b", "a"]
    (note,) = data.notes
    assert_names(note, "cam", "seed 0")


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
    change(tmp_path / "box_0", data_digest="with-boxes")
    assert len(group(find_runs([tmp_path]))) == 1
    protocol = json.loads((tmp_path / "cam_0/results.json").read_text())["protocol"]
    change(tmp_path / "box_0", protocol=protocol | {"true_masks_digest": "other"})
    assert len(group(find_runs([tmp_path]))) == 2


def test_versions_of_code_that_mix_are_noted(write_runs, tmp_path):
    write_runs(tmp_path, {"cam": 1.0}, seeds=2, images=4)
    change(tmp_path / "cam_1", versions={"code": "1"})
    (data,) = group(find_runs([tmp_path]))
    (note,) = data.notes
    assert_names(note, "cam", 2, "versions")


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


def test_folders_without_runs_are_refused(tmp_path):
    with raises_naming(InputError, "absent"):
        find_runs([tmp_path / "absent"])
    with raises_naming(InputError, "results.json"):
        find_runs([tmp_path])


def without(key: str):
    def cut(text: str) -> str:
        results = json.loads(text)
        *above, last = key.split(".")
        node = results
        for part in above:
            node = node[part]
        del node[last]
        return json.dumps(results)

    return cut


def instead(**keys):
    return lambda text: json.dumps({**json.loads(text), **keys})


DAMAGE = {
    "half written": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "no JSON": lambda text: "\x00\x01",
    "a list": lambda text: "[]",
    "null": lambda text: "null",
    "scores are null": instead(scores=None),
    "scores are a list": instead(scores=[1, 2]),
    "no protocol": without("protocol"),
    "no splits": without("protocol.splits"),
    "no val": without("protocol.splits.val"),
    "train is null": instead(
        protocol={"train_masks_used_for": [], "splits": {"train": None, "val": None}}
    ),
    "no units": without("annotation.tag_questions"),
    "no classes": without("dataset.classes"),
    "units that are NaN": lambda text: text.replace('"tag_questions": 80', '"tag_questions": NaN'),
    "a seed as text": instead(seed="one"),
    "a seed that is true": instead(seed=True),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_run_is_refused_or_left_out_by_its_name(write_runs, tmp_path, damage):
    write_runs(tmp_path, {"cam": 1.0, "seam": 1.0}, seeds=1, images=4)
    path = tmp_path / "cam_0/results.json"
    path.write_text(damage(path.read_text()))
    with raises_naming(InputError, "cam_0/results.json"):
        find_runs([tmp_path])
    unusable: list[str] = []
    assert [run.experiment for run in find_runs([tmp_path], unusable)] == ["seam"]
    (message,) = unusable
    assert str(path) in message
    with raises_naming(InputError, "cam_0/results.json"):  # nothing else is there
        find_runs([tmp_path / "cam_0"], [])


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "0.5", True, [0.5]])
def test_a_score_that_is_no_number_counts_as_not_scored_and_is_noted(write_runs, tmp_path, value):
    write_runs(tmp_path, {"cam": 1.0}, seeds=2, images=4)
    scores = json.loads((tmp_path / "cam_0/results.json").read_text())["scores"]
    change(tmp_path / "cam_0", scores=scores | {"seeds/train/miou": value})
    (data,) = group(find_runs([tmp_path]))
    (method,) = data.methods
    assert len(method.scores("seeds/train/miou")) == 1
    assert len(method.scores("crf/train/miou")) == 2
    assert ("seeds", "train") in method.steps()  # the other run has it
    (note,) = data.notes
    assert "seeds/train/miou" in note
    assert "seed 0" in note


def test_runs_without_a_validation_split_are_data_of_their_own(write_runs, tmp_path):
    write_runs(tmp_path, {"cam": 1.0, "box": 1.0, "seam": 1.0}, seeds=1, images=4)
    protocol = json.loads((tmp_path / "box_0/results.json").read_text())["protocol"]
    alone = {**protocol, "splits": {"train": "train", "val": None}}
    change(tmp_path / "box_0", protocol=alone, overrides=["experiment=box", "data.val=null"])
    change(tmp_path / "seam_0", protocol=alone, overrides=["data.dataset.lists.val=null"])
    both, single = group(find_runs([tmp_path]))
    if both.val is None:
        both, single = single, both
    assert both.splits == ["train", "val"]
    assert single.splits == ["train"]
    assert {method.name for method in single.methods} == {"box", "seam"}
    assert_names(single.title, "validation split")
    assert both.title != single.title
    assert both.file_name != single.file_name
    assert single.main_step() == ("pseudo", "train")


@pytest.mark.parametrize("changed", [{"classes": ["a", "b"]}, {"mask_ids": {"0": "background"}}])
def test_runs_of_other_classes_are_data_of_their_own(write_runs, tmp_path, changed):
    write_runs(tmp_path, {"cam": 1.0, "seam": 1.0}, seeds=1, images=4, classes=2)
    assert len(group(find_runs([tmp_path]))) == 1
    dataset = json.loads((tmp_path / "cam_0/results.json").read_text())["dataset"]
    change(tmp_path / "cam_0", dataset=dataset | changed)
    titles = {data.title for data in group(find_runs([tmp_path]))}
    assert len(titles) == 2
    assert all("2 classes" in title for title in titles)


def test_names_of_data_that_are_no_names_of_files_give_files_of_their_own(write_runs, tmp_path):
    for i, name in enumerate(["a/b", "a:b", "../..", "名前"]):
        write_runs(tmp_path / str(i), {"cam": 1.0}, seeds=1, images=4)
        change(tmp_path / str(i) / "cam_0", data=name)
    names = [data.file_name for data in group(find_runs([tmp_path]))]
    assert len(set(names)) == 4
    assert "名前" in names
    assert not any("/" in name or name.startswith(".") for name in names)


def test_a_stage_that_only_rounds_have_is_that_of_the_last_round(write_runs, tmp_path):
    write_runs(tmp_path, {"sc_cam": 1.0}, seeds=1, images=4)
    folder = tmp_path / "sc_cam_0"
    (run,) = find_runs([tmp_path])
    for r in (2, 10):
        shutil.copytree(folder / "seeds_miou", folder / f"round_{r}/seeds_miou")
    assert run.pixel_counts_file(("seeds", "train")).parent == folder / "seeds_miou/train"
    shutil.rmtree(folder / "seeds_miou")
    assert run.pixel_counts_file(("seeds", "train")).parent == folder / "round_10/seeds_miou/train"
    assert run.pixel_counts(("seeds", "train")) is not None


def test_steps_come_in_the_order_of_their_making(write_runs, tmp_path):
    steps = (("segmentation", "val"), ("mine", "train"), ("none", "train"), ("seeds", "train"))
    write_runs(tmp_path, {"cam": 1.0}, seeds=1, images=4, steps=steps)
    (data,) = group(find_runs([tmp_path]))
    named = [step for step, _ in data.methods[0].steps()]
    assert named == ["seeds", "none", "mine", "segmentation"]


def test_overrides_of_version_1_group_with_those_of_now(write_runs, tmp_path):
    write_runs(tmp_path, {"cam cam.flip=true": 1.0, "cam cam.flip=false": 1.2}, 1, images=4)
    path = tmp_path / "cam cam.flip=true_0/results.json"
    new = json.loads(path.read_text())
    old = {key: new[key] for key in ("experiment", "data", "seed", "scores", "annotation")}
    old |= {"seconds": new["seconds"], "versions": new["versions"], "reader": new["dataset"]}
    old |= {"data_digest": "a-b-c", "words": ["experiment=cam", "seed=1", "score.flip=true"]}
    splits = new["protocol"]["splits"]
    old["protocol"] = {"trained_on": "tags", "splits": splits}
    old["protocol"]["true_masks_of_train"] = "scoring only"
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps({**old, "seed": 1}))
    assert methods(tmp_path) == {"cam flip=true": [0, 1], "cam flip=false": [0]}
