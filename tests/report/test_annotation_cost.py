from dataclasses import replace

import pytest
from facts import raises_naming

from wsss_lightning.errors import InputError
from wsss_lightning.report.annotation_cost import SOURCES, Costs, hours, read_costs
from wsss_lightning.results.schema import Annotation, ReviewCounts

TAGS = Annotation(
    images=100, tag_questions=2000, boxes=0, masks=0, objects_outlined=0, held_out_masks=0
)


def test_tags_cost_a_second_a_class_and_image():
    assert hours(TAGS, Costs()) == {"tags": 2000 / 3600}


def test_boxes_cost_tags_too():
    assert hours(replace(TAGS, boxes=250), Costs()) == {"tags": 2000 / 3600, "boxes": 1750 / 3600}


def test_masks_cost_by_their_objects_where_these_were_counted():
    counted = hours(replace(TAGS, masks=100, objects_outlined=280), Costs())
    assert counted == {"tags": 2000 / 3600, "masks": 280 * 79 / 3600}
    uncounted = hours(replace(TAGS, masks=100, objects_outlined=None), Costs())
    assert uncounted == {"masks": 100 * 239.7 / 3600}


def test_held_out_masks_are_counted_apart():
    found = hours(replace(TAGS, held_out_masks=10), Costs())
    assert found["held_out"] == pytest.approx(2397 / 3600)


def test_a_review_costs_the_time_that_was_measured():
    review = ReviewCounts(images=5, decisions={"reject": 5}, seconds=90.0, digest="d")
    found = hours(replace(TAGS, review=review), Costs())
    assert found == {"tags": 2000 / 3600, "review": 90 / 3600}


def test_every_cost_has_a_source():
    assert set(SOURCES) == set(vars(Costs()))


def test_a_file_replaces_costs(tmp_path):
    path = tmp_path / "costs.yaml"
    path.write_text("box: 35\ntag: 0.5\n")
    assert read_costs(path) == Costs(box=35.0, tag=0.5)
    assert read_costs(None) == Costs()


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("boxx: 3", ["boxx", "box"]),
        ("box: -1", ["box: -1", 0]),
        ("box: [1]", ["box: [1]", 0]),
        ("box: true", ["box: True", 0]),
        ("- 1", ["costs.yaml"]),
        ("{", ["costs.yaml", "YAML"]),
    ],
)
def test_a_file_without_usable_costs_is_refused(tmp_path, text, facts):
    path = tmp_path / "costs.yaml"
    path.write_text(text)
    with raises_naming(InputError, *facts):
        read_costs(path)
    with raises_naming(InputError, "absent.yaml"):
        read_costs(tmp_path / "absent.yaml")
