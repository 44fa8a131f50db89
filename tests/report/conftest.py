"""Scripts of `experiments/` that tests use too."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from command_line import generated_data_cache, here, shared  # noqa: F401

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def script(name: str) -> ModuleType:
    """A script of `experiments/`, without running it."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, EXPERIMENTS / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def write_runs():
    return script("benchmarks/report/synthetic.py").write_runs


@pytest.fixture(scope="session")
def simulation():
    return script("benchmarks/verdict/simulate.py")


@pytest.fixture(scope="session")
def tables():
    return script("tables.py")
