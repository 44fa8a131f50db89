"""A short run of experiments/benchmarks/fuzz, which has the long one's figures."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUZZ = ROOT / "experiments/benchmarks/fuzz/fuzz.py"
pytestmark = pytest.mark.skipif(not FUZZ.is_file(), reason="experiments/ is not in the sdist")


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz", FUZZ)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_damaged_files_are_read_or_refused_in_words_of_ours(tmp_path):
    """In a process of its own: its memory is measured, and a crash is one of it alone."""
    words = ["--cases", "800", "--seed", "1", "--out", str(tmp_path / "found.json")]
    done = subprocess.run(
        [sys.executable, str(FUZZ), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found["kinds"]) == {"xml", "csv", "png", "jpeg", "npy", "yaml"}
    for told in found["kinds"].values():
        assert told["defects"] == []
        assert 0 < told["refused"] < told["cases"]  # neither harmless nor beyond all reading
        assert told["longest_s"] < 10
    assert found["code_run"] == []
    assert found["mib_added"] < 1024


def test_a_defect_is_noticed(fuzz, monkeypatch):
    """A reader that lets a traceback through, runs code or hangs does not go unseen."""

    def careless(folder):
        folder.mkdir(parents=True)

        def read(content):
            if content != fuzz.XML.encode():
                (folder / "x").touch()
                raise KeyError("bndbox")

        return {"xml": read}

    monkeypatch.setattr(fuzz, "readers", careless)
    found = fuzz.fuzz(5, 0, {"xml": 1.0})
    assert len(found["kinds"]["xml"]["defects"]) >= 4
    assert "KeyError" in found["kinds"]["xml"]["defects"][0]["error"]
    assert found["code_run"] == ["x"]
