"""A run with `pseudo.review`: what it repeats, what it learns from, and what it records."""

import pytest
from commands import CACHED, DONE, TINY, Outcome

from wsss_lightning.data.review.decisions import Decision, now
from wsss_lightning.data.review.log import DecisionLog
from wsss_lightning.data.scores import load_mask, load_score

pytestmark = pytest.mark.slow

RUN = ("experiment=cam", *TINY)


def stages_before_review(run: Outcome) -> set[str]:
    """Stages that do not depend on corrected masks."""
    later = ("segmentation", "predictions", "pictures", "reviewed", "models")
    return {
        name for state in (DONE, CACHED) for name in run.stages(state) if not name.startswith(later)
    }


def test_a_review_repeats_what_depends_on_it_and_is_counted(here, shared, tmp_path):
    first = here(*RUN, folder=shared)
    names = sorted(path.stem for path in (first.folder / "pseudo").glob("*.png"))
    before = {name: load_mask(first.folder / f"pseudo/{name}.png") for name in names}
    log = DecisionLog(tmp_path / "my review.csv")

    def decide(name, class_name, kind, **detail):
        log.append(Decision(name, class_name, kind, detail, now()))

    words = (*RUN, f"pseudo.review={log.path}")
    decide(names[0], "", "accept")
    accepted = here(*words, folder=shared)
    assert accepted.stages(DONE) == []  # nothing that is learnt changed
    assert "reviewed" not in accepted.stages(CACHED)

    height, width = before[names[1]].shape
    corner = [[0, 0], [10, 0], [10, 5], [0, 5]]
    decide(names[1], "", "ignore", id="r", size=[width, height], points=corner)
    decide(names[2], "", "reject")
    reviewed = here(*words, folder=shared)
    assert {"reviewed", "segmentation", "predictions/val"} <= set(reviewed.stages(DONE))
    assert not stages_before_review(reviewed) & set(reviewed.stages(DONE))
    for name, mask in before.items():
        different = load_mask(reviewed.folder / f"reviewed/{name}.png") != mask
        expected = {names[1]: 50, names[2]: mask.size}.get(name, 0)
        assert different.sum() == expected
    counted = reviewed.results["annotation"]["review"]
    assert counted["images"] == 3
    assert counted["decisions"] == {
        "accept": 1,
        "reject": 1,
        "tag": 0,
        "ignore": 1,
        "box": 0,
        "scribble": 0,
    }
    assert 0 < counted["seconds"] < 600
    assert reviewed.scores["reviewed/train/miou"] <= 1
    assert first.results["annotation"]["review"] is None

    classes = first.results["dataset"]["classes"]
    label = int(load_score(first.folder / f"seeds/train/{names[3]}.npz")[1][0])
    decide(names[3], classes[label - 1], "tag", present=False)
    retagged = here(*words, "pipeline.segment=false", folder=shared)
    assert {"classifier", "seeds/train", "crf_masks/train", "reviewed"} <= set(
        retagged.stages(DONE)
    )
    retags = retagged.results["dataset"]["retags"]
    assert retags == {"train": {names[3]: {classes[label - 1]: False}}}
    assert label not in load_score(retagged.folder / f"seeds/train/{names[3]}.npz")[1]


@pytest.mark.long
def test_training_goes_on_when_all_images_but_one_are_rejected(here, shared, tmp_path):
    first = here(*RUN, folder=shared)
    names = sorted(path.stem for path in (first.folder / "pseudo").glob("*.png"))
    log = DecisionLog(tmp_path / "review.csv")
    for name in names[1:]:
        log.append(Decision(name, "", "reject", {}, now()))
    run = here(*RUN, f"pseudo.review={log.path}", folder=shared)
    assert run.code == 0, run.err
    assert run.scores["segmentation/val/miou"] >= 0
