"""The order of the images, and those that are proposed next."""

from wsss_lightning.review.ranking import next_to_review, worst_first


def never(_image, _others):
    return False


def test_the_worst_come_first_and_unknown_ones_last_by_name():
    assert worst_first([0.5, None, 0.1, None, 0.5], ["e", "z", "c", "a", "b"]) == [2, 4, 0, 3, 1]


def test_classes_take_turns():
    quality = [{0: 0.1}, {0: 0.1}, {0: 0.2}, {1: 0.3}, {2: 0.4}]
    # 0.9, then 0.7 of class 1, 0.6 of class 2, then 0.9 / 2 and 0.8 / 3
    assert next_to_review(range(5), quality, (), never, 5) == [0, 3, 4, 1, 2]


def test_a_class_that_was_reviewed_waits():
    quality = [{0: 0.1}, {0: 0.1}, {1: 0.4}]
    assert next_to_review(range(3), quality, {0}, never, 1) == [2]


def test_of_several_classes_the_most_urgent_one_counts():
    quality = [{0: 0.9, 1: 0.1}, {0: 0.5}, {}]
    assert next_to_review(range(3), quality, (), never, 3) == [0, 1, 2]


def test_good_masks_are_not_proposed_before_bad_ones_of_a_class_seen_once():
    quality = [{0: 0.0}, {0: 0.0}, {1: 0.9}]
    assert next_to_review(range(3), quality, (), never, 3) == [0, 1, 2]


def test_near_duplicates_of_reviewed_or_proposed_images_are_left_out():
    quality = [{0: 0.1}, {0: 0.1}, {0: 0.2}, {0: 0.3}]
    twins = {frozenset((0, 1)), frozenset((2, 3))}

    def is_duplicate(i, others):
        return any(frozenset((i, j)) in twins for j in others)

    assert next_to_review(range(4), quality, (), is_duplicate, 4) == [0, 2]
    assert next_to_review(range(4), quality, {3}, is_duplicate, 4) == [0]


def test_a_set_of_nothing_but_duplicates_takes_no_more_than_some_comparisons():
    asked = []

    def is_duplicate(i, others):
        asked.append(i)
        return bool(others)

    assert next_to_review(range(5000), [{0: 0.5}] * 5000, (), is_duplicate, 2) == [0]
    assert len(asked) < 50
