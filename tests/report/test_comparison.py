import json

import numpy as np
import pytest
from facts import assert_names, raises_naming

from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.error_analysis import WRONG, ErrorType
from wsss_lightning.evaluation.pixel_counts import PIXEL_COUNTS_FILE
from wsss_lightning.report.__main__ import main
from wsss_lightning.report.annotation_cost import Costs
from wsss_lightning.report.comparison import Comparison, example_images
from wsss_lightning.report.grouping import group
from wsss_lightning.report.runs import find_runs

VAL = ("segmentation", "val")


def compared(folder, baseline=None) -> Comparison:
    (data,) = group(find_runs([folder]))
    return Comparison(data, baseline, Costs())


def test_methods_come_best_first_and_are_compared_with_cam(write_runs, tmp_path):
    write_runs(tmp_path, {"seam": 1.5, "cam": 1.0, "box": 2.0}, seeds=3, images=60)
    found = compared(tmp_path).ranking
    assert [one.method.name for one in found] == ["box", "seam", "cam"]
    assert_names(found[0].description, "box", "better", "cam", "97.5 %")
    # two comparisons, 95 % for both at once
    assert found[2].verdict is None


def test_the_usual_baseline_is_the_plainest_cam(write_runs, tmp_path):
    skills = {"box_small": 1.0, "cam_small refine=affinity": 1.0, "cam_small": 1.0}
    write_runs(tmp_path, skills, seeds=1, images=4)
    assert compared(tmp_path).baseline.name == "cam_small"


def test_methods_are_compared_at_the_given_step(write_runs, tmp_path):
    write_runs(tmp_path, {"seam": 1.5, "cam": 1.0}, seeds=2, images=10)
    words = [str(tmp_path), "--out", str(tmp_path / "page.html"), "--step"]
    for step in ("seeds/train", "segmentation/val"):
        main([*words, step])
        split = step.rpartition("/")[2]
        name = step.rpartition("/")[0]
        assert f"mIoU of {name}, {split} (%)" in (tmp_path / "page.html").read_text()
    with raises_naming(InputError, "--step", "seeds/trian", "seeds/train"):
        main([*words, "seeds/trian"])


def test_another_baseline_can_be_chosen(write_runs, tmp_path):
    write_runs(tmp_path, {"seam": 1.5, "cam": 1.0}, seeds=2, images=10)
    assert compared(tmp_path, "seam").baseline.name == "seam"
    with raises_naming(InputError, "baseline", "saem", "seam"):
        compared(tmp_path, "saem")


def test_runs_whose_counts_are_gone_are_scored_but_not_judged(write_runs, tmp_path):
    write_runs(tmp_path, {"seam": 1.5, "cam": 1.0}, seeds=2, images=10)
    (tmp_path / "seam_1/segmentation_miou/val" / PIXEL_COUNTS_FILE).unlink()
    comparison = compared(tmp_path)
    assert [one.verdict for one in comparison.ranking] == [None, None]
    (note,) = comparison.notes
    assert_names(note, "seam", "cam", "counts")


def test_runs_of_one_seed_that_share_a_training_are_paired(write_runs, tmp_path):
    write_runs(tmp_path, {"seam": 1.5, "cam": 1.0}, seeds=2, images=10)
    assert not compared(tmp_path).ranking[0].verdict.paired
    for seed in (0, 1):
        stage = tmp_path / f"stages/train-{seed}"
        stage.mkdir(parents=True)
        for name in ("seam", "cam"):
            (tmp_path / f"{name}_{seed}/classifier").symlink_to(stage)
    assert compared(tmp_path).ranking[0].verdict.paired


def test_correcting_an_error_type_gains_what_its_pixels_cost(tmp_path, write_runs):
    write_runs(tmp_path, {"cam": 1.0}, seeds=1, images=1, classes=1)
    matrix = np.array([[60, 20, 0], [10, 10, 0]])
    by_error_type = np.zeros((len(WRONG), 2, 3), np.int64)
    by_error_type[WRONG.index(ErrorType.SPILL), 0, 1] = 20
    by_error_type[WRONG.index(ErrorType.MISSED), 1, 0] = 10
    np.savez(
        tmp_path / "cam_0/segmentation_miou/val" / PIXEL_COUNTS_FILE,
        names=np.array(["a"]),
        labels=np.array(2),
        filled=np.array([4]),
        cells=np.array([0, 1, 3, 4]),
        pixels=np.array([60, 20, 10, 10]),
        by_error_type=by_error_type,
        wrong=by_error_type.sum((1, 2))[None],
    )
    comparison = compared(tmp_path)
    found = comparison.error_breakdown(comparison.baseline, VAL)
    now = (60 / 90 + 10 / 40) / 2
    gain = dict(zip(WRONG, found.gain, strict=True))
    assert gain[ErrorType.SPILL] == pytest.approx((80 / 90 + 10 / 20) / 2 - now)
    assert gain[ErrorType.MISSED] == pytest.approx((60 / 80 + 20 / 40) / 2 - now)
    assert gain[ErrorType.TAG] == 0
    share = dict(zip(WRONG, found.share, strict=True))
    assert share[ErrorType.SPILL] == matrix[0, 1] / matrix.sum()
    assert found.class_gain[WRONG.index(ErrorType.MISSED)][1] == pytest.approx(20 / 40 - 10 / 40)


def test_hours_are_those_of_what_was_learnt_from(tmp_path, write_runs):
    write_runs(tmp_path, {"cam": 1.0}, seeds=1, images=100, classes=20)
    comparison = compared(tmp_path)
    assert comparison.training_hours(comparison.baseline) == pytest.approx(2000 / 3600)
    assert comparison.hours(comparison.baseline)["held_out"] == pytest.approx(10 * 239.7 / 3600)


def test_examples_are_the_worst_and_some_of_the_rest():
    ranked = [(f"{i}", i / 100) for i in range(100)]
    assert [name for name, _ in example_images(ranked, 6)] == ["0", "1", "2", "35", "67", "99"]
    assert example_images(ranked[:3], 6) == ranked[:3]


def test_images_that_show_nothing_known_are_not_ranked(tmp_path, write_runs):
    write_runs(tmp_path, {"cam": 1.0}, seeds=1, images=5)
    comparison = compared(tmp_path)
    ranked = comparison.difficulty(VAL)
    assert len(ranked) == 5
    assert [value for _, value in ranked] == sorted(value for _, value in ranked)


def test_figures_over_seeds_are_means_of_results(tmp_path, write_runs):
    write_runs(tmp_path, {"cam": 1.0}, seeds=3, images=5)
    comparison = compared(tmp_path)
    found = comparison.estimate_of(comparison.baseline, "seeds/train/miou")
    written = [
        json.loads((tmp_path / f"cam_{seed}/results.json").read_text())["scores"]
        for seed in range(3)
    ]
    assert found.mean == pytest.approx(np.mean([s["seeds/train/miou"] for s in written]))
    assert comparison.estimate_of(comparison.baseline, "irn/train/miou") is None
