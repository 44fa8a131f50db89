import json

import numpy as np
import pytest
from facts import assert_names, raises_naming

from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.error_analysis import WRONG, ErrorType
from wsss_lightning.evaluation.pixel_counts import PIXEL_COUNTS_FILE
from wsss_lightning.report.__main__ import main
from wsss_lightning.report.annotation_cost import Costs
from wsss_lightning.report.comparison import Comparison, example_images, ranking_of_images
from wsss_lightning.report.grouping import group
from wsss_lightning.report.runs import find_runs
from wsss_lightning.steps.preview_images import Ranking

VAL = ("segmentation", "val")


def compared(folder, baseline=None, step=None) -> Comparison:
    (data,) = group(find_runs([folder]))
    return Comparison(data, baseline, Costs(), step)


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
    ranking = Ranking("mIoU", {f"{i:02}": i / 100 for i in range(100)})
    assert example_images(ranking, 6) == {
        "00": "worst of 100: mIoU 0 %",
        "01": "2nd worst of 100: mIoU 1 %",
        "02": "3rd worst of 100: mIoU 2 %",
        "35": "mIoU 35 %",
        "67": "mIoU 67 %",
        "99": "best of 100: mIoU 99 %",
    }
    few = Ranking("mIoU", {"b": 0.5, "a": 0.25})
    assert example_images(few, 6) == {
        "a": "worst of 2: mIoU 25 %",
        "b": "best of 2: mIoU 50 %",
    }


def test_images_of_another_split_are_ranked_by_its_last_step(tmp_path, write_runs):
    steps = (("seeds", "train"), ("crf", "val"), ("seeds", "val"))
    write_runs(tmp_path, {"cam": 1.0, "seam": 1.5}, seeds=1, images=5, steps=steps)
    comparison = compared(tmp_path, step=("seeds", "train"))
    for split, step in (("train", ("seeds", "train")), ("val", ("crf", "val"))):
        ranking = ranking_of_images(comparison, split)
        assert ranking.values == comparison.difficulty(step)
        assert ranking.values
    assert ranking_of_images(comparison, "test") is None


def test_without_pixel_counts_images_are_ranked_by_the_mean_quality_of_all_runs(
    tmp_path, write_runs
):
    write_runs(tmp_path, {"cam": 1.0, "seam": 1.5}, seeds=1, images=5)
    for path in tmp_path.rglob("images.npz"):
        path.unlink()
    assert ranking_of_images(compared(tmp_path), "train") is None
    for run, values in (("cam_0", "a,,0.5\nb,,0.25\n"), ("seam_0", "a,,1\nb,cat,1\n")):
        (tmp_path / run / "quality").mkdir()
        (tmp_path / run / "quality/quality.csv").write_text(f"name,class,quality\n{values}")
    comparison = compared(tmp_path)
    assert ranking_of_images(comparison, "train").values == {"a": 0.75, "b": 0.25}
    assert ranking_of_images(comparison, "val") is None  # only training images have pseudo masks
    (tmp_path / "cam_0/quality/quality.csv").write_text("name\na\n")
    assert ranking_of_images(comparison, "train").values == {"a": 1.0}
    assert_names(comparison.notes[-1], tmp_path / "cam_0/quality/quality.csv")


def test_images_that_show_nothing_known_are_not_ranked(tmp_path, write_runs):
    write_runs(tmp_path, {"cam": 1.0}, seeds=1, images=5)
    comparison = compared(tmp_path)
    assert len(comparison.difficulty(VAL)) == 5


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
