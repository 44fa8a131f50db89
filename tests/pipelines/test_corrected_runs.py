"""A run with corrected masks, after a run without them."""

from pathlib import Path

import numpy as np
import pytest
from commands import CACHED, DONE, TINY
from facts import assert_names

from wsss_lightning.data.scores import load_mask, save_mask


@pytest.mark.slow
def test_a_run_repeats_only_what_follows_the_correction_and_records_it(here, shared, tmp_path):
    words = ("experiment=cam", *TINY, "pipeline=seeds")
    before = here(*words, folder=shared)
    true_masks = Path(before.results["dataset"]["root"]) / "SegmentationClass"
    train = sorted(path.stem for path in (before.folder / "pseudo").glob("*.png"))
    corrected = tmp_path / "corrected"
    for name in train[:3]:
        save_mask(corrected / f"{name}.png", load_mask(true_masks / f"{name}.png"))
    after = here(*words, f"pseudo.masks={corrected}", folder=shared)
    assert {"crf/train", "pseudo"} <= set(after.stages(CACHED))
    assert "corrected" in after.stages(DONE)
    for name in train:
        source = corrected if name in train[:3] else before.folder / "pseudo"
        np.testing.assert_array_equal(
            load_mask(after.folder / f"corrected/{name}.png"), load_mask(source / f"{name}.png")
        )
    assert after.results["annotation"]["corrected_masks"] == 3
    assert before.results["annotation"]["corrected_masks"] == 0
    assert after.results["protocol"]["train_masks_used_for"] == ["corrections", "scoring"]
    uncorrected = after.scores["pseudo/train/miou"]
    assert uncorrected == before.scores["pseudo/train/miou"]
    assert after.scores["corrected/train/miou"] > uncorrected
    assert_names(after.out, "3 of 12", corrected)
