"""The command line in this process, and a small data set to point it at."""

import os
import sys
from pathlib import Path

import pytest
from commands import MINE, SMALL, Outcome, write_voc
from hydra.core.global_hydra import GlobalHydra

from wsss_lightning.cli import run as cli


@pytest.fixture(autouse=True)
def generated_data_cache(tmp_path_factory, monkeypatch):
    """One cache of generated worlds for all tests of all processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    monkeypatch.setenv("WSSS_CACHE", str(shared / "cache"))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # main() sets it; put back afterwards
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture
def shared(tmp_path_factory) -> Path:
    """A folder for runs that may find stages of each other."""
    return tmp_path_factory.getbasetemp() / "shared"


@pytest.fixture
def here(monkeypatch, capfd, tmp_path):
    """`here(*words)`: the command line with these words, in this process, from another folder."""

    def call(*words: str, folder: Path = tmp_path) -> Outcome:
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["wsss_lightning", *words])
        GlobalHydra.instance().clear()
        capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        finally:
            GlobalHydra.instance().clear()
        out, err = capfd.readouterr()
        return Outcome(code, out, err, folder)

    return call


@pytest.fixture
def voc(tmp_path) -> Path:
    return write_voc(tmp_path / "voc")


@pytest.fixture
def mine(voc) -> tuple[str, ...]:
    """Words that run experiment=cam on `voc` by a data file of the user's own."""
    own = voc.with_name("conf") / "data"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(MINE)
    return ("experiment=cam", "data=mine", f"data.root={voc}", f"--config-dir={own.parent}", *SMALL)
