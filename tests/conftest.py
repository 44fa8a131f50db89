"""Settings and fixtures of all tests; larger ones are plugins in `helpers`."""

import os

# many small operations: one thread is six times faster than threads that wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# jaxtyping's hook compiles anew whatever is first imported by a module of ours: 20 s for these
import pytorch_lightning  # noqa: F401
import segmentation_models_pytorch  # noqa: F401
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("house", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    torch.manual_seed(0)
