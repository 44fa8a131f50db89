"""Checkpoints in the layout of official code."""

import pytest
import torch
from official import layout, recipe


@pytest.fixture(scope="session")
def seam_file(tmp_path_factory):
    """An official SEAM checkpoint with these weights: half a gigabyte, so one for all tests."""
    path = tmp_path_factory.mktemp("seam") / "resnet38_SEAM.pth"
    torch.save(recipe(layout("SEAM")), path)
    yield path
    path.unlink()
