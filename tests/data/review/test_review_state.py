"""What counts after all decisions."""

import pytest

from wsss_lightning.data.review.decisions import Decision
from wsss_lightning.data.review.state import (
    LONGEST_LOOK,
    count_decisions,
    seconds_spent,
    states,
)

BOX = {"id": "b1", "size": [40, 30], "box": [1, 2, 20, 25]}
DOT = {"id": "s1", "size": [40, 30], "points": [[3, 4]], "width": 2.0}


def made(*rows, name="a"):
    return [Decision(name, *row, time="2026-01-01T00:00:00Z") for row in rows]


def state(*rows):
    return states(made(*rows))["a"]


def test_the_last_verdict_of_an_image_and_of_each_class_counts():
    one = state(
        ("", "accept", {}), ("cat", "reject", {}), ("", "reject", {}), ("dog", "accept", {})
    )
    assert one.verdicts == {"": "reject", "cat": "reject", "dog": "accept"}
    assert one.is_reviewed
    assert not state(("", "reject", {}), ("", "undecided", {})).is_reviewed


def test_the_last_tag_of_each_class_counts_and_null_takes_it_back():
    one = state(
        ("cat", "tag", {"present": False}),
        ("dog", "tag", {"present": True}),
        ("cat", "tag", {"present": None}),
    )
    assert one.tags == {"dog": True}


def test_shapes_stay_until_their_own_id_is_removed():
    rows = [("cat", "box", BOX), ("cat", "box", BOX | {"id": "b2"}), ("dog", "scribble", DOT)]
    assert list(state(*rows).shapes) == ["b1", "b2", "s1"]
    removed = state(*rows, ("cat", "box", {"id": "b1", "removed": True}))
    assert list(removed.shapes) == ["b2", "s1"]
    again = state(*rows, ("cat", "box", {"id": "b1", "removed": True}), rows[0])
    assert list(again.shapes) == ["b2", "s1", "b1"]


def test_corrections_hold_what_changes_masks_and_no_ids():
    rows = [("", "accept", {}), ("cat", "tag", {"present": True}), ("dog", "accept", {})]
    assert state(*rows).corrections() is None
    first = state(*rows, ("dog", "reject", {}), ("cat", "box", BOX)).corrections()
    assert first == {
        "rejected": ["dog"],
        "shapes": [{"kind": "box", "class": "cat", "size": [40, 30], "box": [1, 2, 20, 25]}],
    }
    other_id = state(("cat", "box", BOX | {"id": "x"}), ("dog", "reject", {})).corrections()
    assert other_id == first


def test_decisions_are_counted_by_kind():
    decisions = [
        *made(("", "accept", {}), ("cat", "box", BOX), ("cat", "tag", {"present": True})),
        *made(("", "reject", {}), ("", "undecided", {}), ("dog", "scribble", DOT), name="b"),
    ]
    counts = count_decisions(states(decisions).values())
    assert counts == {"accept": 1, "reject": 0, "tag": 1, "ignore": 0, "box": 1, "scribble": 1}


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([], 0),
        ([5], LONGEST_LOOK),
        ([0, 10, 30], 30 + 15),  # the first look counts as the mean
        ([30, 0, 10], 30 + 15),
        ([0, 10, 3600], 10 + LONGEST_LOOK + (10 + LONGEST_LOOK) / 2),
    ],
)
def test_time_is_counted_between_decisions_without_breaks(times, seconds):
    stamps = [f"2026-01-01T{t // 3600:02}:{t % 3600 // 60:02}:{t % 60:02}.000Z" for t in times]
    decisions = [Decision("a", "", "accept", {}, stamp) for stamp in stamps]
    assert seconds_spent(decisions) == pytest.approx(seconds)


def test_times_of_another_format_are_left_out():
    decisions = [
        Decision("a", "", "accept", {}, t) for t in ("01.02.2026 10:00", "2026-01-01T00:00:00Z")
    ]
    assert seconds_spent(decisions) == LONGEST_LOOK
