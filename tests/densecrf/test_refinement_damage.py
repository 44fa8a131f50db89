import pytest
import torch

from wsss_lightning.densecrf.refinement_damage import refinement_damage


def labels(*runs):
    """One row: label and count of each run."""
    return torch.cat([torch.full((count,), label) for label, count in runs]).view(1, -1)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (((0, 50), (1, 50)), ((0, 50), (1, 50)), None),
        (((0, 50), (1, 50)), ((0, 100),), "lost"),
        (((0, 50), (1, 50)), ((1, 100),), "lost"),  # background too
        (((0, 90), (1, 10)), ((0, 60), (1, 40)), None),  # four times is allowed
        (((0, 90), (1, 10)), ((0, 59), (1, 41)), "area"),
        (((0, 60), (1, 40)), ((0, 90), (1, 10)), None),
        (((0, 60), (1, 40)), ((0, 91), (1, 9)), "area"),
        (((0, 100),), ((0, 50), (2, 50)), None),  # what was not there cannot be lost
    ],
)
def test_a_label_that_vanishes_or_jumps_speaks_against_refinement(before, after, expected):
    assert refinement_damage(labels(*before), labels(*after), area_factor=4) == expected
